"""Predictors: the next latent from a latent and an action block. For one latent; callers vmap."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.attention import ConditionedBlock, Projector
from wm.jepa.config import JepaConfig
from wm.layers import MLP, NormedDense

Array = jax.Array


class MLPPredictor(nn.Module):
    """Latent plus a learned change."""

    width: int
    layers: int
    out: int

    @nn.compact
    def __call__(self, latent: Array, action: Array) -> Array:
        """Latent [D], action block [A] -> [D]."""
        joint = jnp.concatenate([latent, action])
        return latent + MLP((self.width,) * self.layers, out=self.out)(joint)


class GRUPredictor(nn.Module):
    """A gated unit whose memory is the latent itself.

    The candidate is linear, not squashed as in the original (arXiv 1406.1078), because latents
    of unit variance do not lie in [-1, 1].
    """

    width: int
    out: int

    @nn.compact
    def __call__(self, latent: Array, action: Array) -> Array:
        """Latent [D], action block [A] -> [D]."""
        joint = NormedDense(self.width)(jnp.concatenate([latent, action]))
        update, reset = jnp.split(jax.nn.sigmoid(nn.Dense(2 * self.out)(joint)), 2)
        candidate = MLP((self.width,), out=self.out)(jnp.concatenate([reset * latent, action]))
        return update * latent + (1 - update) * candidate


class TransformerPredictor(nn.Module):
    """Causal transformer over a window of latents, conditioned on actions by AdaLN-zero.

    Position t sees the latents and actions up to t and predicts the latent after action t.
    """

    layers: int
    heads: int
    head_dim: int
    width: int
    projector_width: int
    out: int

    @nn.compact
    def __call__(self, latents: Array, actions: Array) -> Array:
        """Latents [K, D], action blocks [K, A] -> predictions [K, D]."""
        dim = latents.shape[-1]
        hidden = jax.nn.silu(nn.Dense(4 * dim)(nn.Dense(actions.shape[-1])(actions)))
        condition = nn.Dense(dim)(hidden)
        x = latents + self.param("position", nn.initializers.normal(0.02), latents.shape)
        for _ in range(self.layers):
            x = ConditionedBlock(self.heads, self.head_dim, self.width)(x, condition)
        return Projector(self.projector_width, self.out)(nn.LayerNorm()(x))


def make_predictor(config: JepaConfig, latent_dim: int) -> nn.Module:
    """The predictor that the settings name."""
    width = config.predictor_width
    if config.predictor == "mlp":
        return MLPPredictor(width, config.predictor_layers, latent_dim)
    if config.predictor == "gru":
        return GRUPredictor(width, latent_dim)
    return TransformerPredictor(
        config.predictor_layers,
        config.predictor_heads,
        config.predictor_head_dim,
        width,
        config.projector_width,
        latent_dim,
    )
