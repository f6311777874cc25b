"""The agent with a goal: remember, encode, plan in latent space, act; and plan again every tick.

Written for one simulator, vmapped over many, jitted once. The goal is an observation; what it
means to be there is the objective's business (`planning/objective.py`). The memory holds the
frames that the model's history needs, as they really were, so that velocities are in the latent
whenever it plans.

A model steps a *block* of decisions at a time and plans are in blocks too, but every decision is
replanned: the plan is moved on by one decision, which is less than a block.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.runs.compile import cpu_options
from planning import registry as planners
from planning.config import PlannerConfig
from planning.objective import Objective, PlanParams, PlanState, Weights, World, planner_model
from planning.types import Plan, PlanInfo

Array = jax.Array


class GoalModel(NamedTuple):
    """A reward-free world model as functions for ONE latent, and its times (static).

    encode(params, frames [history, ...]) -> latent, the latest frame last
    step(params, latent, actions [block x A], oldest first) -> latent
    embed(params, latent) -> [D]
    critic(params, embedding [D], goal [D]) -> [] cost to go in [0, 1], or None
    leap(params, embedding [D], embedding [D]) -> [] how far a step is beyond a step, or None
    policy(params, embedding [D], goal [D]) -> actions [block x A], or None
    """

    encode: Callable[[Any, Array], Any]
    step: Callable[[Any, Any, Array], Any]
    embed: Callable[[Any, Any], Array]
    action_dim: int
    frame_shape: tuple[int, ...]
    frame_dtype: Any = jnp.float32
    history: int = 1
    spacing: int = 1
    """Decisions between the frames of the history."""
    block: int = 1
    """Decisions a step spans."""
    critic: Callable[[Any, Array, Array], Array] | None = None
    leap: Callable[[Any, Array, Array], Array] | None = None
    policy: Callable[[Any, Array, Array], Array] | None = None

    @property
    def memory(self) -> int:
        """Frames to remember."""
        return (self.history - 1) * self.spacing + 1


class GoalParams(NamedTuple):
    """Everything that plans depend on and that is data: nothing here compiles anything anew."""

    model: Any
    """Parameters of the world model."""
    weights: Weights
    scale: Array
    """[] mean square between embeddings of two random observations: distances are shares of it."""
    reach: Array
    """[] distance from which on farther is no worse; infinite is the plain mean square."""
    low: Array
    high: Array
    """[D] where embeddings of the data lie: leaving it exceeds the limits."""
    critic: Any = None
    policy: Any = None


class GoalCarry(NamedTuple):
    """What the agent remembers from one decision to the next, one simulator."""

    plan: Plan
    frames: Array
    """[memory, ...] the latest observations, the last of them last."""
    action: Array
    """[block x A] the decision before, over and over."""


class GoalAgent(NamedTuple):
    """Functions over E simulators (static).

    init_carry(E) -> GoalCarry with leading axis E
    act(goal_params, carry, frames [E, ...], goals [E, ...], is_first [E], keys [E])
        -> (action [E, A], GoalCarry, PlanInfo [E])
    """

    init_carry: Callable[[int], GoalCarry]
    act: Callable[..., tuple[Array, GoalCarry, PlanInfo]]


def within(reach: Array, far: Array) -> Array:
    """A distance that saturates at `reach`, beyond which farther is no worse; none if infinite."""
    some = jnp.where(jnp.isinf(reach), 1.0, reach)  # the slope of a branch not taken counts too
    return jnp.where(jnp.isinf(reach), far, some * -jnp.expm1(-far / some))


def latent_world(model: GoalModel) -> World:
    """What the model offers to an objective; `params` is a GoalParams, goals are embeddings [D]."""

    def distance(params: GoalParams, latent: Any, goal: Array) -> Array:
        far = jnp.mean((model.embed(params.model, latent) - goal) ** 2) / params.scale
        return within(params.reach, far)

    def limits(params: GoalParams, latent: Any, action: Array) -> Array:
        place = model.embed(params.model, latent)
        outside = jnp.maximum(params.low - place, 0.0) + jnp.maximum(place - params.high, 0.0)
        return jnp.mean(outside**2) / params.scale

    def critic(params: GoalParams, latent: Any, goal: Array) -> Array:
        assert model.critic is not None
        return model.critic(params.critic, model.embed(params.model, latent), goal)

    def leap(params: GoalParams, latent: Any, after: Any) -> Array:
        assert model.leap is not None
        places = model.embed(params.model, latent), model.embed(params.model, after)
        return model.leap(params.critic, *places)

    def prior(params: GoalParams, latent: Any, goal: Array, key: Array | None) -> Array:
        assert model.policy is not None
        action = model.policy(params.policy, model.embed(params.model, latent), goal)
        if key is None:
            return action
        return action + PRIOR_NOISE * jax.random.normal(key, action.shape, action.dtype)

    return World(
        step=lambda params, latent, action: model.step(params.model, latent, action),
        distance=distance,
        critic=critic if model.critic else None,
        leap=leap if model.leap else None,
        limits=limits,
        prior=prior if model.policy else None,
    )


PRIOR_NOISE = 0.3
"""Standard deviation around the policy's mode of the sequences it proposes."""


