"""Train, plan and act in one loop over parallel simulators.

Every cycle plans for all simulators and, at the same time, learns from the replay as it was
before: the two depend on nothing of each other and run side by side on the device. All
randomness is a function of the seed and of counters, so a restored trainer continues bit for bit.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import jitted, make_agent, pure_agent
from agents.runs import networks
from agents.runs.config import TrainConfig
from agents.training import replay as replay_lib
from agents.training import setup
from agents.training.driver import Cycle, Driver, Episode, jax_inputs
from agents.training.fused import FusedLoop
from agents.training.learner import make_learning, pure_learning
from agents.training.loop import ACT, INIT, LEARN, Counters, LoopState, stream
from agents.training.parallel import sharding
from agents.training.parallel.distributed import make_distributed
from agents.training.parallel.processes import ALONE, Processes
from agents.training.session import finite
from wm.tdmpc import learner

CATCH_UP = 8  # calls of the learner that may be due when the fused loop takes over


class Trainer:
    """Holds a run's state and advances it one cycle at a time.

    Attributes:
        loop: what learning and planning change.
        counters: how far the run has come.
        driver: its simulators.
        pure: the functions of a cycle (agent, learning) for use inside a program; `agent` and
            `learning` are the same as programs.
    """

    def __init__(self, config: TrainConfig, group: Processes = ALONE, env: Any = None):
        """Build simulators (unless `env` has them), networks and functions.

        Raises what make_vec raises. In a `group` of several processes all of them do the same
        with it.
        """
        self.config, self.group = config, group
        env = make_distributed(config, group) if env is None else env
        self.spec = env.env_spec
        setup.check_memory(config, self.spec, shares=group.count)
        self.net = networks.build_networks(config, self.spec)
        self.key = jax.random.key(config.seed)
        self.seed_steps = setup.seed_steps(config, self.spec)
        self.driver, self.counters = Driver(env, config.seed), Counters()
        self._make_functions()
        fresh = jax.jit(partial(learner.init, self.net))  # hundreds of programs otherwise
        sizes = config.replay_capacity, config.num_envs, self.spec.obs_dim, self.spec.action_dim
        self.loop = LoopState(
            train=fresh(stream(self.key, INIT, 0)),
            carry=self.agent.init_carry(config.num_envs),
            replay=replay_lib.init(*sizes),
            metrics={},
            plan_info=None,
        )

    def _make_functions(self) -> None:
        net, config = self.net, self.config
        self.mesh = sharding.make_mesh(config)
        updates = setup.updates_per_call(config)
        agent = pure_agent(net, config.planner, explore=True, sharded=self.mesh is not None)
        agent = sharding.over_devices(agent, self.mesh)
        self.pure = agent, pure_learning(net, updates, self.mesh)
        self.agent = jitted(agent, **sharding.whole(self.mesh))
        self.learning = make_learning(net, updates, self.mesh)
        self.eval_agents = {
            "plan": make_agent(net, config.planner),
            "prior": make_agent(net, config.planner, mode="prior"),
        }
        self.fused = FusedLoop(*self.pure, self.driver, config.utd) if config.fused else None

    @property
    def num_params(self) -> int:
        """Parameters that are learned."""
        return sum(x.size for x in jax.tree.leaves(self.loop.train.params))

    @property
    def deployed(self) -> Any:
        """The parameters that are evaluated, on one device."""
        return sharding.on_one(self.mesh, self.loop.train.average)

    @property
    def updates_due(self) -> int:
        """Updates that were earned and are still to be done."""
        due = setup.updates_due(self.counters.env_steps, self.config.utd)
        return due - self.counters.updates

    def advance(self, limit: int) -> list[tuple[int, Episode]]:
        """Go on towards `limit` env_steps: a cycle, or in the fused loop as many as a call does.

        Stops after the cycle that reaches the limit, so that both loops do there what is due.
        Returns the episodes that ended, each with the env_steps at its end.
        """
        if self.fused is None or not self._settled():
            cycle = self.cycle()
            return [(self.counters.env_steps, episode) for episode in cycle.episodes]
        state, records = self.fused.run(self.key, self.loop, self.counters, limit)
        self.loop, self.counters.updates = state.loop, int(state.updates)
        ended = []
        for cycle in self.fused.cycles_of(state, records):
            self.counters = self.counters.after(cycle)
            ended += [(self.counters.env_steps, episode) for episode in cycle.episodes]
        return ended

    def _settled(self) -> bool:
        """Past the random decisions and the burst of updates that follows them."""
        backlog = CATCH_UP * self.learning.updates
        return self.counters.env_steps >= self.seed_steps and self.updates_due <= backlog

    def cycle(self) -> Cycle:
        """One decision of every simulator and the updates it earns."""
        if self.counters.env_steps < self.seed_steps:
            actions = self.driver.random_actions(self.counters.cycles)
        else:
            actions = self._decide()
        cycle = self.driver.step(actions)
        replay = self.learning.add(self.loop.replay, jnp.asarray(cycle.rows))
        self.loop = self.loop._replace(replay=replay)
        self.counters = self.counters.after(cycle)
        return cycle

    def _decide(self) -> np.ndarray:
        """Actions [E, A]; the updates that are due run meanwhile."""
        inputs, key = jax_inputs(self.driver), stream(self.key, ACT, self.counters.cycles)
        planned, carry, info = self.agent.act(self.loop.train.params, self.loop.carry, *inputs, key)
        self.loop = self.loop._replace(carry=carry, plan_info=info)
        while self.updates_due >= self.learning.updates:  # those of the seed phase come at once
            key = stream(self.key, LEARN, self.counters.updates)
            train, metrics = self.learning.learn(self.loop.train, self.loop.replay, key)
            self.loop = self.loop._replace(train=train, metrics=metrics)
            self.counters.updates += self.learning.updates
        return np.asarray(planned)

    def read_metrics(self) -> dict[str, float]:
        """The latest losses and planner reports, on the host.

        Raises LearningError when one of them is not finite.
        """
        values = finite(self.loop.metrics, self.counters.updates)
        if (info := self.loop.plan_info) is not None:
            named = info._asdict().items()
            values |= {f"planner/{k}": float(np.mean(np.asarray(v))) for k, v in named}
        return values
