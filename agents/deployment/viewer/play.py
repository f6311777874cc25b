"""A live simulation that can be paused, reset and steered while it runs; nothing is drawn here.

What a picture needs is asked for: where things are, what the plan would do on the true model.
Settings of the planner are compiled beside the running simulation, which goes on with the old ones
until the new ones are ready.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import Agent, Carry, make_agent
from agents.reports.tables import escaped
from agents.runs.load import Trained, check_spec
from envs.native.scene import physics_of
from envs.registry import make_vec
from envs.tasks.engine import engine
from planning.config import PlannerConfig

Mode = Literal["plan", "prior"]
KEPT = 8
"""Settings that stay compiled; others are compiled again when they are asked for."""
SETTLE = 0.3
"""Seconds that settings have to stay the same before they are compiled (a slider is moving)."""


class Ready(NamedTuple):
    """An agent that is compiled, and what it was made from."""

    planner: PlannerConfig
    mode: Mode
    agent: Agent


class Player:
    """One simulator `env` under the agent `ready`.

    `noise` is the standard deviation of what is added to its actions; `ret` the return of the
    `decisions` of this episode, `last_return` that of the one before.
    """

    def __init__(
        self,
        trained: Trained,
        env_id: str = "",
        *,
        planner: PlannerConfig | None = None,
        mode: Mode = "plan",
        seed: int = 0,
    ):
        """Raises ConfigError, EnvError: no such task, or one of another shape."""
        repeat, task = trained.spec.action_repeat, env_id or trained.config.env_id
        self.env, self._ahead = (make_vec(task, 1, action_repeat=repeat) for _ in range(2))
        self.trained = trained
        check_spec(trained, self.env.env_spec)
        self.seed, self.noise = seed, 0.0
        self._wanted: tuple[PlannerConfig, Mode] = (planner or trained.config.planner, mode)
        self._made: dict[tuple[PlannerConfig, Mode], Ready] = {}
        self._compiling: threading.Thread | None = None
        self._rng = np.random.default_rng(seed)
        self._times: deque[float] = deque(maxlen=200)
        self.last_return: float | None = None
        self.episode, self._problem = 0, ""
        self._ahead.reset(seed=0)
        self.ready = self._compile(self._wanted)
        self.reset()

    @property
    def period(self) -> float:
        """Simulated seconds of a decision."""
        return self.env.env_spec.control_dt * self.env.env_spec.action_repeat

    def reset(self) -> None:
        """Begin an episode; each has its own first state."""
        self.obs, _ = self.env.reset(seed=self.seed + self.episode)
        self._begin(self.episode + 1)

    def _begin(self, episode: int) -> None:
        self.episode, self.decisions, self.ret, self._reward = episode, 0, 0.0, 0.0
        self._predicted, self._is_first, self._over, self._planless = 0.0, True, False, False
        self.carry: Carry = self.ready.agent.init_carry(1)

    def configure(self, planner: PlannerConfig, mode: Mode) -> None:
        """Act with other settings as soon as they are compiled, in the background."""
        self._problem = ""
        self._wanted = (planner, mode)
        if self._compiling is None or not self._compiling.is_alive():
            self._compiling = threading.Thread(target=self._catch_up, daemon=True)
            self._compiling.start()

    def refuse(self, problem: str) -> None:
        """Say why settings that were asked for are impossible."""
        self._problem = problem

    @property
    def busy(self) -> bool:
        """Whether other settings than those that act are wanted."""
        return self._wanted != self.ready[:2]

    def _catch_up(self) -> None:
        while (wanted := self._wanted) not in self._made:
            time.sleep(SETTLE)
            if wanted != self._wanted:
                continue
            try:
                self._compile(wanted)
            except Exception as error:  # such as no memory left: the old agent goes on
                self._problem = str(error).partition("\n")[0]
                self._wanted = (self.ready.planner, self.ready.mode)

    def _compile(self, wanted: tuple[PlannerConfig, Mode]) -> Ready:
        planner, mode = wanted
        agent = make_agent(self.trained.net, planner, mode=mode)
        obs = np.zeros((1, self.trained.spec.obs_dim))
        first, key = jnp.ones(1, bool), jax.random.fold_in(jax.random.key(0), 0)
        inputs = agent.init_carry(1), agent.observe(self.env, obs), first, key
        jax.block_until_ready(agent.act(self.trained.params, *inputs))
        self._made[wanted] = ready = Ready(planner, mode, agent)
        for old in list(self._made)[:-KEPT]:  # each takes megabytes
            if old != self._wanted:
                self._made.pop(old)
        return ready

    def _take_over(self) -> None:
        """Let the agent act that was asked for, once it is there."""
        ready = self._made.get(self._wanted)
        if ready and ready is not self.ready:
            if ready.planner.horizon != self.ready.planner.horizon:
                self.carry, self._is_first = ready.agent.init_carry(1), True
            self.ready = ready
            self._times.clear()

    def decide(self) -> np.ndarray:
        """The action [A] for what is seen now; the plan is in `carry`."""
        self._take_over()
        agent, params = self.ready.agent, self.trained.params
        key = jax.random.fold_in(jax.random.key(self.seed), self.decisions)
        began = time.perf_counter()
        inputs = self.carry, agent.observe(self.env, self.obs), jnp.full(1, self._is_first), key
        action, self.carry, info = agent.act(params, *inputs)
        action = np.asarray(action)[0]
        self._times.append(1e3 * (time.perf_counter() - began))
        self._predicted, self._planless = float(info.mean_value[0]), bool(info.fallback[0])
        return np.clip(action + self.noise * self._rng.normal(size=action.shape), -1.0, 1.0)

    def step(self, action: np.ndarray) -> None:
        """Carry an action out; a new episode begins after the end of one."""
        self.obs, reward, terminated, truncated, info = self.env.step(action[None])
        if info["is_reset"][0]:
            self._begin(self.episode + 1)
            return
        self.decisions, self._is_first = self.decisions + 1, False
        self._reward = float(reward[0])
        self.ret += self._reward
        self._over = bool(terminated[0] or truncated[0])
        if self._over:
            self.last_return = self.ret

    def foresee(self, where: Callable[[Any], np.ndarray]) -> dict[str, np.ndarray]:
        """`where(MjData)` [3] along the plan on the true model: {"mean": [H + 1, 3], ...}.

        The sequences are the plan's mean and the elite it drew; none in mode prior, when the
        episode is over, or for simulators whose state cannot be saved.
        """
        if self.ready.mode == "prior" or self._over or self.env.unsaved:
            return {}
        plan = jax.device_get(self.carry.plan)
        return {name: self._roll(getattr(plan, name)[0], where) for name in ("mean", "sample")}

    def _roll(self, actions: np.ndarray, where: Callable[[Any], np.ndarray]) -> np.ndarray:
        self._ahead.set_state(self.env.get_state())
        points, over = [self._position(where)], False
        for action in actions:
            if not over:
                _, _, terminated, truncated, _ = self._ahead.step(np.clip(action, -1, 1)[None])
                points.append(self._position(where))
                over = terminated[0] or truncated[0]
        return np.stack(points)

    def _position(self, where: Callable[[Any], np.ndarray]) -> np.ndarray:
        model, data = physics_of(self._ahead)
        engine().mj_kinematics(model, data)
        return np.array(where(data))

    def summary(self) -> str:
        """How it goes, in Markdown."""
        times = np.array(self._times or [0.0])
        last = "" if self.last_return is None else f" (last episode {self.last_return:.0f})"
        return (
            f"**{escaped(self.env.env_spec.env_id)}**, episode {self.episode}, decision "
            f"{self.decisions}\n\nreturn **{self.ret:.1f}**{last}, reward {self._reward:.2f}, "
            f"plan's value {self._predicted:.1f}\n\n"
            f"decision **{np.median(times):.1f} ms**, p99 {np.quantile(times, 0.99):.1f} ms, "
            f"of {1e3 * self.period:.0f} ms\n\n{escaped(self.note)}"
        )

    @property
    def note(self) -> str:
        """A problem or what is being waited for, in words; empty when nothing."""
        if self._problem or self.busy:
            return self._problem or "compiling new settings..."
        return "no valid plan: the prior or the last plan acts" if self._planless else ""

    def close(self) -> None:
        """Give the simulators back."""
        self.env.close()
        self._ahead.close()
