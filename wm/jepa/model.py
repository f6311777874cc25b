"""Joint-embedding predictive world models: an encoder and an action-conditioned predictor.

Nothing needs a reward, and pixels are not decoded (unless that is the objective). The functions
of `JepaNetworks` are written for one; callers vmap.

Two kinds of latents: with an MLP or GRU the encoder sees the whole history and a latent is one
vector [D]; with a transformer every frame has a vector of its own and a latent is the `Window` of
the last of them. `embed` gives the vector of either.
"""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.jepa.config import JepaConfig, JepaLearnerConfig
from wm.jepa.encoders import make_encoder, to_float
from wm.jepa.frozen import Frozen
from wm.jepa.objectives import Objective, make_objective
from wm.jepa.predictors import make_predictor
from wm.types import Params

Array = jax.Array
Latent = Any
"""An array [D], or a Window."""


class JepaSpec(NamedTuple):
    """Sizes of the data a model is built for (static)."""

    frame_shape: tuple[int, ...]
    """(O,) of observation vectors, (H, W, 3) of pictures (uint8)."""
    action_dim: int


class Window(NamedTuple):
    """The recent past of a transformer, oldest first."""

    vectors: Array
    """[K, D]"""
    actions: Array
    """[K - 1, A] action blocks between them."""
    known: Array
    """[K - 1] 1 where that action is known, 0 where it is not (and zero)."""


class JepaNetworks(NamedTuple):
    """The modules of the model (static); parameters live in a dict of the same keys."""

    encoder: nn.Module | Frozen
    predictor: nn.Module
    objective: Objective
    config: JepaConfig
    learner: JepaLearnerConfig
    spec: JepaSpec
    latent_dim: int
    """D"""

    @property
    def action_size(self) -> int:
        """Size A of the action block that one `step` takes: all its actions, oldest first."""
        return self.config.action_block * self.spec.action_dim

    def encode(self, params: Params, frames: Array, actions: Array | None = None) -> Latent:
        """Frames [history, ...], `config.spacing` decisions apart, the latest last -> latent.

        A transformer also uses the action blocks [history - 1, A] between them, if given.
        """
        frames = self.normalize(params, frames)
        if not self.config.windowed:
            return self.encode_normalized(params, frames)
        vectors = jax.vmap(lambda f: self.encode_normalized(params, f[None]))(frames)
        return self.window(vectors, actions)

    def window(self, vectors: Array, actions: Array | None = None) -> Window:
        """The latent of vectors [K, D] and, if known, the action blocks [K - 1, A] between."""
        past = len(vectors) - 1
        if actions is None:
            return Window(vectors, jnp.zeros((past, self.action_size)), jnp.zeros(past))
        return Window(vectors, actions, jnp.ones(past))

    def normalize(self, params: Params, frames: Array) -> Array:
        """Frames [..., frame shape] as floats of a common scale."""
        if isinstance(self.encoder, Frozen):
            return frames
        if self.config.pixels:
            return to_float(frames)
        norm, lead = params["normalizer"], (1,) * (frames.ndim - 1)
        return (frames - norm["mean"].reshape(*lead, -1)) / norm["std"].reshape(*lead, -1)

    def encode_normalized(self, params: Params, frames: Array) -> Array:
        """Normalised frames [K, ...] (K = 1 for a transformer) -> vector [D]."""
        if isinstance(self.encoder, Frozen):
            return self._frozen(params, frames)
        return self.objective.activation(_apply(self.encoder, params.get("encoder", {}), frames))

    def step(self, params: Params, latent: Latent, action: Array) -> Latent:
        """The latent after an action block [A]."""
        if not self.config.windowed:
            return self.objective.activation(
                _apply(self.predictor, params["predictor"], latent, action)
            )
        following = self.predict_window(params, latent, action)[-1]
        vectors = jnp.concatenate([latent.vectors[1:], following[None]])
        actions = jnp.concatenate([latent.actions, action[None]])[1:]
        known = jnp.concatenate([latent.known, jnp.ones_like(action[:1])])[1:]
        return Window(vectors, actions, known)

    def predict_window(self, params: Params, latent: Window, action: Array) -> Array:
        """A transformer's predictions [K, D] one step after each vector of the window."""
        known = jnp.concatenate([latent.known, jnp.ones_like(action[:1])])
        actions = jnp.concatenate([latent.actions, action[None]])
        conditions = jnp.concatenate([actions, known[:, None]], axis=-1)
        predicted = _apply(self.predictor, params["predictor"], latent.vectors, conditions)
        return self.objective.activation(predicted)

    def embed(self, params: Params, latent: Latent) -> Array:
        """The vector [D] of a latent that distances to goals are measured between."""
        return latent.vectors[-1] if self.config.windowed else latent

    def _frozen(self, params: Params, frames: Array) -> Array:
        """Features of every frame in common units, joined."""
        assert isinstance(self.encoder, Frozen)
        encoder, norm = self.encoder, params["normalizer"]
        features = jax.vmap(lambda f: encoder.apply(params["encoder"], encoder.preprocess(f)))
        return ((features(frames) - norm["mean"][None]) / norm["std"][None]).reshape(-1)