def embed_goal(model: GoalModel, params: GoalParams, frame: Array) -> Array:
    """Embedding [D] of a goal frame: standing still there."""
    frames = jnp.broadcast_to(frame, (model.history, *frame.shape))
    return model.embed(params.model, model.encode(params.model, frames))


def remember(model: GoalModel, frames: Array, frame: Array, is_first: Array) -> Array:
    """The memory with a new frame; an episode begins as if it had stood still before."""
    moved = jnp.concatenate([frames[1:], frame[None]])
    return jnp.where(is_first, jnp.broadcast_to(frame, moved.shape), moved)


def moved_on(plan: Plan, block: int, init_std: float) -> Plan:
    """The plan one decision later, its last action repeated; the spread restarts."""

    def moved(x: Array) -> Array:
        single = x.reshape(x.shape[0] * block, -1)
        return jnp.concatenate([single[1:], single[-1:]]).reshape(x.shape)

    return Plan(moved(plan.mean), jnp.full_like(plan.std, init_std), moved(plan.sample))


def _seen(model: GoalModel, params: GoalParams, carry: GoalCarry, frame, goal, is_first):
    """Memory, latent and embedded goal of one simulator."""
    frames = remember(model, carry.frames, frame, is_first)
    latent = model.encode(params.model, frames[:: model.spacing])
    return frames, latent, embed_goal(model, params, goal)


def _executed(model: GoalModel, block: Array) -> tuple[Array, Array]:
    """The first action [A] of a block, and what the carry keeps of it."""
    action = jnp.clip(block[: model.action_dim], -1.0, 1.0)
    return action, jnp.tile(action, model.block)


def plan_once(
    model: GoalModel,
    objective: Objective,
    config: PlannerConfig,
    params: GoalParams,
    carry: GoalCarry,
    frame: Array,
    goal: Array,
    is_first: Array,
    key: Array,
) -> tuple[Array, GoalCarry, PlanInfo]:
    """One decision of one simulator by planning (mode 2); a function of its arguments alone."""
    frames, latent, goal = _seen(model, params, carry, frame, goal, is_first)
    fresh = planners.init(config, model.block * model.action_dim)
    moved = moved_on(carry.plan, model.block, config.init_std)
    plan = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), fresh, moved)
    before = jnp.where(is_first, 0.0, carry.action)
    search = planner_model(objective, latent_world(model))
    problem = PlanParams(params, goal, params.weights)
    plan, info = planners.improve(config, search, problem, PlanState(latent, before), plan, key)
    action, kept = _executed(model, plan.mean[0])
    return action, GoalCarry(plan, frames, kept), info


def react_once(
    model: GoalModel, params: GoalParams, carry: GoalCarry, frame, goal, is_first, key
) -> tuple[Array, GoalCarry, PlanInfo]:
    """One decision of one simulator by the goal-conditioned policy alone (mode 1)."""
    if model.policy is None:
        raise ValueError("there is no goal-conditioned policy")
    frames, latent, goal = _seen(model, params, carry, frame, goal, is_first)
    action = model.policy(params.policy, model.embed(params.model, latent), goal)
    action, kept = _executed(model, action)
    nothing = PlanInfo(*[jnp.zeros(())] * len(PlanInfo._fields))
    return action, GoalCarry(carry.plan, frames, kept), nothing


def make_goal_agent(
    model: GoalModel, config: PlannerConfig, objective: Objective, *, reactive: bool = False
) -> GoalAgent:
    """An agent that plans for `objective`, or that only reacts; jitted.

    Every simulator has its own goal and its own key; what it does depends on no other.
    """
    planning = partial(plan_once, model, replace(objective, block=model.block), config)
    one = partial(react_once, model) if reactive else planning

    def act(params, carry, frames, goals, is_first, keys):
        return jax.vmap(one, (None, 0, 0, 0, 0, 0))(params, carry, frames, goals, is_first, keys)

    def init_carry(num_envs: int) -> GoalCarry:
        size = model.block * model.action_dim
        frames = jnp.zeros((model.memory, *model.frame_shape), model.frame_dtype)
        carry = GoalCarry(planners.init(config, size), frames, jnp.zeros(size))
        return jax.tree.map(lambda x: jnp.repeat(x[None], num_envs, axis=0), carry)

    return GoalAgent(init_carry, jax.jit(act, compiler_options=cpu_options()))
