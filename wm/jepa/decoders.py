"""Decoders: from a latent to what it was made of. Written for one latent; callers vmap."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.jepa.config import JepaConfig
from wm.layers import MLP, mish

Array = jax.Array


class VectorDecoder(nn.Module):
    """MLP to observation vectors."""

    width: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, latent: Array) -> Array:
        """[D] -> shape."""
        out = MLP((self.width, self.width), out=math.prod(self.shape))(latent)
        return out.reshape(self.shape)


class PixelDecoder(nn.Module):
    """To pictures whose sides are multiples of 8: the mirror of the small CNN.

    Works on patches of 8 x 8 pixels, each from a few features of its own.
    """

    channels: int
    width: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, latent: Array) -> Array:
        """[D] -> [K, H, W, C] of shape."""
        history, height, width, colours = self.shape
        rows, columns = height // 8, width // 8
        x = MLP((self.width, self.width))(latent)
        x = mish(nn.Dense(rows * columns * self.channels)(x)).reshape(rows, columns, -1)
        x = nn.Dense(64 * history * colours)(x)
        x = x.reshape(rows, columns, 8, 8, history, colours)
        return jnp.moveaxis(x, (4, 0, 2, 1, 3, 5), range(6)).reshape(self.shape)


def make_decoder(config: JepaConfig, frames: tuple[int, ...]) -> nn.Module:
    """The decoder to a history of the shape `frames`. Raises ValueError for odd pictures."""
    if not config.pixels:
        return VectorDecoder(config.predictor_width, frames)
    if frames[1] % 8 or frames[2] % 8:
        raise ValueError(f"reconstruction needs pictures of multiples of 8 pixels, got {frames}")
    return PixelDecoder(2 * config.cnn_channels, config.predictor_width, frames)
