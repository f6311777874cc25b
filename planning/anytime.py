"""A search one iteration at a time, so that a caller with a clock can stop between them.

    search = begin(config, model, params, latent, plan, key)      # the prior's sequences, scored
    search = refine(config, model, params, search, count)         # one for each of counts(config)
    plan, info = conclude(config, model, params, search)          # after any number of them

Each function is pure and compiles to a program of its own. After all iterations the plan is that
of `improve` with the same key. The gradient planner, whose step sizes are laid out over all of its
iterations, does them all in one `refine`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from planning import registry, search
from planning.config import PlannerConfig
from planning.types import Array, Model, Params, Plan, PlanInfo


class Refinement(NamedTuple):
    """A search under way, one simulator."""

    latent: Any
    plan: Plan
    """What it began with."""
    key: Array
    led: Any
    state: Any
    """`search.State`; of a planner that is no search, its (Plan, PlanInfo)."""


def counts(config: PlannerConfig) -> tuple[int, ...]:
    """Sequences drawn by each `refine` in turn."""
    if registry.PLANNERS[config.method].searching is None:
        return (config.num_restarts,)
    return config.samples_drawn


def begin(
    config: PlannerConfig, model: Model, params: Params, latent: Any, plan: Plan, key: Array
) -> Refinement:
    """A search before its first iteration."""
    if registry.PLANNERS[config.method].searching is None:
        zero = jnp.zeros((), plan.mean.dtype)
        return Refinement(latent, plan, key, (), (plan, PlanInfo(*[zero] * len(PlanInfo._fields))))
    found = _search(config, model, params, Refinement(latent, plan, key, None, None))
    return Refinement(latent, plan, key, found.led, search.begin(config, plan))


def refine(
    config: PlannerConfig, model: Model, params: Params, session: Refinement, count: int
) -> Refinement:
    """One iteration more, of `count` sequences; none once the search has settled."""
    if registry.PLANNERS[config.method].searching is None:
        made = registry.improve(config, model, params, session.latent, session.plan, session.key)
        return session._replace(state=made)
    found, state = _search(config, model, params, session), session.state
    key = jax.random.split(found.key, config.num_iterations)[state.iterations]
    following = found.iterate(state, key, count)
    if config.stop_spread > 0:
        following = jax.tree.map(
            lambda new, old: jnp.where(state.settled, old, new), following, state
        )
    return session._replace(state=following)


def conclude(
    config: PlannerConfig, model: Model, params: Params, session: Refinement
) -> tuple[Plan, PlanInfo]:
    """The best plan so far; at least one iteration has to be done."""
    if registry.PLANNERS[config.method].searching is None:
        return session.state
    return _search(config, model, params, session).conclude(session.state)


def _search(
    config: PlannerConfig, model: Model, params: Params, session: Refinement
) -> search.Search:
    searching = registry.PLANNERS[config.method].searching
    if searching is None:
        raise ValueError(f"{config.method} is no search: it cannot be taken one step at a time")
    return searching(config, model, params, session.latent, session.plan, session.key, session.led)
