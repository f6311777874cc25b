"""The agent with a goal: remember, encode, plan in latent space, act; and plan again every tick.

Written for one simulator, vmapped over many, jitted once. The goal is an observation; what it
means to be there is a matter of the terms of the cost. The memory holds the frames that the
model's history needs, as they really were, so that velocities are in the latent whenever it plans.

A model steps a *block* of decisions at a time and plans are in blocks too, but every decision is
replanned: the plan is moved on by one decision, which is less than a block.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.goals.config import LEARNED
from agents.runs.compile import cpu_options
from planning import registry as planners
from planning.config import PlannerConfig
from planning.objective import (
    EFFORT,
    CostModel,
    PlanParams,
    PlanState,
    Term,
    at_the_end,
    on_the_way,
    planner_model,
    smoothness,
)
from planning.types import Plan, PlanInfo

Array = jax.Array


class GoalModel(NamedTuple):
    """A reward-free world model as functions for ONE latent, its goal heads and times (static).

    encode(params, frames [history, ...]) -> latent, the latest frame last
    step(params, latent, actions [block x A], oldest first) -> latent
    embed(params, latent) -> [D]
    critic(params, embedding [D], goal [D]) -> [] cost to go in [0, 1], or None
    reachability(params, embedding [D], next embedding [D]) -> [] penalty of a step that cannot be
        made, or None
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
    reachability: Callable[[Any, Array, Array], Array] | None = None
    policy: Callable[[Any, Array, Array], Array] | None = None

    @property
    def memory(self) -> int:
        """Frames to remember."""
        return (self.history - 1) * self.spacing + 1


class GoalParams(NamedTuple):
    """Everything that plans depend on and that is data: nothing here compiles anything anew."""

    model: Any
    """Parameters of the world model."""
    weights: dict[str, Array]
    """[] of each term of the cost."""
    scale: Array
    """[] mean square between embeddings of two random observations: distances are shares of it."""
    radius: Array
    """[] distance from which on farther is no worse; infinite is the plain mean square."""
    low: Array
    high: Array
    """[D] where embeddings of the data lie: leaving it exceeds the limits."""
    critic: Any = None
    policy: Any = None


class GoalCarry(NamedTuple):
    """The memory from one decision to the next, one simulator."""

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


def saturating(radius: Array, distance: Array) -> Array:
    """A distance that saturates at `radius`, beyond which farther is no worse; none if infinite."""
    some = jnp.where(jnp.isinf(radius), 1.0, radius)  # the slope of a branch not taken counts too
    return jnp.where(jnp.isinf(radius), distance, some * -jnp.expm1(-distance / some))


def cost_model(model: GoalModel) -> CostModel:
    """The model and its terms for a planner; `params` is a GoalParams, goals are embeddings [D]."""

    def embed(params: GoalParams, latent: Any) -> Array:
        return model.embed(params.model, latent)

    def distance(params: GoalParams, latent: Any, goal: Array) -> Array:
        apart = jnp.mean((embed(params, latent) - goal) ** 2) / params.scale
        return saturating(params.radius, apart)

    def limits(params: GoalParams, latent: Any, goal: Array) -> Array:
        at = embed(params, latent)
        outside = jnp.maximum(params.low - at, 0.0) + jnp.maximum(at - params.high, 0.0)
        return jnp.mean(outside**2) / params.scale

    def critic(params: GoalParams, latent: Any, goal: Array) -> Array:
        assert model.critic is not None
        return model.critic(params.critic, embed(params, latent), goal)

    def reachability(params: GoalParams, goal: Array, before: PlanState, action, after) -> Array:
        assert model.reachability is not None
        ends = embed(params, before.latent), embed(params, after)
        return model.reachability(params.critic, *ends)

    def prior(params: GoalParams, latent: Any, goal: Array, key: Array | None) -> Array:
        assert model.policy is not None
        action = model.policy(params.policy, embed(params, latent), goal)
        if key is None:
            return action
        return action + PRIOR_NOISE * jax.random.normal(key, action.shape, action.dtype)

    terms = {
        "path": on_the_way(distance),
        "progress": on_the_way(critic),
        "reachability": Term(reachability),
        "effort": EFFORT,
        "smoothness": smoothness(model.block),
        "limits": on_the_way(limits),
        "goal": at_the_end(distance),
        "critic": at_the_end(critic),
    }
    if model.critic is None:
        terms = {name: term for name, term in terms.items() if name not in LEARNED}
    return CostModel(
        lambda params, latent, action: model.step(params.model, latent, action),
        terms,
        prior if model.policy else None,
    )


