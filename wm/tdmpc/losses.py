"""The two losses of TD-MPC2 (arXiv 2310.16828, equations 3 and 4) on a batch of slices.

Slices end early where the episode does: `mask` [B, T] is 1 for real transitions, and every
mean runs over those alone.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.regularizers.sigreg import REFERENCE_BATCH, sigreg
from wm.tdmpc import two_hot
from wm.tdmpc.model import Networks, choose_heads
from wm.types import Params

Array = jax.Array


class Batch(NamedTuple):
    """B slices of T transitions."""

    obs: Array
    """[B, T + 1, O]"""
    action: Array
    """[B, T, A]"""
    reward: Array
    """[B, T]"""
    terminated: Array
    """[B, T] 1 where the transition ended the episode for good (a time limit does not)."""
    mask: Array
    """[B, T] 1 for real transitions; 0 from the end of the episode on."""


def time_weights(steps: int, decay: float, dtype=jnp.float32) -> Array:
    """[steps] decay**t."""
    return decay ** jnp.arange(steps, dtype=dtype)


def masked_mean(x: Array, mask: Array, weights: Array) -> Array:
    """Weighted sum over time of the mean of x [T, B] over the unmasked entries, divided by T.

    The count of a full batch divides every step, so that a step seen by few slices counts less.
    """
    return jnp.sum(jnp.mean(x * mask, axis=1) * weights) / x.shape[0]


def td_targets(
    net: Networks, params: Params, target_value: Params, latent: Array, batch: Batch, key: Array
) -> Array:
    """Targets [T, B] = r + gamma (1 - terminated) U, U from the min over two random target heads.

    latent [T, B, D] encodes the observations after each transition. With td_lambda = 0 (TD-MPC2)
    U is that value V alone; otherwise (1 - lambda) V + lambda times the target one step later,
    as far as the slice goes (lambda-return; Sutton and Barto 2018, section 12.1).
    """
    key_prior, key_heads = jax.random.split(key)
    mask = batch.mask.T
    mean, log_std = net.prior_distribution(params, latent)
    noise = jax.random.normal(key_prior, mean.shape, mean.dtype)
    action = jnp.tanh(mean + jnp.exp(log_std) * noise)
    heads = choose_heads(target_value, net.config.num_heads, key_heads)
    value = two_hot.decode(net.value_logits(heads, latent, action), net.bins).min(0)
    discount = net.discount(latent) * (1 - batch.terminated.T)
    weight = net.learner.td_lambda * jnp.concatenate([mask[1:], jnp.zeros_like(mask[:1])])

    def back(next_target: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, discount, value, weight = step
        target = reward + discount * ((1 - weight) * value + weight * next_target)
        return target, target

    steps = (batch.reward.T, discount, value, weight)
    return jax.lax.scan(back, jnp.zeros_like(value[0]), steps, reverse=True)[1]


def rollout(net: Networks, params: Params, latent: Array, actions: Array) -> Array:
    """Open-loop latents [T + 1, B, D] from latent [B, D] under actions [T, B, A]."""

    def step(z: Array, action: Array) -> tuple[Array, Array]:
        z = net.predict(params, z, action)
        return z, z

    _, following = jax.lax.scan(step, latent, actions, unroll=True)
    return jnp.concatenate([latent[None], following])


def collapse_penalty(net: Networks, latents: Array, key: Array) -> Array:
    """SIGReg's penalty [] of latents [T, B, D]; none under SimNorm.

    Consistency alone is solved by a constant latent. SimNorm with stopped targets (TD-MPC2) is one
    cure, SIGReg with gradients through both sides (LeJEPA) the other.
    """
    if net.simnormed:
        return jnp.zeros(())
    steps, batch, _ = latents.shape
    statistic = jax.vmap(partial(sigreg, num_directions=net.learner.sigreg_directions))
    scale = net.learner.sigreg_coef * REFERENCE_BATCH / batch
    return scale * jnp.mean(statistic(latents, jax.random.split(key, steps)))


def model_loss(
    params: Params, net: Networks, target_value: Params, batch: Batch, key: Array
) -> tuple[Array, tuple[Array, dict[str, Array]]]:
    """Loss of everything but the prior. Auxiliary: rolled-out latents [T + 1, B, D], metrics."""
    cfg = net.learner
    key_td, key_reg, key_drop = jax.random.split(key, 3)
    actions, mask = jnp.swapaxes(batch.action, 0, 1), batch.mask.T
    obs = jnp.swapaxes(batch.obs, 0, 1)
    first, after = net.encode(params, obs[0]), net.encode(params, obs[1:])
    goal = jax.lax.stop_gradient(after)
    targets = jax.lax.stop_gradient(td_targets(net, params, target_value, goal, batch, key_td))
    latents = rollout(net, params, first, actions)
    before, predicted = latents[:-1], latents[1:]

    weights = time_weights(mask.shape[0], cfg.time_decay, mask.dtype)
    mean = partial(masked_mean, mask=mask, weights=weights)
    aim = net.learned(goal if net.simnormed else after)
    reward_logits = net.reward_logits(params, before, actions)
    drop = key_drop if net.config.dropout else None
    value_logits = net.value_logits(params["value"], before, actions, drop)
    encoded = net.learned(jnp.concatenate([first[None], after]))
    terms = {
        "consistency": mean(jnp.mean((net.learned(predicted) - aim) ** 2, axis=-1)),
        "reward": mean(two_hot.cross_entropy(reward_logits, batch.reward.T, net.bins)),
        "value": mean(two_hot.cross_entropy(value_logits, targets[None], net.bins).mean(0)),
        "penalty": collapse_penalty(net, encoded, key_reg),
    }
    if net.termination is not None:
        logit = net.termination_logit(params, predicted)
        terms["termination"] = mean(optax.sigmoid_binary_cross_entropy(logit, batch.terminated.T))
    coefficients = {
        "consistency": cfg.consistency_coef if net.simnormed else cfg.sigreg_consistency_coef,
        "reward": cfg.reward_coef,
        "value": cfg.value_coef,
        "penalty": 1.0,
        "termination": cfg.termination_coef,
    }
    total = sum((coefficients[name] * term for name, term in terms.items()), jnp.zeros(()))
    metrics = {f"loss/{name}": term for name, term in terms.items()}
    metrics["target_mean"] = jnp.sum(targets * mask) / jnp.maximum(mask.sum(), 1)
    metrics["latent_std"] = net.learned(first).std(0).mean()
    return total, (latents, metrics)


def squash_log_prob(
    noise: Array, log_std: Array, pre_tanh: Array, mask: Array | None = None
) -> Array:
    """Log density [...] of tanh(pre_tanh), pre_tanh = mean + exp(log_std) noise [..., A].

    Of the actions in `mask` [..., A] alone, where there is one.
    """
    gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    correction = 2 * (jnp.log(2.0) - pre_tanh - jax.nn.softplus(-2 * pre_tanh))
    density = gaussian - correction
    return jnp.sum(density if mask is None else density * mask, axis=-1)


def prior_loss(
    prior_params: Params,
    net: Networks,
    params: Params,
    latents: Array,
    mask: Array,
    scale: Array,
    key: Array,
) -> tuple[Array, tuple[Array, dict[str, Array]]]:
    """Loss of the prior on detached latents [T + 1, B, D]; mask [B, T] as in Batch.

    Maximises the mean of two random heads over `scale`, plus entropy. Auxiliary: the values at
    the first latents [B] (for the running scale) and metrics.
    """
    key_noise, key_heads = jax.random.split(key)
    mean, log_std = net.prior_distribution({"prior": prior_params}, latents)
    noise = jax.random.normal(key_noise, mean.shape, mean.dtype)
    pre_tanh = mean + jnp.exp(log_std) * noise
    entropy = -squash_log_prob(noise, log_std, pre_tanh, net.action_mask(latents))
    heads = choose_heads(params["value"], net.config.num_heads, key_heads)
    logits = net.value_logits(heads, latents, jnp.tanh(pre_tanh))
    value = two_hot.decode(logits, net.bins).mean(0)
    reached = jnp.concatenate([jnp.ones_like(mask[:, :1]), mask], axis=1).T
    weights = time_weights(reached.shape[0], net.learner.time_decay, mask.dtype)
    objective = value / scale + net.learner.entropy_coef * entropy
    loss = -masked_mean(objective, reached, weights)
    metrics = {
        "loss/prior": loss,
        "value_mean": value[0].mean(),
        "prior_entropy": entropy[0].mean(),
        "prior_std": jnp.exp(log_std).mean(),
    }
    return loss, (value[0], metrics)
