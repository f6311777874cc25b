"""Frozen encoders in safetensors files, with their preprocessing and how to rebuild them."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from agents.storage import sealed
from agents.storage.files import CheckpointError, write_atomically
from wm.jepa.config import JepaConfig
from wm.jepa.frozen import PLAIN, Frozen, Preprocess, own, rebuild
from wm.types import Params

FORMAT = "latentmpc-encoder-1"


def save(
    path: Path | str, config: JepaConfig, params: Params, preprocess: Preprocess = PLAIN
) -> None:
    """Write an encoder of single pictures with its preprocessing. Raises as `own`, StorageError."""
    from safetensors.numpy import save as to_bytes

    about = {"format": FORMAT, **own(config, params, preprocess).about}
    tensors = {k: np.asarray(v) for k, v in flatten_dict(params, sep="/").items()}
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
    try:
        found = rebuild(about)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    params = {name: jnp.asarray(value) for name, value in tensors.items()}
    return found._replace(params=unflatten_dict(params, sep="/"))
