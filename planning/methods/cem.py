"""The cross-entropy method (Rubinstein 1999; de Boer et al. 2005).

The plan is refitted to the mean and standard deviation of the elites, all alike: how good each
is does not matter, so there is no temperature. As in MPPI the plan itself competes as sequence 0
of every iteration, beside sequences of the prior; `num_prior_samples=0` is the textbook.
A decision costs as many model steps as one of MPPI.
"""

import jax.numpy as jnp

from planning.config import PlannerConfig
from planning.search import Method
from planning.types import Array


def weigh(config: PlannerConfig, values: Array) -> tuple[Array, Array]:
    """Equal weights [K] of the finite values, exactly 0 elsewhere; and whether any is finite."""
    valid = jnp.isfinite(values)
    return valid.astype(values.dtype) / jnp.maximum(valid.sum(), 1), valid.any()


METHOD = Method(weigh)
