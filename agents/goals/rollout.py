"""Episodes with goals in closed loop: a queue of goals and a few simulators side by side.

A simulator that is done, by success or at its time limit, takes the next goal at once. What
happens to a goal is a function of its seed and of the agent: neither the order nor the number of
simulators matters.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.goals.agent import GoalAgent
from agents.goals.config import ObjectiveConfig
from agents.goals.surprise import Log
from planning.config import PlannerConfig


class ObservationSource(NamedTuple):
    """Observations of simulators and goals for an agent; trees of arrays with leading axis E.

    frames(env, obs [E, O], begun [E]) -> the agent's observations; `begun` where they are the first
        of an episode
    goals(env) -> the goals of the current episodes
    """

    frames: Callable[[Any, np.ndarray, np.ndarray], Any]
    goals: Callable[[Any], Any]


@dataclass
class GoalOutcome:
    """The result of one goal."""

    seed: int
    success: bool = False
    steps: int = 0
    """Decisions until success or the end."""
    valid: bool = True
    fallbacks: int = 0
    """Decisions in which no plan was valid."""


STATE = ObservationSource(
    lambda env, obs, begun: np.asarray(obs, np.float32),
    lambda env: np.asarray(env.goal_view().obs, np.float32),
)
"""Observation vectors, float32."""


def picture_source(
    env_id: str, size: int, edit: Callable[[Any], object] | None = None
) -> ObservationSource:
    """Pictures as datasets have them, uint8 [E, size, size, 3].

    `edit` changes how the world looks, and goals with it.
    """
    from envs.native.recorded import OffscreenRenderer
    from envs.registry import make_vec

    film = OffscreenRenderer(env_id, size, edit)
    others: dict[int, Any] = {}

    def goals(env: Any) -> np.ndarray:
        if env.num_envs not in others:
            others[env.num_envs] = make_vec(env_id, env.num_envs)
        other, poses = others[env.num_envs], np.array(env.simulators.data.userdata)
        other.begin(poses, poses)
        return film.pictures(other.simulators.get_moments())

    return ObservationSource(
        lambda env, obs, begun: film.pictures(env.simulators.get_moments()), goals
    )


def disturbed(source: ObservationSource, noise: float, delay: int, seed: int) -> ObservationSource:
    """The same pictures `delay` decisions late, the first of the episode until then, and noisy.

    `noise` is a standard deviation, as a share of full brightness. Goals are seen well.
    """
    rng, line = np.random.default_rng(seed), np.zeros(0)

    def frames(env: Any, obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal line
        now = source.frames(env, obs, begun)
        line = np.roll(line, 1, axis=0) if len(line) else np.repeat(now[None], delay + 1, axis=0)
        line[0], line[:, begun] = now, now[begun]
        if not noise:
            return line[delay].copy()
        seen = line[delay] + rng.normal(0.0, 255 * noise, now.shape)
        return np.clip(np.rint(seen), 0, 255).astype(np.uint8)

    return source._replace(frames=frames)


class Actor(NamedTuple):
    """An agent ready to run on simulators of a task."""

    agent: GoalAgent
    params: Any
    source: ObservationSource
    planner: PlannerConfig | None = None
    objective: ObjectiveConfig | None = None


def baseline(action_dim: int, mode: str) -> Actor:
    """Uniform random actions, or none at all; it does not look."""

    def one(key: jax.Array) -> jax.Array:
        draw = jax.random.uniform(key, (action_dim,), minval=-1.0, maxval=1.0)
        return draw if mode == "random" else jnp.zeros_like(draw)

    def act(goal_params, carry, frames, goals, is_first, keys):
        return jax.vmap(one)(keys), carry, None

    agent = GoalAgent(lambda num_envs: None, jax.jit(act))  # pyright: ignore
    source = ObservationSource(lambda env, obs, begun: obs, lambda env: np.zeros(env.num_envs))
    return Actor(agent, None, source)


@jax.jit
def _keys(seed: jax.Array, goals: jax.Array, ticks: jax.Array) -> jax.Array:
    key = jax.random.key(seed)
    of_goal = jax.vmap(jax.random.fold_in, (None, 0))(key, goals)
    return jax.vmap(jax.random.fold_in)(of_goal, ticks)


class _Slots:
    """The goal that each simulator is at."""

    def __init__(self, env: Any, seeds: list[int]):
        self.env, self.outcomes = env, [GoalOutcome(seed) for seed in seeds]
        self.goal = np.full(env.num_envs, -1)
        self.ticks = np.zeros(env.num_envs, int)
        self._next = 0

    def begin(self) -> np.ndarray:
        """Begin the first goals everywhere; the observations."""
        seeds = [outcome.seed for outcome in self.outcomes[: self.env.num_envs]]
        self._next = len(seeds)
        self.goal[: len(seeds)] = np.arange(len(seeds))
        return self.env.reset(seed=seeds + [0] * (self.env.num_envs - len(seeds)))[0]

    def refill(self, free: np.ndarray, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Begin the next goals on free simulators: (obs, which have begun)."""
        begun = np.zeros(len(free), bool)
        seeds: list[int | None] = [None] * len(free)
        for slot in np.flatnonzero(free):
            self.goal[slot], self.ticks[slot] = -1, 0
            if self._next < len(self.outcomes):
                self.goal[slot], begun[slot] = self._next, True
                seeds[slot] = self.outcomes[self._next].seed
                self._next += 1
        if begun.any():
            obs, _ = self.env.reset(seed=seeds, options={"reset_mask": begun})
        return obs, begun

    def record(self, info: dict[str, Any], truncated: np.ndarray, plans: Any) -> np.ndarray:
        """Note the step of every running goal; which simulators are free now."""
        done = np.zeros(len(self.goal), bool)
        fallback = np.zeros(len(self.goal)) if plans is None else np.asarray(plans.fallback)
        for slot in np.flatnonzero(self.goal >= 0):
            outcome = self.outcomes[self.goal[slot]]
            outcome.steps += 1
            outcome.fallbacks += int(fallback[slot])
            outcome.valid &= not bool(info["invalid"][slot])
            outcome.success = outcome.valid and bool(info["success"][slot])
            done[slot] = outcome.success or not outcome.valid or bool(truncated[slot])
        self.ticks += 1
        return done


