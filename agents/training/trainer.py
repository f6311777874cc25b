"""Train, plan and act in one loop over parallel simulators.

Every cycle plans for all simulators and, at the same time, learns from the replay as it was
before: the two depend on nothing of each other and run side by side on the device. All
randomness is a function of the seed and of counters, so a restored trainer continues bit for bit.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import make_agent
from agents.runs import networks
from agents.runs.config import TrainConfig
from agents.runs.signals import LearningError
from agents.training import replay as replay_lib
from agents.training import setup
from agents.training.driver import Cycle, Driver, Episode, jax_inputs
from agents.training.fused import ACT, INIT, LEARN, FusedLoop, stream
from agents.training.learner import make_learning
from agents.training.parallel import sharding
from agents.training.parallel import simulators as shares
from agents.training.parallel.processes import ALONE, Processes
from wm.tdmpc import learner

CATCH_UP = 8  # calls of the learner that may be due when the fused loop takes over


@dataclass
class Counters:
    """Where a run stands."""

    cycles: int = 0
    env_steps: int = 0
    updates: int = 0
    episodes: int = 0
    invalid_episodes: int = 0
    rows: int = 0
    """Replay rows a simulator, ever."""


class Trainer:
    """Holds a run's state and advances it one cycle at a time."""

    def __init__(self, config: TrainConfig, group: Processes = ALONE):
        """Build simulators, networks and jitted functions. Raises what make_vec raises.

        In a `group` of several processes all of them do the same with it.
        """
        self.config, self.group = config, group
        env = shares.make_shared(config, group)
        self.spec = env.env_spec
        setup.check_memory(config, self.spec, shares=group.count)
        self.net = networks.build_networks(config, self.spec)
        self.key = jax.random.key(config.seed)
        self.mesh = sharding.make_mesh(config)
        sharded = self.mesh is not None
        agent = make_agent(self.net, config.planner, explore=True, sharded=sharded)
        self.agent = sharding.over_devices(agent, self.mesh)
        self.eval_agents = {
            "plan": make_agent(self.net, config.planner),
            "prior": make_agent(self.net, config.planner, mode="prior"),
        }
        self.learning = make_learning(self.net, setup.updates_per_call(config), self.mesh)
        self.seed_steps = setup.seed_steps(config, self.spec)
        self.driver = Driver(env, config.seed)
        self.carry = self.agent.init_carry(config.num_envs)
        fresh = jax.jit(partial(learner.init, self.net))  # hundreds of programs otherwise
        self.state = fresh(self.stream(INIT, 0))
        self.replay = replay_lib.init(
            config.replay_capacity, config.num_envs, self.spec.obs_dim, self.spec.action_dim
        )
        self.counters = Counters()
        self.metrics: dict[str, Any] = {}
        self.plan_info: Any = None
        self.fused = FusedLoop(self) if setup.fused_wanted(config) else None

    def stream(self, number: int, count: int) -> jax.Array:
        """The key of draw `count` of a stream."""
        return stream(self.key, number, count)

    @property
    def num_params(self) -> int:
        """Parameters that are learned."""
        return sum(x.size for x in jax.tree.leaves(self.state.params))

    @property
    def deployed(self) -> Any:
        """The parameters that are evaluated, on one device."""
        return sharding.on_one(self.mesh, self.state.average)

    def advance(self, limit: int) -> list[tuple[int, Episode]]:
        """Go on towards `limit` env_steps: a cycle, or in the fused loop as many as a call does.

        Stops after the cycle that reaches the limit, so that both loops do there what is due.
        Returns the episodes that ended, each with the env_steps at its end.
        """
        if self.fused is None or not self._settled():
            cycles = [self.cycle()]
            return [(self.counters.env_steps, e) for c in cycles for e in c.episodes]
        ended = []
        for cycle in self.fused.advance(self, limit):
            self.count(cycle)
            ended += [(self.counters.env_steps, episode) for episode in cycle.episodes]
        return ended

    def _settled(self) -> bool:
        """Past the random decisions and the burst of updates that follows them."""
        due = setup.updates_due(self.counters.env_steps, self.config.utd)
        backlog = due - self.counters.updates
        return self.counters.env_steps >= self.seed_steps and backlog <= CATCH_UP * (
            self.learning.updates
        )

    def cycle(self) -> Cycle:
        """One decision of every simulator and the updates it earns."""
        if self.counters.env_steps < self.seed_steps:
            actions = self.driver.random_actions(self.counters.cycles)
        else:
            key = self.stream(ACT, self.counters.cycles)
            planned, self.carry, self.plan_info = self.agent.act(
                self.state.params, self.carry, *jax_inputs(self.driver), key
            )
            self._learn()
            actions = np.asarray(planned)
        cycle = self.driver.step(actions)
        self.replay = self.learning.add(self.replay, jnp.asarray(cycle.rows))
        self.count(cycle)
        return cycle

    def _learn(self) -> None:
        """Dispatch the updates that are due; those of the seed phase come at once."""
        due = setup.updates_due(self.counters.env_steps, self.config.utd)
        while self.counters.updates + self.learning.updates <= due:
            key = self.stream(LEARN, self.counters.updates)
            self.state, self.metrics = self.learning.learn(self.state, self.replay, key)
            self.counters.updates += self.learning.updates

    def count(self, cycle: Cycle) -> None:
        """Bring the counters up to date with a cycle."""
        invalid = sum(e.invalid for e in cycle.episodes)
        self.counters = replace(
            self.counters,
            cycles=self.counters.cycles + 1,
            rows=self.counters.rows + 1,
            env_steps=self.counters.env_steps + cycle.decisions,
            episodes=self.counters.episodes + len(cycle.episodes),
            invalid_episodes=self.counters.invalid_episodes + invalid,
        )

    def read_metrics(self) -> dict[str, float]:
        """The latest losses and planner reports, on the host.

        Raises LearningError when one of them is not finite.
        """
        values = {k: float(v) for k, v in self.metrics.items()}
        if bad := [k for k, v in values.items() if not np.isfinite(v)]:
            raise LearningError(
                f"learning diverged: {bad[0]} is {values[bad[0]]} after "
                f"{self.counters.updates} updates; the last checkpoint is intact, lower "
                "--learner.learning-rate in a new --run-dir"
            )
        if self.plan_info is not None:
            info = self.plan_info._asdict()
            values |= {f"planner/{k}": float(np.mean(np.asarray(v))) for k, v in info.items()}
        return values
