"""From a path on disk to a reward-free model: runs and checkpoints, verified before use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from agents.config import ConfigError
from agents.load import check_shapes, find_checkpoint
from agents.pretrain_config import KIND, PretrainConfig, pretrain_config_from
from agents.pretrainer import build_networks
from envs.spec import EnvSpec
from wm import checkpoint, jepa
from wm.frozen import Frozen, rebuild
from wm.jepa import JepaNetworks


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
    checkpoint.verify(found)
    stored = checkpoint.read_json(found, "config.json")
    if not isinstance(stored, dict) or stored.get("kind") != KIND:
        raise ConfigError(f"{path} holds no reward-free model: give a run of `latentmpc pretrain`")
    config = pretrain_config_from(stored, f"{found}/config.json")
    env, info = checkpoint.read_json(found, "spec.json"), stored["data_info"]
    params = checkpoint.restore(found)["train"]["params"]
    if config.model.encoder == "frozen":
        frozen = _frozen(frozen, info, params, path)
    net = build_networks(config, info["frame_shape"], info["action_dim"], frozen)
    like = jax.eval_shape(lambda: jepa.init(net, jax.random.key(0)))
    check_shapes(found, like, params)
    spec = EnvSpec.from_json(env) if env else None
    return JepaTrained(found, config, spec, net, jax.device_put(params), info)


def _frozen(given: Frozen | None, info: dict, params: Any, path: str | Path) -> Frozen:
    """The frozen encoder with its parameters of the checkpoint. Raises ConfigError."""
    if given is None and not info.get("frozen"):
        raise ConfigError(
            f"the encoder of {path} is a callable of your own: give it to jepa_load.load(frozen=)"
        )
    return (given or rebuild(info["frozen"]))._replace(params=params["encoder"])
