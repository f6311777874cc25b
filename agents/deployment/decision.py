"""One tick of a controller, for one robot: pure functions that can be exported.

    decide(params, state, obs [O], action [A], elapsed []) -> (action [A], report [9], state)

The action given is what the robot really got last (a guard may have changed it) and `elapsed` the
ticks since the last decision: 1 in regular operation, more after a gap, 0 to start afresh. With
seed s and without gaps the decisions are those of the evaluation of one simulator with seed s.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import Carry, act_once, planner_model
from planning import anytime
from planning import registry as planners
from planning.config import PlannerConfig
from planning.types import Plan, PlanInfo, shift
from wm.tdmpc.model import Networks, as_latent_model

Array = jax.Array
REPORT = ("surprise", *PlanInfo._fields)
"""Entries of a report: one array, as each costs a transfer."""


class ControllerState(NamedTuple):
    """State of a controller between decisions."""

    plan: Plan
    latent: Array
    """[D] of the last observation."""
    age: Array
    """int32: ticks from the decision that made the plan to that of the latent."""
    seed: Array
    """uint32, of all its random numbers."""
    step: Array
    """uint32: decisions since the start, which number the random streams."""


Decide = Callable[[Any, ControllerState, Any, Any, Any], tuple[Array, Array, ControllerState]]


class Inputs(NamedTuple):
    """Inputs of one decision, but for the parameters."""

    state: ControllerState
    obs: np.ndarray
    action: np.ndarray
    """[A] what the robot was given last."""
    elapsed: np.int32
    """Ticks since the last decision; 0 begins an episode."""


def init_state(net: Networks, config: PlannerConfig, seed: int) -> ControllerState:
    """The state before the first decision, in numpy."""
    plan = jax.tree.map(np.asarray, planners.init(config, net.spec.action_dim))
    latent = np.zeros(net.latent_size, np.float32)
    numbers = (np.int32(0), np.uint32(seed), np.uint32(0))
    return ControllerState(plan, latent, *numbers)  # pyright: ignore[reportArgumentType]


def stored(state: ControllerState) -> dict[str, Any]:
    """A state as plain arrays by name."""
    return {f"memory{i:02d}": x for i, x in enumerate(jax.tree.leaves(state))}


def restored(like: ControllerState, arrays: Mapping[str, Any]) -> ControllerState:
    """The state that was `stored`. Raises KeyError, ValueError when `like` has other sizes."""
    expected = stored(like)
    found = [np.asarray(arrays[name]) for name in expected]
    for mine, given in zip(expected.values(), found, strict=True):
        if (mine.shape, mine.dtype) != (given.shape, given.dtype):
            raise ValueError(f"memory of {given.dtype}{given.shape} is of another controller")
    return jax.tree.structure(like).unflatten(found)


def observed(net: Networks, params: Any, state: ControllerState, obs, action, elapsed):
    """Latent [D] of an observation and its surprise []: 0 where nothing was predicted.

    Surprise is the root mean square distance from the latent predicted: comparable across sizes.
    """
    latent = net.encode(params, obs)
    expected = net.predict(params, state.latent, action)
    distance = jnp.sqrt(jnp.mean((expected - latent) ** 2))
    return latent, jnp.where(elapsed == 1, distance, 0.0)


def key_of(state: ControllerState) -> Array:
    """The key of this decision: that of simulator 0 of an evaluation at this step."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(state.seed), state.step), 0)


def moved_plan(config: PlannerConfig, state: ControllerState, elapsed: Array) -> Plan:
    """The plan as it was a tick ago: the agent itself moves it on by one."""
    return shift(state.plan, jnp.maximum(state.age + elapsed - 1, 0), config.init_std)


def planner_policy(net: Networks, config: PlannerConfig) -> Decide:
    """Decide by the planner's mean."""
    one = partial(act_once, lambda params, latent: latent, planner_model(net), config, False)

    def decide(params, state, obs, action, elapsed):
        latent, surprise = observed(net, params, state, obs, action, elapsed)
        carry = Carry(moved_plan(config, state, elapsed))
        chosen, carry, info = one(params, carry, latent, elapsed == 0, key_of(state))
        return _planned(state, carry.plan, latent, chosen, surprise, info)

    return decide


def _planned(state: ControllerState, plan: Plan, latent, action, surprise, info: PlanInfo):
    """The answer of a new plan, and what is left of it."""
    step, age = state.step + 1, jnp.zeros((), jnp.int32)
    state = ControllerState(plan, latent, age, state.seed, step)
    return action, jnp.stack([surprise, *info]), state


class Refinement(NamedTuple):
    """A decision that is being refined: the search under way and what it began from."""

    search: anytime.Refinement
    state: ControllerState
    surprise: Array


def refining_policy(net: Networks, config: PlannerConfig) -> tuple[Callable, Callable]:
    """`planner_policy` in programs of one iteration each; any of them may be the last.

    first(params, state, obs, action, elapsed) -> (action, report, state, Refinement)
    more(count, params, Refinement) -> the same, refined by `count` sequences (static)
    """
    model, counts = planner_model(net), anytime.counts(config)

    def more(count: int, params, refined: Refinement):
        search = anytime.refine(config, model, params, refined.search, count)
        plan, info = anytime.conclude(config, model, params, search)
        action = jnp.clip(plan.mean[0], -1.0, 1.0)
        made = _planned(refined.state, plan, search.latent, action, refined.surprise, info)
        return *made, refined._replace(search=search)

    def first(params, state, obs, action, elapsed):
        latent, surprise = observed(net, params, state, obs, action, elapsed)
        moved = shift(moved_plan(config, state, elapsed), 1, config.init_std)
        fresh = planners.init(config, net.spec.action_dim)
        plan = jax.tree.map(lambda new, old: jnp.where(elapsed == 0, new, old), fresh, moved)
        key, _ = jax.random.split(key_of(state))
        search = anytime.begin(config, model, params, latent, plan, key)
        return more(counts[0], params, Refinement(search, state, surprise))

    return first, more


def prior_policy(net: Networks) -> Decide:
    """Decide by the prior's mode. The plan is kept, and grows older."""
    prior = as_latent_model(net).prior

    def decide(params, state, obs, action, elapsed):
        latent, surprise = observed(net, params, state, obs, action, elapsed)
        chosen = jnp.clip(prior(params, latent, None), -1.0, 1.0)
        report = jnp.zeros(len(REPORT)).at[0].set(surprise)
        # What is older than its last action is no plan any more.
        age = jnp.where(elapsed == 0, state.plan.mean.shape[0], state.age + elapsed)
        return chosen, report, state._replace(latent=latent, age=age, step=state.step + 1)

    return decide


def prior_action(net: Networks) -> Callable[[Any, Any], Array]:
    """The prior alone, (params, obs [O]) -> action [A]: what a guard falls back on."""
    prior = as_latent_model(net).prior
    return lambda params, obs: jnp.clip(prior(params, net.encode(params, obs), None), -1.0, 1.0)
