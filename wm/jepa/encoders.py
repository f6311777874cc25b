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

    config: JepaConfig

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, O] -> [D]."""
        widths = (self.config.encoder_width,) * self.config.encoder_layers
        return MLP(widths, out=self.config.latent_dim)(frames.reshape(-1))


class Identity(nn.Module):
    """No encoder: latents are normalised observation vectors, so nothing can collapse."""

    config: JepaConfig

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

    config: JepaConfig

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, H, W, C] -> [D]."""
        cfg = self.config
        x = stack_channels(latest_and_changes(frames) if cfg.frame_differences else frames)
        x = mish(PatchMerge(cfg.cnn_patch, cfg.cnn_channels)(x))
        for _ in range((CELL // cfg.cnn_patch).bit_length() - 1):
            x = mish(PatchMerge(2, 2 * cfg.cnn_channels)(x))
        return MLP((cfg.encoder_width,), out=cfg.latent_dim)(x.reshape(-1))


class ViTEncoder(nn.Module):
    """Vision transformer over the stacked channels of a history; its class token, projected."""

    config: JepaConfig

    @nn.compact
    def __call__(self, frames: Array) -> Array:
        """[K, H, W, C] -> [D]. H and W are multiples of the patch."""
        cfg, dim = self.config, self.config.embed_dim
        side = (cfg.patch, cfg.patch)
        x = stack_channels(frames)
        x = nn.Conv(dim, side, strides=side, padding="VALID")(x).reshape(-1, dim)
        normal = nn.initializers.normal(0.02)
        x = jnp.concatenate([self.param("token", normal, (1, dim)), x])
        x = x + self.param("position", normal, x.shape)
        for _ in range(cfg.encoder_layers):
            x = Block(cfg.num_heads, dim // cfg.num_heads, 4 * dim)(x)
        return Projector(cfg.projector_width, cfg.latent_dim)(nn.LayerNorm()(x[0]))


ENCODERS = {"mlp": StateEncoder, "identity": Identity, "cnn": ConvEncoder, "vit": ViTEncoder}


def make_encoder(config: JepaConfig) -> nn.Module:
    """The trainable encoder that the settings name."""
    return ENCODERS[config.encoder](config)
