"""Terms that tie latents to time, to actions and to what was seen."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.layers import MLP, mish

Array = jax.Array


def temporal_similarity(latents: Array) -> Array:
    """Mean squared change [] between neighbours in time of latents [B, T, D] (PLDM)."""
    return jnp.mean((latents[:, 1:] - latents[:, :-1]) ** 2)


def inverse_dynamics(infer: Callable[[Array], Array], latents: Array, actions: Array) -> Array:
    """Mean squared error [] of actions [B, T, A] inferred from neighbouring latents [B, T + 1, D].

    `infer` maps the two joined, [..., 2 D], to an action block [..., A].
    """
    joined = jnp.concatenate([latents[:, :-1], latents[:, 1:]], axis=-1)
    return jnp.mean((infer(joined) - actions) ** 2)


def reconstruction(decoded: Array, frames: Array) -> Array:
    """Share [] of the variance of frames [B, ...] that what is decoded of them leaves unexplained.

    A small thing in a wide scene is a small part of the mean square over pixels; as a share of
    what varies at all it weighs as much as the prediction of latents.
    """
    spread = jnp.mean(jnp.var(frames, axis=0))
    return jnp.mean((decoded - frames) ** 2) / jnp.maximum(spread, 1e-6)


class VectorDecoder(nn.Module):
    """MLP from a latent to the observation vectors it was made of."""

    width: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, latent: Array) -> Array:
        """[D] -> shape."""
        size = 1
        for side in self.shape:
            size *= side
        return MLP((self.width, self.width), out=size)(latent).reshape(self.shape)


class PixelDecoder(nn.Module):
    """From a latent to the pictures it was made of: the mirror of the small CNN.

    Works on patches of 8 x 8 pixels, each from a few features of its own; height and width are
    multiples of 8.
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
