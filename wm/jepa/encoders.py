"""Encoders: a history of frames in, one latent out. Written for one history; callers vmap.

Frames come as floats: normalised vectors, or pictures in [-0.5, 0.5] (`to_float`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.attention import Block, Projector
from wm.jepa.config import JepaConfig
from wm.layers import MLP, mish

Array = jax.Array
CELL = 16
"""Side in pixels of what one place of the CNN's last feature map sees."""


def to_float(pixels: Array) -> Array:
    """uint8 [...] to float32 in [-0.5, 0.5]; conversion happens on the device."""
    return pixels.astype(jnp.float32) / 255.0 - 0.5


def stack_channels(frames: Array) -> Array:
    """Frames [K, H, W, C] as one image [H, W, K C], oldest channels first."""
    frames_last = jnp.moveaxis(frames, 0, 2)
    return frames_last.reshape(*frames_last.shape[:2], -1)


def latest_and_changes(frames: Array) -> Array:
    """Frames [K, ...] as the latest, then the changes between them: what moves stands out."""
    return jnp.concatenate([frames[-1:], frames[1:] - frames[:-1]])


class StateEncoder(nn.Module):
    """MLP over a history of normalised observation vectors."""

    width: int
    layers: int
    out: int

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, O] -> [out]."""
        return MLP((self.width,) * self.layers, out=self.out)(frames.reshape(-1))


class Identity(nn.Module):
    """No encoder: latents are normalised observation vectors, so nothing can collapse."""

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, O] -> [K O]."""
        return frames.reshape(-1)


class PatchMerge(nn.Module):
    """Convolution whose stride is its kernel: one matrix product over patches.

    On CPU its gradient is several times faster than that of overlapping convolutions.
    """

    side: int
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[H, W, C] -> [H / side, W / side, features]; rows and columns left over are cut off."""
        rows, columns = x.shape[0] // self.side, x.shape[1] // self.side
        x = x[: rows * self.side, : columns * self.side]
        x = x.reshape(rows, self.side, columns, self.side, -1)
        x = jnp.moveaxis(x, 2, 1).reshape(rows, columns, -1)
        return nn.Dense(self.features)(x)


class ConvEncoder(nn.Module):
    """Small CNN over the stacked channels of a history of images.

    Patches are merged two by two until each covers `CELL` pixels a side. Positions are kept to the
    last layer, which reads the flattened feature map.
    """

    channels: int
    width: int
    out: int
    differences: bool
    patch: int

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, H, W, C] -> [out]."""
        x = stack_channels(latest_and_changes(frames) if self.differences else frames)
        x = mish(PatchMerge(self.patch, self.channels)(x))
        for _ in range((CELL // self.patch).bit_length() - 1):
            x = mish(PatchMerge(2, 2 * self.channels)(x))
        return MLP((self.width,), out=self.out)(x.reshape(-1))


class ViTEncoder(nn.Module):
    """Vision transformer over the stacked channels of a history; its class token, projected."""

    patch: int
    dim: int
    layers: int
    heads: int
    projector_width: int
    out: int

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, H, W, C] -> [out]. H and W are multiples of the patch."""
        x = stack_channels(frames)
        side = (self.patch, self.patch)
        x = nn.Conv(self.dim, side, strides=side, padding="VALID")(x).reshape(-1, self.dim)
        normal = nn.initializers.normal(0.02)
        x = jnp.concatenate([self.param("token", normal, (1, self.dim)), x])
        x = x + self.param("position", normal, x.shape)
        for _ in range(self.layers):
            x = Block(self.heads, self.dim // self.heads, 4 * self.dim)(x)
        return Projector(self.projector_width, self.out)(nn.LayerNorm()(x[0]))


def make_encoder(config: JepaConfig) -> nn.Module:
    """The trainable encoder that the settings name."""
    out, width = config.latent_dim, config.encoder_width
    if config.encoder == "mlp":
        return StateEncoder(width, config.encoder_layers, out)
    if config.encoder == "identity":
        return Identity()
    if config.encoder == "cnn":
        return ConvEncoder(
            config.cnn_channels, width, out, config.frame_differences, config.cnn_patch
        )
    return ViTEncoder(
        config.patch,
        config.embed_dim,
        config.encoder_layers,
        config.num_heads,
        config.projector_width,
        out,
    )
