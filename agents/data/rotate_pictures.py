"""Pictures seen from straight above, turned about their middle with the world they show."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class Pictures(Protocol):
    """A source of pictures [n, K, H, W, 3] of rows [n, K]: an array, or something that draws."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


class RotatedPictures(NamedTuple):
    """Pictures [N, H, W, 3], each turned by its own of angles [N] when they are looked at."""

    pictures: Pictures
    angles: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Pictures [n, K, H, W, 3] of rows [n, K], all of a line turned like the last of it."""
        return rotate_pictures(self.pictures[rows], self.angles[rows[:, -1]])


def rotate_pictures(pictures: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Square pictures uint8 [B, T, N, N, 3], each stretch turned by its angle [B] in radians.

    Counter-clockwise where the first row is on top. Between pixels is interpolated; what was out of
    sight looks like what was nearest to it. The outermost pixels stay as they are, since a frame
    is the camera's and not the world's.
    """
    return np.asarray(_rotate(jnp.asarray(pictures), jnp.asarray(angles, jnp.float32)))


@jax.jit
def _rotate(pictures: Array, angles: Array) -> Array:
    # One stretch after the other: all at once would need several times their size in floats.
    return jax.lax.map(lambda both: _rotate_stretch(*both), (pictures, angles))


def _rotate_stretch(pictures: Array, angle: Array) -> Array:
    steps, side = pictures.shape[:2]
    pixels = jnp.moveaxis(pictures, 0, 2).reshape(side * side, -1)  # all of a place together
    row, column = _from_where(side, angle)
    top = jnp.clip(jnp.floor(row).astype(jnp.int32), 1, side - 3)
    left = jnp.clip(jnp.floor(column).astype(jnp.int32), 1, side - 3)
    down, right = (row - top)[..., None], (column - left)[..., None]

    def at(place: Array) -> Array:
        return pixels[place].astype(jnp.float32)

    first = top * side + left
    above = at(first) * (1 - right) + at(first + 1) * right
    below = at(first + side) * (1 - right) + at(first + side + 1) * right
    mixed = (above * (1 - down) + below * down + 0.5).astype(jnp.uint8)
    seen = jnp.moveaxis(mixed.reshape(side, side, steps, 3), 2, 0)
    inside = jnp.pad(jnp.ones((side - 2, side - 2), bool), 1)
    return jnp.where(inside[None, :, :, None], seen, pictures)


def _from_where(side: int, angle: Array) -> tuple[Array, Array]:
    """Row and column [N, N] that each pixel of a turned picture is taken from."""
    middle = (side - 1) / 2
    right = jnp.arange(side)[None] - middle
    up = middle - jnp.arange(side)[:, None]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    column, row = middle + cos * right + sin * up, middle - (cos * up - sin * right)
    return jnp.clip(row, 1, side - 2), jnp.clip(column, 1, side - 2)
