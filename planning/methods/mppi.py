"""Model predictive path integral control with elites (arXiv 1509.01149; arXiv 2310.16828).

Written for one simulator; callers vmap. Sequence 0 of every iteration is the plan itself and
the prior's sequences are scored once: with a fixed terminal-value key their scores cannot
change between iterations.

A decision costs horizon x (2 P + I (N - P)) model steps: P = num_prior_samples, rolled out and
scored; N = num_samples; I = num_iterations. `sample_decay` makes later iterations smaller and
`stop_spread` leaves them out; the colour and the knots of the noise, the temperature and the
risk cost no step.
"""

import jax
import jax.numpy as jnp

from planning.config import PlannerConfig
from planning.search import Method
from planning.types import Array


def weigh(values: Array, temperature: float | Array) -> tuple[Array, Array]:
    """Weights [K] = softmax(values / temperature), exactly 0 where values are not finite.

    Returns also whether any value was finite; when none was, every weight is 0.
    """
    valid = jnp.isfinite(values)
    best = jnp.max(jnp.where(valid, values, -jnp.inf))
    best = jnp.where(valid.any(), best, 0.0)
    weights = jnp.where(valid, jnp.exp((values - best) / temperature), 0.0)
    return weights / jnp.maximum(weights.sum(), 1e-9), valid.any()


def temperature_for(values: Array, target: float) -> Array:
    """The temperature at which the weights of `values` [K] are worth `target` samples.

    Bisects its logarithm around the spread of the finite values. Where fewer are finite (or
    more are tied) than asked for, the temperature ends at its limit.
    """
    valid = jnp.isfinite(values)
    high, low = (jnp.max(jnp.where(valid, s * values, -jnp.inf)) for s in (1.0, -1.0))
    scale = jnp.maximum(jnp.where(valid.any(), high + low, 0.0), 1e-6)

    def halve(_, limits: tuple[Array, Array]) -> tuple[Array, Array]:
        cold, hot = limits
        middle = (cold + hot) / 2
        weights, _ = weigh(values, scale * jnp.exp(middle))
        enough = 1.0 / jnp.maximum(jnp.sum(weights**2), 1e-9) >= target
        return jnp.where(enough, cold, middle), jnp.where(enough, middle, hot)

    limits = (jnp.full_like(scale, -10.0), jnp.full_like(scale, 7.0))
    cold, hot = jax.lax.fori_loop(0, 20, halve, limits)
    return scale * jnp.exp((cold + hot) / 2)


def weights_of(config: PlannerConfig, values: Array) -> tuple[Array, Array]:
    """`weigh` at the configured temperature, or at that for the configured effective samples."""
    if config.target_ess > 0:
        return weigh(values, temperature_for(values, config.target_ess))
    return weigh(values, config.temperature)


METHOD = Method(weights_of)
