"""Encoders that are given and never trained.

One of our own says how to rebuild it; any other is a callable with its parameters, made by whoever
has it.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from wm.jepa.config import JepaConfig
from wm.jepa.encoders import make_encoder
from wm.types import Params

Array = jax.Array


class Preprocess(NamedTuple):
    """Preprocessing of a picture: size, then [0, 1], then (x - mean) / std by channel."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, picture: Array) -> Array:
        """uint8 [H, W, 3] -> float32 [size, size, 3]."""
        x = picture.astype(jnp.float32) / 255.0
        if picture.shape[:2] != (self.size, self.size):
            x = jax.image.resize(x, (self.size, self.size, 3), "linear")
        return (x - jnp.asarray(self.mean)[None, None]) / jnp.asarray(self.std)[None, None]


PLAIN = Preprocess(64, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
"""That of our own encoders (`encoders.to_float`)."""


class Frozen(NamedTuple):
    """An encoder as it is: features = apply(params, preprocess(picture))."""

    apply: Callable[[Params, Array], Array]
    """(params, float [size, size, 3]) -> [F]"""
    params: Params
    preprocess: Preprocess
    features: int
    about: dict[str, Any]
    """The architecture of our own encoders; empty for a callable of the user's."""


def own(config: JepaConfig, params: Params, preprocess: Preprocess = PLAIN) -> Frozen:
    """An encoder of single pictures of ours, frozen. Raises ValueError for one of another kind."""
    if config.encoder not in ("cnn", "vit") or (config.history > 1 and not config.windowed):
        raise ValueError(
            "only an encoder of single pictures can be frozen (cnn or vit, history 1 or a "
            f"transformer), got {config.encoder} with history {config.history}"
        )
    about = {"model": asdict(config), "preprocess": preprocess._asdict()}
    return rebuild(about)._replace(params=params)


def rebuild(about: dict[str, Any]) -> Frozen:
    """One of our own encoders by its description, without parameters. Raises ValueError."""
    try:
        config = JepaConfig(**about["model"])
        given = about["preprocess"]
        preprocess = Preprocess(given["size"], tuple(given["mean"]), tuple(given["std"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the frozen encoder is not described as expected: {error}") from None
    module = make_encoder(config)

    def apply(params: Params, picture: Array) -> Array:
        return cast(Array, module.apply({"params": params}, picture[None]))

    return Frozen(apply, {}, preprocess, config.latent_dim, about)
