"""The cross-entropy method (Rubinstein 1999; de Boer et al. 2005).

The plan is refitted to the mean and standard deviation of the elites, all alike: how good each
is does not matter, so there is no temperature. As in MPPI the plan itself competes as sequence 0
of every iteration, beside sequences of the prior; `num_prior_samples=0` is the textbook.

A decision costs horizon x (2 P + I (N - P)) model steps: P = num_prior_samples, N = num_samples,
I = num_iterations; fewer with `sample_decay` or `stop_spread`.
"""

import jax.numpy as jnp

from planning import search
from planning.config import PlannerConfig
from planning.search import init as init
from planning.types import Array, Model, Params, Plan, PlanInfo


def weigh(values: Array) -> tuple[Array, Array]:
    """Equal weights [K] of the finite values, exactly 0 elsewhere; and whether any is finite."""
    valid = jnp.isfinite(values)
    return valid.astype(values.dtype) / jnp.maximum(valid.sum(), 1), valid.any()


def searching(
    config: PlannerConfig,
    model: Model,
    params: Params,
    latent,
    plan: Plan,
    key: Array,
    led: search.Scored | None = None,
) -> search.Search:
    """The search that refines `plan` for `latent`; `led` where that is known already."""
    scored, led, key_noise, key_pick = search.opening(config, model, params, latent, key, led)

    def iterate(state: search.State, key: Array, count: int) -> search.State:
        actions, clipped = search.around(config, state, key, count)
        new = scored(actions)
        elites = search.best(config, weigh, new, led)
        moments = search.moments(config, elites)
        return search.advance(config, state, elites, moments, clipped, new, led)

    def conclude(state: search.State) -> tuple[Plan, PlanInfo]:
        sample = search.drawn(state.elites, key_pick)
        return search.conclude(model, params, latent, state, state.mean, sample)

    return search.Search(led, key_noise, iterate, conclude)


def improve(
    config: PlannerConfig, model: Model, params: Params, latent, plan: Plan, key: Array
) -> tuple[Plan, PlanInfo]:
    """Refine `plan` for `latent` (one simulator). The result's first action is meant for now."""
    return search.whole(config, searching(config, model, params, latent, plan, key), plan)
