"""Predictors: the next latent from a latent and an action block. For one latent; callers vmap."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.layers import MLP

Array = jax.Array


class MLPPredictor(nn.Module):
    """Latent plus a learned change."""

    width: int
    layers: int
    out: int

    @nn.compact
    def __call__(self, latent: Array, action: Array) -> Array:
        """Latent [D], action block [A] -> [D]."""
        joint = jnp.concatenate([latent, action])
        return latent + MLP((self.width,) * self.layers, out=self.out)(joint)
