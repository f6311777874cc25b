"""Transformer blocks: plain ones for pictures, conditioned ones (AdaLN-zero) for predictions.

Sequences are [T, D]; callers vmap.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array


class SelfAttention(nn.Module):
    """Multi-head attention; causal: position t sees positions up to t."""

    heads: int
    head_dim: int
    causal: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[T, D] -> [T, D]."""
        inner = self.heads * self.head_dim
        mixed = nn.Dense(3 * inner, use_bias=False)(x)
        q, k, v = jnp.moveaxis(mixed.reshape(len(x), 3, self.heads, self.head_dim), 1, 0)
        scores = jnp.einsum("qhd,khd->hqk", q, k) / self.head_dim**0.5
        if self.causal:
            seen = jnp.tril(jnp.ones((1, len(x), len(x)), bool))
            scores = jnp.where(seen, scores, -jnp.inf)
        out = jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores, axis=-1), v)
        return nn.Dense(x.shape[-1])(out.reshape(len(x), inner))


class FeedForward(nn.Module):
    """Two dense layers with GELU between."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[T, D] -> [T, D]."""
        return nn.Dense(x.shape[-1])(jax.nn.gelu(nn.Dense(self.width)(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    heads: int
    head_dim: int
    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[T, D] -> [T, D]."""
        x = x + SelfAttention(self.heads, self.head_dim)(nn.LayerNorm()(x))
        return x + FeedForward(self.width)(nn.LayerNorm()(x))


class ConditionedBlock(nn.Module):
    """Causal block whose shifts, scales and gates come from a condition (AdaLN-zero).

    The gates start at zero, so that a fresh block is the identity (arXiv 2212.09748).
    """

    heads: int
    head_dim: int
    width: int

    @nn.compact
    def __call__(self, x: Array, condition: Array) -> Array:
        """[T, D], condition [T, C] -> [T, D]."""
        zeros = nn.initializers.zeros_init()
        made = nn.Dense(6 * x.shape[-1], kernel_init=zeros)(jax.nn.silu(condition))
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = jnp.split(made, 6, axis=-1)
        attended = SelfAttention(self.heads, self.head_dim, causal=True)
        x = x + gate * attended(_plain_norm()(x) * (1 + scale) + shift)
        return x + gate_mlp * FeedForward(self.width)(
            _plain_norm()(x) * (1 + scale_mlp) + shift_mlp
        )


def _plain_norm() -> Any:
    """LayerNorm whose scale and shift come from elsewhere."""
    return nn.LayerNorm(use_bias=False, use_scale=False)


class Projector(nn.Module):
    """Dense, LayerNorm, GELU, dense; a single dense layer when `width` is 0.

    LeWorldModel has BatchNorm here; LayerNorm keeps no running state and has as many parameters.
    """

    width: int
    out: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., out]."""
        if self.width:
            x = jax.nn.gelu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return nn.Dense(self.out)(x)
