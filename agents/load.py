"""From a path on disk to a trained model: runs and checkpoints, verified before use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from agents import setup
from agents.config import ConfigError, TrainConfig
from agents.schema import train_config_from
from envs.spec import EnvSpec
from wm import checkpoint, learner
from wm.checkpoint import CheckpointError
from wm.tdmpc import Networks


@dataclass
class Trained:
    """A trained model and what it was trained for."""

    path: Path
    config: TrainConfig
    spec: EnvSpec
    net: Networks
    params: Any


def find_checkpoint(path: str) -> Path:
    """The checkpoint that a run directory or checkpoint path means.

    Raises CheckpointError for a path that is neither, and for a run without one.
    """
    given = Path(path)
    if (given / "checkpoints").is_dir():
        newest = checkpoint.latest(given / "checkpoints")
        if newest is None:
            raise CheckpointError(
                f"{path} has no checkpoint yet: let `latentmpc train` reach its first save"
            )
        return newest
    if not given.is_dir() or (not (given / "arrays").exists() and not list(given.glob("*.json"))):
        raise CheckpointError(
            f"{path} is neither a run directory nor a checkpoint: give the --run-dir of a "
            "training or one of its checkpoints/NUMBER folders"
        )
    return given


def load(path: str) -> Trained:
    """Verify and load. Raises ConfigError or CheckpointError."""
    found = find_checkpoint(path)
    checkpoint.verify(found)
    where = f"{found}/config.json"
    config = train_config_from(checkpoint.read_json(found, "config.json"), where)
    spec = EnvSpec.from_json(checkpoint.read_json(found, "spec.json"))
    net = setup.build_networks(config, spec)
    like = jax.eval_shape(lambda: learner.init(net, jax.random.key(0)).params)
    params = checkpoint.restore(found)["train"]["average"]
    check_shapes(found, like, params)
    return Trained(found, config, spec, net, jax.device_put(params))


def check_shapes(path: Path, like: Any, params: Any) -> None:
    """Refuse parameters that are not shaped like `like`. Raises CheckpointError naming one."""
    expected = {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(like)}
    found = {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(params)}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: parameter {name} has shape {found.get(name)}, its config.json asks for "
                f"{expected.get(name)}; was the checkpoint written by another version?"
            )


def check_spec(trained: Trained, spec: EnvSpec) -> None:
    """Refuse an environment of another shape than the one trained on. Raises ConfigError.

    Another task of the same sizes and times passes: that is what was asked for by its name.
    """
    if found := trained.spec.difference(spec):
        raise ConfigError(
            f"{spec.env_id} does not fit {trained.path} ({trained.spec.env_id}), which differs "
            f"in {'; '.join(found)}: give a task with the same spec"
        )
