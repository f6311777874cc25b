"""Is the latent space alive? Statistics of a batch of latents, and when to raise the alarm."""

import jax
import jax.numpy as jnp

from wm.regularizers.sigreg import sigreg

Array = jax.Array

DIRECTIONS = 256
ALARM_RANK = 0.05
"""Share of the dimensions below which the effective rank means collapse."""
DEAD_SHARE, DEAD_STD = 0.01, 1e-3
"""Directions whose standard deviation is below this share of the latents' own size (their root
mean square), or below this at all, count for nothing: what is left there after a collapse is
noise of no meaning, spread over all dimensions."""


def effective_rank(latents: Array) -> Array:
    """exp(entropy) [] of the shares of the singular values of centred latents [B, D].

    1 when latents lie on a line, D when they spread evenly, 0 when all are one point
    (Roy and Vetterli 2007, without dead directions).
    """
    centred = latents - latents.mean(0, keepdims=True)
    std = jnp.linalg.svd(centred, compute_uv=False) / latents.shape[0] ** 0.5
    size = jnp.sqrt(jnp.mean(latents**2))
    alive = jnp.where(std > jnp.maximum(DEAD_SHARE * size, DEAD_STD), std, 0.0)
    total = alive.sum()
    share = alive / jnp.where(total > 0, total, 1.0)
    entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1.0)))
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)


def monitor(latents: Array, key: Array) -> dict[str, Array]:
    """Scalars of a batch of latents [B, D].

    sigreg (1.05 for a Gaussian of unit variance), effective_rank and the same as a share of D,
    standard deviations of the dimensions (mean, least), and alarm (1 when collapsed).
    """
    std = latents.std(0)
    rank = effective_rank(latents)
    share = rank / latents.shape[-1]
    return {
        "sigreg": sigreg(latents, key, DIRECTIONS),
        "effective_rank": rank,
        "effective_rank_share": share,
        "std_mean": std.mean(),
        "std_min": std.min(),
        "alarm": (share < ALARM_RANK).astype(jnp.float32),
    }
