"""Variance and covariance terms of VICReg (arXiv 2105.04906), scaled as in PLDM's successors.

Both are means (over dimensions, over pairs of dimensions), so that weights do not depend on the
size of the latent; both are estimated within a batch and do not grow with it.
"""

import jax
import jax.numpy as jnp

Array = jax.Array
EPSILON = 1e-4
"""Added to variances, so that the gradient of their root stays finite."""


def variance_hinge(latents: Array, margin: float = 1.0) -> Array:
    """Mean over dimensions [] of how far the standard deviation of latents [B, D] is below."""
    std = jnp.sqrt(jnp.var(latents, axis=0, ddof=1) + EPSILON)
    return jnp.mean(jax.nn.relu(margin - std))


def covariance(latents: Array) -> Array:
    """Mean square [] of the off-diagonal entries of the covariance of latents [B, D]."""
    batch, size = latents.shape
    centred = latents - latents.mean(0, keepdims=True)
    cov = centred.T @ centred / (batch - 1)
    off = cov * (1 - jnp.eye(size, dtype=cov.dtype))
    return jnp.sum(off**2) / (size * (size - 1))