def _apply(module: nn.Module, params: Params, *inputs: Array) -> Array:
    return cast(Array, module.apply({"params": params}, *inputs))


def build(
    config: JepaConfig,
    learner: JepaLearnerConfig,
    spec: JepaSpec,
    objective: str = "lewm",
    frozen: Frozen | None = None,
) -> JepaNetworks:
    """Networks for data of these sizes; parameters come from `init`. Raises ValueError."""
    _check(config, spec, objective, frozen)
    frames = 1 if config.windowed else config.history
    latent = config.latent_dim
    if config.encoder == "identity":
        latent = frames * spec.frame_shape[0]
    elif frozen is not None:
        latent = frames * frozen.features
    sizes = (latent, config.action_block * spec.action_dim, (frames, *spec.frame_shape))
    return JepaNetworks(
        encoder=frozen or make_encoder(config),
        predictor=make_predictor(config, latent),
        objective=make_objective(objective, config, learner, sizes),
        config=config,
        learner=learner,
        spec=spec,
        latent_dim=latent,
    )


def _check(config: JepaConfig, spec: JepaSpec, objective: str, frozen: Frozen | None) -> None:
    """Raise ValueError for settings that do not fit each other or the data."""
    if (objective == "frozen") != (config.encoder in ("frozen", "identity")):
        raise ValueError(
            "objective frozen goes with model.encoder frozen or identity and with no other, got "
            f"objective {objective} and encoder {config.encoder}"
        )
    if config.encoder == "frozen" and frozen is None:
        raise ValueError("model.frozen_file must name the safetensors file of the encoder")
    if objective == "consistency" and config.latent_dim % config.simnorm_group:
        raise ValueError(
            f"model.latent_dim ({config.latent_dim}) must be a multiple of model.simnorm_group "
            f"({config.simnorm_group}) for the objective consistency"
        )
    if config.encoder == "vit" and any(side % config.patch for side in spec.frame_shape[:2]):
        raise ValueError(
            f"model.patch ({config.patch}) must divide the pictures' sides {spec.frame_shape[:2]}"
        )


def init(net: JepaNetworks, key: Array) -> dict[str, Params]:
    """Fresh parameters: a dict with one subtree a network (those of a frozen encoder as given)."""
    keys = jax.random.split(key, 2 + len(net.objective.heads))
    config, shape = net.config, net.spec.frame_shape
    params: dict[str, Params] = {}
    if isinstance(net.encoder, Frozen):
        size = net.encoder.features
        params["encoder"] = net.encoder.params
        params["normalizer"] = {"mean": jnp.zeros(size), "std": jnp.ones(size)}
    else:
        frames = jnp.zeros((1 if config.windowed else config.history, *shape))
        if learned := net.encoder.init(keys[0], frames).get("params"):
            params["encoder"] = learned
        if not config.pixels:
            params["normalizer"] = {"mean": jnp.zeros(shape), "std": jnp.ones(shape)}
    inputs = (jnp.zeros(net.latent_dim), jnp.zeros(net.action_size))
    if config.windowed:
        inputs = (
            jnp.zeros((config.history, net.latent_dim)),
            jnp.zeros((config.history, net.action_size + 1)),
        )
    params["predictor"] = net.predictor.init(keys[1], *inputs)["params"]
    for key_head, (name, (module, size)) in zip(keys[2:], net.objective.heads.items(), strict=True):
        params[name] = module.init(key_head, jnp.zeros(size))["params"]
    return params
