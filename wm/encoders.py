"""Encoders: a history of frames in, one latent out. Written for one history; callers vmap."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.layers import MLP, mish

Array = jax.Array


def to_float(pixels: Array) -> Array:
    """uint8 [...] to float32 in [-0.5, 0.5]; conversion happens on the device."""
    return pixels.astype(jnp.float32) / 255.0 - 0.5


def stack_channels(frames: Array) -> Array:
    """Frames [K, H, W, C] as one image [H, W, K C], oldest channels first."""
    frames_last = jnp.moveaxis(frames, 0, 2)
    return frames_last.reshape(*frames_last.shape[:2], -1)


class StateEncoder(nn.Module):
    """MLP over a history of normalised observation vectors."""

    width: int
    layers: int
    out: int

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, O] -> [out]."""
        return MLP((self.width,) * self.layers, out=self.out)(frames.reshape(-1))


class ConvEncoder(nn.Module):
    """Small CNN over the stacked channels of a history of images.

    The first layer cuts the picture in 4 x 4 patches, which on CPU is one matrix product.
    Positions are kept to the last layer, which reads the flattened feature map.
    """

    channels: int
    width: int
    out: int

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """uint8 [K, H, W, C] -> [out]."""
        x = stack_channels(to_float(frames))
        x = mish(nn.Conv(self.channels, (4, 4), strides=4, padding="VALID")(x))
        x = mish(nn.Conv(2 * self.channels, (3, 3), strides=2)(x))
        x = mish(nn.Conv(2 * self.channels, (3, 3), strides=2)(x))
        return MLP((self.width,), out=self.out)(x.reshape(-1))
