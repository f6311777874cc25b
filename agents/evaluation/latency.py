"""Evaluation with latency: the simulator goes on while the planner computes.

Time runs in frames, the simulator's control steps. A decision that is begun at one frame takes
effect once its latency has passed, rounded up to whole frames; until then the last action
is held, or the rest of the last plan is played. The next decision begins a decision period after
the one before, or when that one is ready if this is later: a missed deadline.
"""

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import Agent
from agents.evaluation.evaluate import warm_up
from agents.evaluation.latency_model import LatencyModel, LatencyPolicy
from agents.evaluation.result import EvalResult


class _Schedule:
    """The actions in force at each frame, and the times of decisions."""

    def __init__(self, action_repeat: int, idle: np.ndarray):
        self.period = action_repeat
        self.misses = 0
        self._due = 0
        self._force, self._since = idle, 0
        self._coming: tuple[np.ndarray, int] | None = None

    def idle(self, frame: int) -> bool:
        """Whether a decision begins at this frame."""
        self._settle(frame)
        return self._coming is None and frame >= self._due

    def begin(self, frame: int, actions: np.ndarray, late: int) -> None:
        """A decision begun now gives actions [H, E, A], `late` frames from now."""
        self.misses += late > self.period
        self._coming = actions, frame + late
        self._due = frame + max(self.period, late)

    def action(self, frame: int) -> np.ndarray:
        """The actions of this frame, [E, A]."""
        self._settle(frame)
        played = (frame - self._since) // self.period
        return self._force[min(played, len(self._force) - 1)]

    def _settle(self, frame: int) -> None:
        """A decision that is ready comes into force."""
        if self._coming is not None and frame >= self._coming[1]:
            (self._force, self._since), self._coming = self._coming, None


def evaluate_with_latency(
    agent: Agent,
    params: Any,
    env,
    action_repeat: int,
    seeds: list[int],
    latency: LatencyModel,
    policy: LatencyPolicy = "hold",
) -> tuple[EvalResult, int]:
    """One episode on each simulator of `env`, which steps single frames (action_repeat 1).

    Lengths are decision periods; the count is of decisions that took longer than one. All
    simulators share the latency: with `measured`, give one at a time. Until the first decision is
    ready nothing is done.
    """
    obs, _ = env.reset(seed=seeds)
    count, dt, key = env.num_envs, env.env_spec.control_dt, jax.random.key(seeds[0])
    carry, running = agent.init_carry(count), np.ones(count, bool)
    returns, frames, invalid = np.zeros(count), np.zeros(count, int), np.zeros(count, bool)
    schedule = _Schedule(action_repeat, np.zeros((1, count, env.env_spec.action_dim)))
    t, plan_ms = 0, []
    warm_up(agent, params, env, obs, key)
    while running.any():
        if schedule.idle(t):
            begin = time.perf_counter()
            draw = jax.random.fold_in(key, len(plan_ms))
            first = jnp.full(count, not plan_ms)
            action, carry, _ = agent.act(params, carry, agent.observe(env, obs), first, draw)
            action = np.asarray(action)
            plan_ms.append(1e3 * (time.perf_counter() - begin))
            late = _frames(latency.charge(plan_ms[-1]), dt)
            schedule.begin(t, _sequence(action, carry, policy), late)
        obs, reward, terminated, truncated, info = env.step(schedule.action(t))
        returns += np.where(running, reward, 0.0)
        frames += running
        invalid |= info["invalid"] & running
        running &= ~(terminated | truncated)
        t += 1
    lengths = -(-frames // action_repeat)
    valid = np.logical_not(invalid).tolist()
    result = EvalResult(returns.tolist(), lengths.tolist(), valid, plan_ms=plan_ms)
    return result, schedule.misses


def _frames(milliseconds: float, control_dt: float) -> int:
    """Whole frames that pass; a hair's breadth over a frame does not count as another."""
    return math.ceil(milliseconds / (1e3 * control_dt) - 1e-9)


def _sequence(action: np.ndarray, carry: Any, policy: LatencyPolicy) -> np.ndarray:
    """Actions [H, E, A] to play: the first, and the rest of the plan if that is asked for."""
    if policy == "hold":
        return action[None]
    rest = np.clip(np.asarray(carry.plan.mean), -1, 1).swapaxes(0, 1)[1:]
    return np.concatenate([action[None], rest])
