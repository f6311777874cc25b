"""Predictive sampling (Howell et al. 2022, arXiv 2212.00541): the best sample is the plan.

No refitting and no weights: sequences are drawn around the plan with a fixed spread (the plan's,
which restarts at `init_std`), and the best one, the plan itself among them, is the next plan.
Noise is drawn at `num_knots` points of the horizon, a spline between them (0: at every step).
The method runs one iteration a decision; more of them recentre the search on the best so far.
The elites and their spread are only reported; the spread is what an exploring agent adds.

A decision costs horizon x (2 P + I (N - P)) model steps: P = num_prior_samples, N = num_samples,
I = num_iterations; fewer with `sample_decay` or `stop_spread` (here: the best sample stays).
"""

import jax.numpy as jnp

from planning import search
from planning.config import PlannerConfig
from planning.search import init as init
from planning.types import Array, Model, Params, Plan, PlanInfo


def weigh(values: Array) -> tuple[Array, Array]:
    """Weight 1 for the first of values [K] sorted downwards, if it is finite; and whether it is."""
    valid = jnp.isfinite(values[0])
    return jnp.zeros_like(values).at[0].set(valid.astype(values.dtype)), valid


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
    scored, led, key_noise, _ = search.opening(config, model, params, latent, key, led)

    def iterate(state: search.State, key: Array, count: int) -> search.State:
        actions, clipped = search.around(config, state, key, count)
        new = scored(actions)
        elites = search.best(config, weigh, new, led)
        return search.advance(
            config, state, elites, (elites.actions[0], state.std), clipped, new, led
        )

    def conclude(state: search.State) -> tuple[Plan, PlanInfo]:
        spread = search.spread(config, state.elites)
        state = state._replace(std=jnp.where(state.elites.any_valid, spread, state.std))
        return search.conclude(model, params, latent, state, state.mean, state.mean)

    return search.Search(led, key_noise, iterate, conclude)


def improve(
    config: PlannerConfig, model: Model, params: Params, latent, plan: Plan, key: Array
) -> tuple[Plan, PlanInfo]:
    """Refine `plan` for `latent` (one simulator). The result's first action is meant for now."""
    return search.whole(config, searching(config, model, params, latent, plan, key), plan)
