"""Is the latent space alive? Statistics of a batch of latents, and when to raise the alarm."""

import jax
import jax.numpy as jnp

from wm.losses.sigreg import sigreg

Array = jax.Array

DIRECTIONS = 256
ALARM_RANK = 0.05
"""Share of the dimensions below which the effective rank means collapse."""
ALARM_STD = 1e-2
"""Mean standard deviation below which latents count as one point."""


def effective_rank(latents: Array) -> Array:
    """exp(entropy) [] of the normalised singular values of centred latents [B, D].

    1 when they lie on a line, D when they spread evenly (Roy and Vetterli 2007).
    """
    centred = latents - latents.mean(0, keepdims=True)
    values = jnp.linalg.svd(centred, compute_uv=False)
    share = values / jnp.maximum(values.sum(), 1e-12)
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-30)), 0.0))
    return jnp.where(values.sum() > 1e-12, jnp.exp(entropy), 0.0)


def monitor(latents: Array, key: Array) -> dict[str, Array]:
    """Scalars of a batch of latents [B, D].

    sigreg (1.05 for a Gaussian of unit variance), effective_rank and the same as a share of D,
    standard deviations of the dimensions (mean, least), and alarm (1 when collapsed).
    """
    std = latents.std(0)
    rank = effective_rank(latents)
    share = rank / latents.shape[-1]
    collapsed = (share < ALARM_RANK) | (std.mean() < ALARM_STD)
    return {
        "sigreg": sigreg(latents, key, DIRECTIONS),
        "effective_rank": rank,
        "effective_rank_share": share,
        "std_mean": std.mean(),
        "std_min": std.min(),
        "alarm": collapsed.astype(jnp.float32),
    }
