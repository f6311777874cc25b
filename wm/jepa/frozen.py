"""Encoders that are given and never trained, in safetensors files with their preprocessing.

A file made by `save` holds one of our own encoders and says how to rebuild it; any other encoder
is a callable with its parameters (`Frozen`), made by whoever has it.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from agents.storage import sealed
from agents.storage.files import CheckpointError, write_atomically
from wm.jepa.config import JepaConfig
from wm.jepa.encoders import make_encoder
from wm.types import Params

Array = jax.Array
FORMAT = "latentmpc-encoder-1"


class Preprocess(NamedTuple):
    """What is done to a picture first: size, then [0, 1], then (x - mean) / std by channel."""

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
"""What our own encoders are trained with (`encoders.to_float`)."""


class Frozen(NamedTuple):
    """An encoder as it is: features = apply(params, preprocess(picture))."""

    apply: Callable[[Params, Array], Array]
    """(params, float [size, size, 3]) -> [F]"""
    params: Params
    preprocess: Preprocess
    features: int
    about: dict[str, Any]
    """The architecture of our own encoders; empty for a callable of the user's."""


def save(
    path: Path | str, config: JepaConfig, params: Params, preprocess: Preprocess = PLAIN
) -> None:
    """Write an encoder of single pictures with its preprocessing.

    Raises ValueError for an encoder of something else, StorageError.
    """
    from safetensors.numpy import save as to_bytes

    if config.encoder not in ("cnn", "vit") or (config.history > 1 and not config.windowed):
        raise ValueError(
            "only an encoder of single pictures can be exported (cnn or vit, history 1 or a "
            f"transformer), got {config.encoder} with history {config.history}"
        )
    leaves = jax.tree_util.tree_leaves_with_path(params)
    tensors = {_name(keys): np.asarray(value) for keys, value in leaves}
    about = {"format": FORMAT, "model": asdict(config), "preprocess": preprocess._asdict()}
    write_atomically(Path(path), to_bytes(tensors, {"about": json.dumps(about)}))


def load(path: Path | str) -> Frozen:
    """Read what `save` wrote. Raises CheckpointError naming the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            about = sealed.parse((file.metadata() or {}).get("about", "{}").encode())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} does not say what encoder it holds (metadata `about` of format {FORMAT}): "
            "wrap a foreign encoder in wm.jepa.frozen.Frozen and pass it to pretrain"
        )
    found = rebuild(about)
    params: dict[str, Any] = {}
    for name, value in tensors.items():
        node, (*parents, last) = params, name.split("/")
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = jnp.asarray(value)
    return found._replace(params=params)


def rebuild(about: dict[str, Any]) -> Frozen:
    """One of our own encoders by its description, without parameters. Raises CheckpointError."""
    try:
        config = JepaConfig(**about["model"])
        given = about["preprocess"]
        preprocess = Preprocess(given["size"], tuple(given["mean"]), tuple(given["std"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the frozen encoder is not described as expected: {error}") from None
    module = make_encoder(config)

    def apply(params: Params, picture: Array) -> Array:
        return cast(Array, module.apply({"params": params}, picture[None]))

    return Frozen(apply, {}, preprocess, config.latent_dim, about)


def _name(keys: Any) -> str:
    return "/".join(str(key.key) for key in keys)
