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

from planning.config import PlannerConfig
from planning.methods.cem import weigh
from planning.search import Method, State, sample_candidates, sample_elite
from planning.types import Array, Plan


def sample(
    config: PlannerConfig, plan: Plan, state: State, key: Array, count: int
) -> tuple[Array, Array]:
    """Candidates [N, H, A] with known sequences in the places of the first two.

    First iteration: the two that the plan carries. Last: the mean.
    """
    actions, clipped = sample_candidates(config, plan, state, key, count, with_mean=False)
    first = state.iterations == 0
    last = state.iterations == config.num_iterations - 1
    mean = jnp.clip(state.mean, -1.0, 1.0)
    actions = actions.at[0].set(jnp.where(first | last, mean, actions[0]))
    if count > 1:
        carried = jnp.clip(plan.sample, -1.0, 1.0)
        actions = actions.at[1].set(jnp.where(first, carried, actions[1]))
    return actions, clipped


def best_plan(config: PlannerConfig, state: State, key: Array) -> Plan:
    """The best sequence is executed; exploring, an elite."""
    return Plan(state.elites.actions[0], state.std, sample_elite(state.elites, key))


METHOD = Method(
    weigh,
    sample,
    result=best_plan,
    kept=lambda config: math.ceil(config.keep_elites * config.num_elites),
)
