"""The oracle with a goal: the same planner on the true simulator, by distance in what counts.

Its distance is between achieved quantities, each over its spread, angles by the shorter way. It
parts errors of the model from those of the search and of a cost that only looks straight ahead.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.oracle import on_host, simulation
from agents.goals.agent import (
    GoalCarry,
    GoalParams,
    by_planning,
    saturating,
    vectorised,
)
from agents.goals.config import HELD_OUT, LEARNED, ObjectiveConfig
from agents.goals.model import radius_of, weights_of
from agents.goals.rollout import Actor, ObservationSource
from agents.runs.config import ConfigError
from envs.registry import make_vec
from envs.spec import EnvSpec
from planning.config import PlannerConfig
from planning.objective import EFFORT, CostModel, at_the_end, on_the_way, smoothness

Array = jax.Array
NOT_TRUE = (*LEARNED, "limits")
"""Terms that the true world lacks: it has no critic, and no latents that could leave their box."""
SAMPLED_GOALS = 256  # goals that say how far apart goals are


class Moment(NamedTuple):
    """One simulator at one time."""

    bits: Array
    """[2 K] int32: its float64 state, bit by bit, as JAX runs in 32 bits."""
    achieved: Array
    """[G] float32"""


def goal_oracle(spec: EnvSpec, config: PlannerConfig, objective: ObjectiveConfig) -> Actor:
    """The oracle; the objective has none of `NOT_TRUE`. Raises ConfigError."""
    if spec.backend != "native" or config.method == "gradient":
        raise ConfigError("the oracle needs native simulators and a planner without gradients")
    periods, spreads = _geometry(spec)
    weights, radius = weights_of(objective), radius_of(objective)
    known = GoalParams(*[None] * 6)._replace(weights=weights, radius=radius)  # pyright: ignore

    def distance(params: GoalParams, moment: Moment, goal: Array) -> Array:
        return saturating(params.radius, _distance(periods, spreads, moment, goal))

    terms = {
        "path": on_the_way(distance),
        "effort": EFFORT,
        "smoothness": smoothness(),
        "goal": at_the_end(distance),
    }
    decide = by_planning(CostModel(_step(spec), terms), 1, config, objective.terms)

    def one(params: None, carry: GoalCarry, moment: Moment, goal: Array, is_first, key: Array):
        action, plan, info = decide(known, carry, moment, goal, is_first, key)
        action = jnp.clip(action, -1.0, 1.0)
        return action, GoalCarry(plan, carry.frames, action), info

    source = ObservationSource(
        _moments, lambda env: jnp.asarray(env.goal_view().achieved, jnp.float32)
    )
    agent = vectorised(one, config, jnp.zeros(0), spec.action_dim)
    return Actor(agent, None, source, config, objective)


def _moments(env: Any, obs: np.ndarray, begun: np.ndarray) -> Moment:
    del obs, begun
    bits = np.ascontiguousarray(env.simulators.get_moments()).view(np.int32)
    return Moment(jnp.asarray(bits), jnp.asarray(_achieved(env), jnp.float32))


def _achieved(env: Any) -> np.ndarray:
    return np.array(env.simulators.task.achieved(np, env.simulators.data))


def _geometry(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray]:
    """Period [G] (0: none) and spread [G] of the achieved quantities over random goals."""
    env = make_vec(spec.env_id, SAMPLED_GOALS, action_repeat=spec.action_repeat)
    env.reset(seed=HELD_OUT - SAMPLED_GOALS)
    task, goals = env.simulators.task, np.array(env.goal_view().achieved)
    env.close()
    turn = 2 * np.pi * np.eye(goals.shape[1])
    periodic = [bool(task.success(np, goals + t, goals).all()) for t in turn]
    return np.where(periodic, 2 * np.pi, 0.0), np.maximum(goals.std(0), 1e-6)


def _distance(periods: np.ndarray, spreads: np.ndarray, moment: Moment, goal: Array) -> Array:
    """Mean square over the spread of goals; 1 for two independent ones."""
    away = moment.achieved - goal
    turns = jnp.asarray(np.where(periods, periods, 1.0), jnp.float32)
    wrapped = away - turns * jnp.round(away / turns)
    away = jnp.where(jnp.asarray(periods > 0), wrapped, away) / jnp.asarray(spreads, jnp.float32)
    return jnp.mean(away**2) / 2


def _step(spec: EnvSpec):
    """The simulator as the step of a world."""

    def outcome(env: Any, after: np.ndarray, _: Any, reward: np.ndarray, ended: Any) -> tuple:
        del ended
        achieved = np.where(np.isfinite(reward)[:, None], _achieved(env), np.nan)
        return after.view(np.int32), achieved.astype(np.float32)

    simulate = simulation(spec, outcome)

    def step(params: Any, moment: Moment, action: Array) -> Moment:
        shapes = (
            jax.ShapeDtypeStruct(moment.bits.shape, jnp.int32),
            jax.ShapeDtypeStruct(moment.achieved.shape, jnp.float32),
        )
        return Moment(*on_host(simulate, shapes, moment.bits, action))

    return step
