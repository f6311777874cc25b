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


def load(path: str | Path) -> JepaTrained:
    """Verify and load a run directory or checkpoint. Raises ConfigError or CheckpointError."""
    found = find_checkpoint(str(path))
    checkpoint.verify(found)
    stored = checkpoint.read_json(found, "config.json")
    if not isinstance(stored, dict) or stored.get("kind") != KIND:
        raise ConfigError(f"{path} holds no reward-free model: give a run of `latentmpc pretrain`")
    config = pretrain_config_from(stored, f"{found}/config.json")
    env, info = checkpoint.read_json(found, "spec.json"), stored["data_info"]
    net = build_networks(config, info["frame_shape"], info["action_dim"])
    like = jax.eval_shape(lambda: jepa.init(net, jax.random.key(0)))
    params = checkpoint.restore(found)["train"]["params"]
    check_shapes(found, like, params)
    spec = EnvSpec.from_json(env) if env else None
    return JepaTrained(found, config, spec, net, jax.device_put(params), info)
