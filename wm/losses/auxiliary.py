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
    """Mean squared error [] over pixels (in units of the full range) or normalised entries."""
    return jnp.mean((decoded - frames) ** 2)


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

    Works on patches of 4 x 4 pixels; height and width are multiples of 8.
    """

    channels: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, latent: Array) -> Array:
        """[D] -> [K, H, W, C] of shape."""
        history, height, width, colours = self.shape
        rows, columns = height // 8, width // 8
        x = mish(nn.Dense(rows * columns * self.channels)(latent))
        x = x.reshape(rows, columns, self.channels)
        x = jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)
        x = mish(nn.Conv(self.channels, (3, 3))(x))
        x = nn.Conv(16 * history * colours, (1, 1))(x)
        x = x.reshape(2 * rows, 2 * columns, 4, 4, history, colours)
        return jnp.moveaxis(x, (4, 0, 2, 1, 3, 5), range(6)).reshape(self.shape)