def run_goals(
    actor: Actor, env: Any, seeds: list[int], key_seed: int, log: Log | None = None
) -> list[GoalOutcome]:
    """One episode a seed, until its goal is achieved or its time is over.

    `env` is a vector environment with goals, whose `step` info has success [E] and invalid [E].
    `log` takes down what was seen and done; a goal's number is its index in `seeds`.
    """
    (agent, params, source), slots = actor[:3], _Slots(env, seeds)
    obs, first = slots.begin(), np.ones(env.num_envs, bool)
    carry, goals = agent.init_carry(env.num_envs), None
    while (slots.goal >= 0).any():
        if first.any():
            goals = source.goals(env)
        keys = _keys(key_seed, jnp.asarray(slots.goal), jnp.asarray(slots.ticks))
        frames = source.frames(env, obs, first)
        action, carry, plans = agent.act(params, carry, frames, goals, jnp.asarray(first), keys)
        action = np.asarray(action)
        if log is not None:
            log.add(slots.goal, frames, action)
        obs, _, terminated, truncated, info = env.step(action)
        free = slots.record(info, terminated | truncated, plans)
        obs, first = slots.refill(free, obs)
    return slots.outcomes


def plan_milliseconds(actor: Actor, env: Any, seed: int, most: int = 60) -> list[float]:
    """Latency of single decisions of one simulator, without rendering and compilation."""
    agent, params, source = actor[:3]
    obs, _ = env.reset(seed=[seed])
    carry, goals, found = agent.init_carry(1), source.goals(env), []
    for t in range(most + 1):
        seen = source.frames(env, obs, np.full(1, t == 0))
        frames = jax.block_until_ready(jax.tree.map(jnp.asarray, seen))
        keys = _keys(seed, jnp.zeros(1, int), jnp.full(1, t))
        began = time.perf_counter()
        action, carry, _ = agent.act(params, carry, frames, goals, jnp.full(1, t == 0), keys)
        action = np.asarray(action)
        found.append(1e3 * (time.perf_counter() - began))
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated[0] or truncated[0]:
            break
    return found[1:]