PRIOR_NOISE = 0.3
"""Standard deviation around the policy's mode of the sequences it proposes."""


def embed_goal(model: GoalModel, params: Any, frame: Array) -> Array:
    """Embedding [D] of a goal frame: standing still there; `params` are the world model's."""
    frames = jnp.broadcast_to(frame, (model.history, *frame.shape))
    return model.embed(params, model.encode(params, frames))


def remember(frames: Array, frame: Array, is_first: Array) -> Array:
    """The memory with a new frame; an episode begins as if it had stood still before."""
    moved = jnp.concatenate([frames[1:], frame[None]])
    return jnp.where(is_first, jnp.broadcast_to(frame, moved.shape), moved)


def moved_on(plan: Plan, block: int, init_std: float) -> Plan:
    """The plan one decision later, its last action repeated; the spread restarts."""

    def moved(x: Array) -> Array:
        single = x.reshape(x.shape[0] * block, -1)
        return jnp.concatenate([single[1:], single[-1:]]).reshape(x.shape)

    return Plan(moved(plan.mean), jnp.full_like(plan.std, init_std), moved(plan.sample))


Decide = Callable[..., tuple[Array, Plan, PlanInfo]]
"""(params, carry, latent, goal [D], is_first, key) -> (actions [block x A], plan, report)"""


def by_planning(
    model: CostModel, block: int, config: PlannerConfig, terms: Sequence[str]
) -> Decide:
    """Decide by planning for `terms` (mode 2), in steps of `block` decisions."""
    search = planner_model(model, terms, config.horizon)

    def decide(params: GoalParams, carry: GoalCarry, latent, goal, is_first, key):
        fresh = planners.init(config, carry.action.shape[-1])
        moved = moved_on(carry.plan, block, config.init_std)
        plan = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), fresh, moved)
        at = PlanState(latent, jnp.where(is_first, 0.0, carry.action))
        problem = PlanParams(params, goal, params.weights)
        plan, info = planners.improve(config, search, problem, at, plan, key)
        return plan.mean[0], plan, info

    return decide


def by_policy(model: GoalModel) -> Decide:
    """Decide by the goal-conditioned policy alone (mode 1)."""

    def decide(params: GoalParams, carry: GoalCarry, latent, goal, is_first, key):
        assert model.policy is not None
        actions = model.policy(params.policy, model.embed(params.model, latent), goal)
        return actions, carry.plan, PlanInfo(*[jnp.zeros(())] * len(PlanInfo._fields))

    return decide


def act_once(
    model: GoalModel,
    decide: Decide,
    params: GoalParams,
    carry: GoalCarry,
    frame: Array,
    goal: Array,
    is_first: Array,
    key: Array,
) -> tuple[Array, GoalCarry, PlanInfo]:
    """One decision of one simulator; a function of its arguments alone."""
    frames = remember(carry.frames, frame, is_first)
    latent = model.encode(params.model, frames[:: model.spacing])
    embedded = embed_goal(model, params.model, goal)
    actions, plan, info = decide(params, carry, latent, embedded, is_first, key)
    action = jnp.clip(actions[: model.action_dim], -1.0, 1.0)
    return action, GoalCarry(plan, frames, jnp.tile(action, model.block)), info


def make_goal_agent(
    model: GoalModel, config: PlannerConfig, terms: Sequence[str], *, reactive: bool = False
) -> GoalAgent:
    """An agent that plans for `terms` of the cost, or that only reacts; jitted.

    Every simulator has its own goal and its own key; what it does depends on no other.
    """
    planned = by_planning(cost_model(model), model.block, config, terms)
    one = partial(act_once, model, by_policy(model) if reactive else planned)
    frames = jnp.zeros((model.memory, *model.frame_shape), model.frame_dtype)
    return vectorised(one, config, frames, model.block * model.action_dim)


def vectorised(
    one: Callable[..., tuple], config: PlannerConfig, frames: Array, size: int
) -> GoalAgent:
    """An agent of many simulators from what it does in one, whose memory begins as `frames`."""

    def act(params, carry, frames, goals, is_first, keys):
        return jax.vmap(one, (None, 0, 0, 0, 0, 0))(params, carry, frames, goals, is_first, keys)

    def init_carry(num_envs: int) -> GoalCarry:
        carry = GoalCarry(planners.init(config, size), frames, jnp.zeros(size))
        return jax.tree.map(lambda x: jnp.repeat(x[None], num_envs, axis=0), carry)

    return GoalAgent(init_carry, jax.jit(act, compiler_options=cpu_options()))
