"""The oracle with a goal: the same planner on the true simulator, by distance in what counts.

Its distance is between achieved quantities, each over its spread, angles by the shorter way. It
parts errors of the model from those of the search and of a cost that only looks straight ahead.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.oracle import on_host, simulation
from agents.goals.agent import GoalAgent, within
from agents.goals.config import HELD_OUT, LEARNED, ObjectiveConfig
from agents.goals.model import radius_of, weights_of
from agents.goals.rollout import ObservationSource
from agents.runs.compile import cpu_options
from agents.runs.config import ConfigError
from envs.registry import make_vec
from envs.spec import EnvSpec
from planning import registry as planners
from planning.config import PlannerConfig
from planning.objective import Objective, PlanParams, PlanState, World, planner_model
from planning.types import PlanInfo, shift

Array = jax.Array
NOT_TRUE = (*LEARNED, "limits")
"""Terms that the true world lacks: it has no critic, and no latents that could leave their box."""
SAMPLED = 256  # goals that say how far apart goals are


class Moment(NamedTuple):
    """One simulator at one time."""

    bits: Array
    """[2 K] int32: its float64 state, bit by bit, as JAX runs in 32 bits."""
    achieved: Array
    """[G] float32"""


def goal_oracle(
    spec: EnvSpec, config: PlannerConfig, objective: ObjectiveConfig
) -> tuple[GoalAgent, ObservationSource]:
    """The agent and how it sees; the objective has none of `NOT_TRUE`. Raises ConfigError."""
    if spec.backend != "native" or config.method == "gradient":
        raise ConfigError("the oracle needs native simulators and a planner without gradients")
    periods, spreads = _geometry(spec)
    reach, weights = radius_of(objective), weights_of(objective)

    def distance(params: Any, moment: Moment, goal: Array) -> Array:
        return within(reach, _distance(periods, spreads, params, moment, goal))

    world = World(_step(spec), distance=distance)
    search = planner_model(Objective(objective.terms, config.horizon), world)

    def one(plan, before: Array, moment: Moment, goal: Array, is_first: Array, key: Array):
        fresh = planners.init(config, spec.action_dim)
        moved = shift(plan, 1, config.init_std)
        plan = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), fresh, moved)
        at = PlanState(moment, jnp.where(is_first, 0.0, before))
        problem = PlanParams(None, goal, weights)
        plan, info = planners.improve(config, search, problem, at, plan, key)
        return jnp.clip(plan.mean[0], -1.0, 1.0), plan, info

    def act(goal_params, carry, moments, goals, is_first, keys) -> tuple[Array, Any, PlanInfo]:
        plans, before = carry
        action, plans, info = jax.vmap(one)(plans, before, moments, goals, is_first, keys)
        return action, (plans, action), info

    def init_carry(num_envs: int):
        carry = planners.init(config, spec.action_dim), jnp.zeros(spec.action_dim)
        return jax.tree.map(lambda x: jnp.repeat(x[None], num_envs, axis=0), carry)

    source = ObservationSource(
        _moments, lambda env: jnp.asarray(env.goal_view().achieved, jnp.float32)
    )
    return GoalAgent(init_carry, jax.jit(act, compiler_options=cpu_options())), source


def _moments(env: Any, obs: np.ndarray, begun: np.ndarray) -> Moment:
    del obs, begun
    bits = np.ascontiguousarray(env.simulators.get_moments()).view(np.int32)
    return Moment(jnp.asarray(bits), jnp.asarray(_achieved(env), jnp.float32))


def _achieved(env: Any) -> np.ndarray:
    return np.array(env.simulators.task.achieved(np, env.simulators.data))


def _geometry(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray]:
    """Period [G] (0: none) and spread [G] of the achieved quantities over random goals."""
    env = make_vec(spec.env_id, SAMPLED, action_repeat=spec.action_repeat)
    env.reset(seed=HELD_OUT - SAMPLED)
    task, goals = env.simulators.task, np.array(env.goal_view().achieved)
    env.close()
    turn = 2 * np.pi * np.eye(goals.shape[1])
    periodic = [bool(task.success(np, goals + t, goals).all()) for t in turn]
    return np.where(periodic, 2 * np.pi, 0.0), np.maximum(goals.std(0), 1e-6)


def _distance(
    periods: np.ndarray, spreads: np.ndarray, params: Any, moment: Moment, goal: Array
) -> Array:
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
