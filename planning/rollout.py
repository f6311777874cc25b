"""Score action sequences under a model. A sequence that is not finite is never chosen."""

import math

import jax
import jax.numpy as jnp

from planning.config import PlannerConfig
from planning.types import Array, Model, Params


def score(model: Model, params: Params, latent, actions: Array, key: Array) -> Array:
    """Predicted discounted return [N] of action sequences [N, H, A] from one latent.

    All sequences share `key`, so that the terminal value compares them on common random
    numbers. Non-finite scores come back as -inf.
    """

    def step(carry, action: Array):
        z, weight, total = carry
        z, reward, discount = jax.vmap(model.step, (None, 0, 0))(params, z, action)
        return (z, weight * discount, total + weight * reward), None

    count = actions.shape[0]
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), latent)
    ones = jnp.ones(count, actions.dtype)
    carry = (start, ones, jnp.zeros_like(ones))
    (z, weight, total), _ = jax.lax.scan(step, carry, jnp.swapaxes(actions, 0, 1))
    total += weight * jax.vmap(model.value, (None, 0, None))(params, z, key)
    return jnp.where(jnp.isfinite(total), total, -jnp.inf)


def prior_sequences(model: Model, params: Params, latent, keys: Array, horizon: int) -> Array:
    """Action sequences [N, H, A] that the prior rolls out from one latent, one key each [N]."""

    def one(key: Array) -> Array:
        def step(z, k: Array):
            action = jnp.clip(model.prior(params, z, k), -1.0, 1.0)
            z, _, _ = model.step(params, z, action)
            return z, action

        return jax.lax.scan(step, latent, jax.random.split(key, horizon))[1]

    return jax.vmap(one)(keys)


def risk_averse(config: PlannerConfig, model: Model) -> Model:
    """`model` with a terminal value that distrusts an ensemble where its heads disagree.

    std: mean of the heads - risk_coef x their standard deviation. cvar: mean of the worst
    share risk_coef of the heads, at least one. All heads are evaluated, where a plain value
    may look at a few. Raises ValueError if the model has no value per head.
    """
    if config.risk == "none":
        return model
    heads_of = model.values
    if heads_of is None:
        raise ValueError(f"planner.risk={config.risk} needs a model with a value ensemble (values)")

    def value(params: Params, latent, key: Array) -> Array:
        heads = heads_of(params, latent, key)
        if config.risk == "std":
            return heads.mean() - config.risk_coef * heads.std()
        worst = math.ceil(config.risk_coef * heads.shape[0] - 1e-9)
        return jnp.sort(heads)[: max(worst, 1)].mean()

    return model._replace(value=value)
