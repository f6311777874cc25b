"""From a path on disk to a reward-free model: runs and checkpoints, verified before use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import msgspec

from agents.runs.config import ConfigError
from agents.runs.load import built, find_checkpoint, stored_spec
from agents.runs.networks import build_jepa
from agents.runs.pretrain_config import KIND, PretrainConfig, pretrain_config_from
from agents.storage import checkpoint
from agents.storage.files import CheckpointError
from envs.spec import MOST_SIZE, EnvSpec
from wm.jepa import model as jepa
from wm.jepa.frozen import Frozen, rebuild
from wm.jepa.model import JepaNetworks


@dataclass
class JepaTrained:
    """A reward-free model and the data it was trained on."""

    path: Path
    config: PretrainConfig
    spec: EnvSpec | None
    """The environment of the data; None when it was trained on arrays in memory."""
    net: JepaNetworks
    params: Any
    data_info: dict[str, Any]
    """Of the data: its path, shape of a frame, size of an action."""


def load(path: str | Path, frozen: Frozen | None = None) -> JepaTrained:
    """Verify and load a run directory or checkpoint. Raises ConfigError or CheckpointError.

    A frozen encoder comes from the checkpoint itself; one that is a callable of the user's must
    be given again.
    """
    found = find_checkpoint(str(path))
    stored = checkpoint.read_table(found, "config.json")
    if stored.get("kind") != KIND:
        raise ConfigError(f"{path} holds no reward-free model: give a run of `latentmpc pretrain`")
    where = f"{found}/config.json"
    config = pretrain_config_from(stored, where)
    info = _data_info(stored, where)
    if config.model.encoder == "frozen":  # its parameters say their shapes themselves
        given = checkpoint.restore(found, at=("train", "params", "encoder"))
        frozen = _frozen(frozen, info, given, path)
    like, net = built(lambda: _networks(config, info, frozen), where)
    params = checkpoint.restore(found, like, at=("train", "params"))
    spec = stored_spec(found) if checkpoint.read_json(found, "spec.json") else None
    return JepaTrained(found, config, spec, net, jax.device_put(params), info)


def _networks(
    config: PretrainConfig, info: dict[str, Any], frozen: Frozen | None
) -> tuple[Any, JepaNetworks]:
    net = build_jepa(config, tuple(info["frame_shape"]), info["action_dim"], frozen)
    return jax.eval_shape(lambda: jepa.init(net, jax.random.key(0))), net


class _DataInfo(msgspec.Struct):
    """Entries of `data_info` that a model is built from."""

    frame_shape: list[Annotated[int, msgspec.Meta(ge=1, le=MOST_SIZE)]]
    action_dim: Annotated[int, msgspec.Meta(ge=1, le=MOST_SIZE)]
    path: str = ""
    frozen: dict[str, Any] | None = None


def _data_info(stored: dict[str, Any], where: str) -> dict[str, Any]:
    """The table `data_info`, checked. Raises CheckpointError."""
    try:
        msgspec.convert(stored.get("data_info"), _DataInfo)
    except ValueError as error:
        raise CheckpointError(f"{where}: data_info: {error}") from None
    return stored["data_info"]


def _frozen(given: Frozen | None, info: dict, params: Any, path: str | Path) -> Frozen:
    """The frozen encoder with its parameters of the checkpoint.

    Raises ConfigError, CheckpointError.
    """
    if given is None and not info.get("frozen"):
        raise ConfigError(
            f"the encoder of {path} is a callable of your own: give it to load(frozen=)"
        )
    try:
        return (given or rebuild(info["frozen"]))._replace(params=params)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
