"""Joint-embedding predictive world models: an encoder and an action-conditioned predictor.

Nothing needs a reward, and pixels are not decoded. The functions of `JepaNetworks` are written
for one; callers vmap.
"""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.encoders import ConvEncoder, StateEncoder
from wm.jepa_config import JepaConfig, JepaLearnerConfig
from wm.losses.objectives import Objective, make_objective
from wm.predictors import MLPPredictor
from wm.types import Params

Array = jax.Array
Latent = Any
"""An array [D], or a pytree that holds more of the past; `embed` gives its [D]."""


class JepaSpec(NamedTuple):
    """Sizes of the data a model is built for (static)."""

    frame_shape: tuple[int, ...]
    """(O,) of observation vectors, (H, W, 3) of pictures (uint8)."""
    action_dim: int


class JepaNetworks(NamedTuple):
    """The modules of the model (static); parameters live in a dict of the same keys."""

    encoder: nn.Module
    predictor: nn.Module
    objective: Objective
    config: JepaConfig
    learner: JepaLearnerConfig
    spec: JepaSpec

    @property
    def action_size(self) -> int:
        """Size of the action block that one `step` takes: all its actions, oldest first."""
        return self.config.action_block * self.spec.action_dim

    def encode(self, params: Params, frames: Array) -> Latent:
        """Frames [history, ...], `config.spacing` decisions apart, the latest last -> latent."""
        if not self.config.pixels:
            norm = params["normalizer"]
            frames = (frames - norm["mean"][None]) / norm["std"][None]
        return self._activate(_apply(self.encoder, params["encoder"], frames))

    def step(self, params: Params, latent: Latent, action: Array) -> Latent:
        """The latent after an action block [action_size]."""
        return self._activate(_apply(self.predictor, params["predictor"], latent, action))

    def embed(self, params: Params, latent: Latent) -> Array:
        """The vector [D] of a latent that distances to goals are measured between."""
        return latent

    def _activate(self, latent: Array) -> Array:
        return self.objective.activation(latent)


def _apply(module: nn.Module, params: Params, *inputs: Array) -> Array:
    return cast(Array, module.apply({"params": params}, *inputs))


def build(
    config: JepaConfig, learner: JepaLearnerConfig, spec: JepaSpec, objective: str = "lewm"
) -> JepaNetworks:
    """Networks for data of these sizes; parameters come from `init`. Raises ValueError."""
    width, layers, out = config.encoder_width, config.encoder_layers, config.latent_dim
    if config.pixels:
        encoder = ConvEncoder(config.cnn_channels, width, out)
    else:
        encoder = StateEncoder(width, layers, out)
    predictor = MLPPredictor(config.predictor_width, config.predictor_layers, out)
    made = make_objective(objective, config, learner)
    return JepaNetworks(encoder, predictor, made, config, learner, spec)


def init(net: JepaNetworks, key: Array) -> dict[str, Params]:
    """Fresh parameters: a dict with one subtree a network."""
    key_encoder, key_predictor = jax.random.split(key)
    shape = (net.config.history, *net.spec.frame_shape)
    frames = jnp.zeros(shape, jnp.uint8 if net.config.pixels else jnp.float32)
    latent, action = jnp.zeros(net.config.latent_dim), jnp.zeros(net.action_size)
    params = {
        "encoder": net.encoder.init(key_encoder, frames)["params"],
        "predictor": net.predictor.init(key_predictor, latent, action)["params"],
    }
    if not net.config.pixels:
        size = net.spec.frame_shape
        params["normalizer"] = {"mean": jnp.zeros(size), "std": jnp.ones(size)}
    return params
