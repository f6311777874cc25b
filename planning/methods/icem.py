"""Sample-efficient cross-entropy method (iCEM; Pinneri et al. 2020, arXiv 2008.06389).

Differs from CEM in what is sampled and in what is executed:

- noise is coloured (`noise_beta`; theirs is 0.25 to 4 over long horizons, and strong colour cannot
  express a plan that turns at once: `PlannerConfig.customary("icem")` takes 0.5);
- the best `keep_elites` of the elites compete again in the next iteration (not scored again:
  with one value key their scores cannot change);
- from one decision to the next the plan carries two sequences: the best one and one elite drawn,
  both moved on by the caller and scored anew in the first iteration;
- later iterations draw fewer sequences (`sample_decay`);
- the mean competes in the last iteration only, where it cannot narrow the search;
- the best sequence seen is executed, and the next search is centred on it.

Their momentum of 0.1 between means is left out.

A decision costs horizon x (2 P + sum of N_i) model steps: P = num_prior_samples,
N_i = max((N - P) / sample_decay^i, 2 num_elites) in iteration i of num_iterations.
"""

import math

import jax.numpy as jnp

from planning import search
from planning.config import PlannerConfig
from planning.methods.cem import weigh
from planning.search import init as init
from planning.types import Array, Model, Params, Plan, PlanInfo


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
    num_kept = math.ceil(config.keep_elites * config.num_elites)

    def iterate(state: search.State, key: Array, count: int) -> search.State:
        actions, clipped = search.around(config, state, key, count, with_mean=False)
        actions = _with_known(config, state, plan, actions)
        new = scored(actions)
        kept = search.Scored(state.elites.actions[:num_kept], state.elites.values[:num_kept])
        elites = search.best(config, weigh, new, kept, led)
        moments = search.moments(config, elites)
        return search.advance(config, state, elites, moments, clipped, new, led)

    def conclude(state: search.State) -> tuple[Plan, PlanInfo]:
        sample = search.drawn(state.elites, key_pick)
        return search.conclude(model, params, latent, state, state.elites.actions[0], sample)

    return search.Search(led, key_noise, iterate, conclude)


def improve(
    config: PlannerConfig, model: Model, params: Params, latent, plan: Plan, key: Array
) -> tuple[Plan, PlanInfo]:
    """Refine `plan` for `latent` (one simulator). The result's first action is meant for now."""
    return search.whole(config, searching(config, model, params, latent, plan, key), plan)


def _with_known(config: PlannerConfig, state: search.State, plan: Plan, actions: Array) -> Array:
    """`actions` [N, H, A] with known sequences in the places of the first two.

    First iteration: the two that the plan carries. Last: the mean.
    """
    first = state.iterations == 0
    last = state.iterations == config.num_iterations - 1
    mean = jnp.clip(state.mean, -1.0, 1.0)
    actions = actions.at[0].set(jnp.where(first | last, mean, actions[0]))
    if actions.shape[0] == 1:
        return actions
    sample = jnp.clip(plan.sample, -1.0, 1.0)
    return actions.at[1].set(jnp.where(first, sample, actions[1]))
