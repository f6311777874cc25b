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

    config: JepaConfig
    out: int

    @nn.compact
    def __call__(self, latent: Array, action: Array) -> Array:
        """Latent [D], action block [A] -> [D]."""
        widths = (self.config.predictor_width,) * self.config.predictor_layers
        return latent + MLP(widths, out=self.out)(jnp.concatenate([latent, action]))


class GRUPredictor(nn.Module):
    """A gated unit whose memory is the latent itself.

    The candidate is linear, not squashed as in the original (arXiv 1406.1078), because latents
    of unit variance do not lie in [-1, 1].
    """

    config: JepaConfig
    out: int

    @nn.compact
    def __call__(self, latent: Array, action: Array) -> Array:
        """Latent [D], action block [A] -> [D]."""
        width = self.config.predictor_width
        joint = NormedDense(width)(jnp.concatenate([latent, action]))
        update, reset = jnp.split(jax.nn.sigmoid(nn.Dense(2 * self.out)(joint)), 2)
        candidate = MLP((width,), out=self.out)(jnp.concatenate([reset * latent, action]))
        return update * latent + (1 - update) * candidate


class TransformerPredictor(nn.Module):
    """Causal transformer over a window of latents, conditioned on actions by AdaLN-zero.

    Position t sees the latents and actions up to t and predicts the latent after action t.
    """

    config: JepaConfig
    out: int

    @nn.compact
    def __call__(self, latents: Array, actions: Array) -> Array:
        """Latents [K, D], action blocks [K, A] -> predictions [K, D]."""
        cfg, dim = self.config, latents.shape[-1]
        sizes = cfg.predictor_heads, cfg.predictor_head_dim, cfg.predictor_width
        hidden = jax.nn.silu(nn.Dense(4 * dim)(nn.Dense(actions.shape[-1])(actions)))
        condition = nn.Dense(dim)(hidden)
        x = latents + self.param("position", nn.initializers.normal(0.02), latents.shape)
        for _ in range(cfg.predictor_layers):
            x = ConditionedBlock(*sizes)(x, condition)
        return Projector(cfg.projector_width, self.out)(nn.LayerNorm()(x))


PREDICTORS = {"mlp": MLPPredictor, "gru": GRUPredictor, "transformer": TransformerPredictor}


def make_predictor(config: JepaConfig, latent_dim: int) -> nn.Module:
    """The predictor that the settings name."""
    return PREDICTORS[config.predictor](config, latent_dim)
