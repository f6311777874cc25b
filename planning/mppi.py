"""Model predictive path integral control with elites (arXiv 1509.01149; arXiv 2310.16828).

Written for one simulator; callers vmap. Sequence 0 of every iteration is the plan itself and
the prior's sequences are scored once: with a fixed terminal-value key their scores cannot
change between iterations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from planning.config import PlannerConfig
from planning.rollout import prior_sequences, score
from planning.types import Array, Model, Params, Plan, PlanInfo


class _Elites(NamedTuple):
    actions: Array
    values: Array
    weights: Array
    any_valid: Array


def init(config: PlannerConfig, action_dim: int) -> Plan:
    """A plan of zero actions and the widest spread."""
    shape = (config.horizon, action_dim)
    zeros = jnp.zeros(shape, jnp.float32)
    return Plan(zeros, jnp.full(shape, config.init_std, jnp.float32), zeros)


def weigh(values: Array, temperature: float) -> tuple[Array, Array]:
    """Weights [K] = softmax(values / temperature), exactly 0 where values are not finite.

    Returns also whether any value was finite; when none was, every weight is 0.
    """
    valid = jnp.isfinite(values)
    best = jnp.max(jnp.where(valid, values, -jnp.inf))
    best = jnp.where(valid.any(), best, 0.0)
    weights = jnp.where(valid, jnp.exp((values - best) / temperature), 0.0)
    return weights / jnp.maximum(weights.sum(), 1e-9), valid.any()


def _select(config: PlannerConfig, actions: Array, values: Array) -> _Elites:
    top_values, top = jax.lax.top_k(values, config.num_elites)
    weights, any_valid = weigh(top_values, config.temperature)
    return _Elites(actions[top], top_values, weights, any_valid)


def improve(
    config: PlannerConfig, model: Model, params: Params, latent, plan: Plan, key: Array
) -> tuple[Plan, PlanInfo]:
    """Refine `plan` for `latent` (one simulator). The result's first action is meant for now."""
    key_prior, key_noise, key_value, key_pick = jax.random.split(key, 4)
    horizon, action_dim = plan.mean.shape
    num_new = config.num_samples - config.num_prior_samples
    prior_keys = jax.random.split(key_prior, max(config.num_prior_samples, 1))
    led = prior_sequences(model, params, latent, prior_keys, horizon)[: config.num_prior_samples]
    led_values = score(model, params, latent, led, key_value)

    def iterate(carry, key_iteration: Array):
        mean, std, _ = carry
        noise = jax.random.normal(key_iteration, (num_new, horizon, action_dim), mean.dtype)
        raw = mean[None] + std[None] * noise.at[0].set(0.0)
        actions = jnp.clip(raw, -1.0, 1.0)
        values = score(model, params, latent, actions, key_value)
        # Ties go to what comes first: with nothing to tell apart, search and not the prior.
        elites = _select(
            config, jnp.concatenate([actions, led]), jnp.concatenate([values, led_values])
        )
        new_mean, new_std = _moments(config, elites)
        mean = jnp.where(elites.any_valid, new_mean, mean)
        std = jnp.where(elites.any_valid, new_std, std)
        clipped = jnp.mean(raw != actions)
        bad = (jnp.isinf(values).sum() + jnp.isinf(led_values).sum()) / config.num_samples
        return (mean, std, elites), (clipped, bad)

    start = _select(
        config,
        jnp.zeros((config.num_samples, horizon, action_dim), plan.mean.dtype),
        jnp.full(config.num_samples, -jnp.inf, plan.mean.dtype),
    )
    keys = jax.random.split(key_noise, config.num_iterations)
    (mean, std, elites), (clipped, bad) = jax.lax.scan(iterate, (plan.mean, plan.std, start), keys)
    mean = jnp.where(elites.any_valid, mean, _fallback(model, params, latent, mean))
    pick = jax.random.categorical(key_pick, jnp.log(elites.weights))
    sample = jnp.where(elites.any_valid, elites.actions[pick], mean)
    return Plan(mean, std, sample), _report(elites, std, clipped, bad)


def _moments(config: PlannerConfig, elites: _Elites) -> tuple[Array, Array]:
    weights = elites.weights[:, None, None]
    mean = jnp.sum(weights * elites.actions, axis=0)
    variance = jnp.sum(weights * (elites.actions - mean[None]) ** 2, axis=0)
    return mean, jnp.clip(jnp.sqrt(variance), config.min_std, config.init_std)


def _fallback(model: Model, params: Params, latent, mean: Array) -> Array:
    """The prior's mode held over the horizon when it is finite, else the previous plan."""
    action = model.prior(params, latent, None)
    held = jnp.broadcast_to(jnp.clip(action, -1.0, 1.0), mean.shape)
    return jnp.where(jnp.isfinite(action).all(), held, mean)


def _report(elites: _Elites, std: Array, clipped: Array, bad: Array) -> PlanInfo:
    valued = jnp.where(elites.weights > 0, elites.values, 0.0)
    return PlanInfo(
        best_value=elites.values[0],
        mean_value=jnp.sum(elites.weights * valued),
        effective_samples=1.0 / jnp.maximum(jnp.sum(elites.weights**2), 1e-9),
        elite_spread=std.mean(),
        clip_fraction=clipped.mean(),
        invalid=bad.mean(),
        fallback=1.0 - elites.any_valid.astype(std.dtype),
    )
