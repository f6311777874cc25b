"""A search one iteration at a time, so that a caller with a clock can stop between them.

    found = begin(config, model, params, latent, plan, key)      # the prior's sequences, scored
    found = refine(config, model, params, found, count)          # one for each of counts(config)
    plan, info = conclude(config, model, params, found)          # after any number of them

Each function is pure and compiles to a program of its own. After all iterations the plan is that
of `improve` with the same key.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from planning import search
from planning.config import PlannerConfig
from planning.registry import PLANNERS
from planning.types import Array, Model, Params, Plan, PlanInfo


class Refinement(NamedTuple):
    """A search under way, one simulator."""

    latent: Any
    plan: Plan
    """Before the first iteration."""
    key: Array
    prior: search.Scored | None
    state: search.State


def counts(config: PlannerConfig) -> tuple[int, ...]:
    """Sequences drawn by each `refine` in turn."""
    return config.samples_drawn


def begin(
    config: PlannerConfig, model: Model, params: Params, latent: Any, plan: Plan, key: Array
) -> Refinement:
    """A search before its first iteration."""
    found = PLANNERS[config.method](config, model, params, latent, plan, key)
    return Refinement(latent, plan, key, found.prior, search.begin(config, plan))


def refine(
    config: PlannerConfig, model: Model, params: Params, found: Refinement, count: int
) -> Refinement:
    """One iteration more, of `count` sequences; none once the search has settled."""
    state = _search(config, model, params, found).step(found.state, count)
    if config.stop_spread > 0:
        state = jax.tree.map(
            lambda new, old: jnp.where(found.state.settled, old, new), state, found.state
        )
    return found._replace(state=state)


def conclude(
    config: PlannerConfig, model: Model, params: Params, found: Refinement
) -> tuple[Plan, PlanInfo]:
    """The best plan so far; at least one iteration has to be done."""
    return _search(config, model, params, found).conclude(found.state)


def _search(
    config: PlannerConfig, model: Model, params: Params, found: Refinement
) -> search.Search:
    return PLANNERS[config.method](config, model, params, *found[:4])
