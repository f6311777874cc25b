"""Predictive sampling (Howell et al. 2022, arXiv 2212.00541): the best sample is the plan.

No refitting and no weights: sequences are drawn around the plan with a fixed spread (the plan's,
which restarts at `init_std`), and the best one, the plan itself among them, is the next plan.
Noise is drawn at `num_knots` points of the horizon, a spline between them (0: at every step).
The method runs one iteration a decision; more of them recentre the search on the best so far.
The elites and their spread are only reported; the spread is what an exploring agent adds.
A decision costs as many model steps as one of MPPI.
"""

import jax.numpy as jnp

from planning.config import PlannerConfig
from planning.search import Elites, Method, State, elite_spread
from planning.types import Array, Plan


def weigh(config: PlannerConfig, values: Array) -> tuple[Array, Array]:
    """Weight 1 for the first of values [K] sorted downwards, if it is finite; and whether it is."""
    valid = jnp.isfinite(values[0])
    return jnp.zeros_like(values).at[0].set(valid.astype(values.dtype)), valid


def update(config: PlannerConfig, state: State, elites: Elites) -> tuple[Array, Array]:
    """The best sequence is the next mean; the spread stays."""
    return elites.actions[0], state.std


def best_plan(config: PlannerConfig, state: State, key: Array) -> Plan:
    """The best sequence is executed; exploring adds the spread of the elites."""
    return Plan(state.mean, elite_spread(config, state, state.elites), state.mean)


METHOD = Method(weigh, update=update, result=best_plan)
