"""SIGReg: latents kept from collapse by an Epps-Pulley test of Gaussianity.

The [B, D] batch is projected on random unit directions; along each, the empirical
characteristic function is compared with that of N(0, 1) (LeJEPA, arXiv 2511.08544). The
statistic of a sample from N(0, I) is about 1.05 at any batch size; that of a batch collapsed
to one point grows with B, so the weight of the loss is quoted at a batch size (128).
"""

import jax
import jax.numpy as jnp

Array = jax.Array

NUM_KNOTS = 17
LAST_KNOT = 3.0


def epps_pulley(x: Array) -> Array:
    """Statistic [M] of the samples x [B, M] against N(0, 1), one column a test. Float32."""
    x = x.astype(jnp.float32) if x.dtype != jnp.float64 else x
    knots = jnp.linspace(0.0, LAST_KNOT, NUM_KNOTS, dtype=x.dtype)
    spacing = LAST_KNOT / (NUM_KNOTS - 1)
    trapezoid = jnp.full(NUM_KNOTS, 2 * spacing, x.dtype).at[jnp.array([0, -1])].set(spacing)
    window = jnp.exp(-0.5 * knots**2)
    angles = x[..., None] * knots[None, None]
    error = (jnp.cos(angles).mean(0) - window[None]) ** 2 + jnp.sin(angles).mean(0) ** 2
    return x.shape[0] * (error @ (trapezoid * window))


def sigreg(latents: Array, key: Array, num_directions: int) -> Array:
    """Mean statistic [] of latents [B, D] over `num_directions` random unit directions."""
    directions = jax.random.normal(key, (latents.shape[-1], num_directions), latents.dtype)
    directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)
    return jnp.mean(epps_pulley(latents @ directions))
