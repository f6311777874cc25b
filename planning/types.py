"""Types every planner shares. A planner knows a model only through functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Params = Any


class Model(NamedTuple):
    """A model as a planner sees it; each function is for ONE latent.

    step(params, latent, action [A]) -> (latent, reward [], discount [])
    value(params, latent, key) -> [] terminal value
    prior(params, latent, key or None) -> action [A]; None gives the mode
    values(params, latent, key) -> [heads], if there is an ensemble: needed by `risk` alone
    """

    step: Callable[[Params, Any, Array], tuple[Any, Array, Array]]
    value: Callable[[Params, Any, Array], Array]
    prior: Callable[[Params, Any, Array | None], Array]
    values: Callable[[Params, Any, Array], Array] | None = None


class Plan(NamedTuple):
    """The planner's carry, one simulator."""

    mean: Array
    """[H, A] best estimate of the action sequence; what a deterministic agent executes."""
    std: Array
    """[H, A] spread of the search around it."""
    sample: Array
    """[H, A] one elite drawn by weight; what an exploring agent executes."""


class PlanInfo(NamedTuple):
    """Report of the last improvement; scalars."""

    best_value: Array
    mean_value: Array
    """Weighted mean value of the elites: the predicted return of the plan."""
    effective_samples: Array
    """1 / sum(w^2) of the elite weights, between 1 and num_elites."""
    elite_spread: Array
    """Mean standard deviation of the plan."""
    clip_fraction: Array
    """Share of sampled action entries that were clamped to the bounds."""
    invalid: Array
    """Share of scored sequences whose value was not finite."""
    fallback: Array
    """1 when no sequence was valid and the prior or the previous plan was used."""
    iterations: Array
    """Refinements done: fewer than asked where the search stopped early."""


def shift(plan: Plan, steps: int | Array, init_std: float) -> Plan:
    """Move the plan `steps` decisions on, repeating its last action; the spread restarts."""

    def moved(x: Array) -> Array:
        index = jnp.minimum(jnp.arange(x.shape[0]) + steps, x.shape[0] - 1)
        return x[index]

    return Plan(moved(plan.mean), jnp.full_like(plan.std, init_std), moved(plan.sample))
