"""Two-hot regression in symlog space (arXiv 2301.04104; arXiv 2310.16828, section 3.1)."""

from functools import partial
from typing import Any, NamedTuple

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
    """Cross-entropy [...] between logits [..., count] and the two-hot encoding of x [...].

    Its derivative is for the logits alone: x is what is aimed at. Neither keeps the encoding of x,
    nor the logarithms, which an update of several heads would pay for in memory.
    """
    return _cross_entropy(logits, x, bins)  # pyright: ignore[reportReturnType]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _cross_entropy(logits: Array, x: Array, bins: Bins) -> Array:
    return _forward(logits, x, bins)[0]


def _forward(logits: Array, x: Array, bins: Bins) -> tuple[Array, Any]:
    shifted = logits - logits.max(-1, keepdims=True)
    exponents = jnp.exp(shifted)
    total = exponents.sum(-1, keepdims=True)
    aimed = jnp.sum(encode(x, bins) * shifted, axis=-1)
    return jnp.log(total[..., 0]) - aimed, (exponents, total, x)


def _backward(bins: Bins, kept: Any, slope: Array) -> tuple[Array, Array]:
    exponents, total, x = kept
    return slope[..., None] * (exponents / total - encode(x, bins)), jnp.zeros_like(x)


_cross_entropy.defvjp(_forward, _backward)
