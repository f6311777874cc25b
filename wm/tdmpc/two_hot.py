"""Two-hot regression in symlog space (arXiv 2301.04104; arXiv 2310.16828, section 3.1)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Bins(NamedTuple):
    """Equally spaced bins on [-limit, limit] in symlog space (static)."""

    count: int
    limit: float

    @property
    def width(self) -> float:
        """Distance between neighbouring bins."""
        return 2 * self.limit / (self.count - 1)

    def centers(self) -> Array:
        """[count] bin positions in symlog space."""
        return jnp.linspace(-self.limit, self.limit, self.count)


def symlog(x: Array) -> Array:
    """sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Array) -> Array:
    """Inverse of symlog."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def encode(x: Array, bins: Bins) -> Array:
    """Scalars [...] to two-hot distributions [..., count].

    The weight of a bin falls linearly to zero one bin width away, so at most two are non-zero.
    """
    target = jnp.clip(symlog(x), -bins.limit, bins.limit)
    centers = jnp.expand_dims(bins.centers(), tuple(range(target.ndim)))
    distance = jnp.abs(target[..., None] - centers)
    return jnp.maximum(1.0 - distance / bins.width, 0.0)


def decode(logits: Array, bins: Bins) -> Array:
    """Logits [..., count] to the scalar they stand for [...]."""
    return symexp(jax.nn.softmax(logits, axis=-1) @ bins.centers().astype(logits.dtype))


def cross_entropy(logits: Array, x: Array, bins: Bins) -> Array:
    """Cross-entropy [...] between logits [..., count] and the two-hot encoding of x [...]."""
    return -jnp.sum(encode(x, bins) * jax.nn.log_softmax(logits, axis=-1), axis=-1)
