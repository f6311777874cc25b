"""From a path on disk to a trained model: runs and checkpoints, verified before use."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jax

from agents.runs.config import ConfigError, TrainConfig
from agents.runs.networks import build_networks
from agents.runs.settings import train_config_from
from agents.storage import checkpoint
from agents.storage.checkpoint import CheckpointError
from envs.spec import EnvError, EnvSpec
from planning.config import PlannerConfig
from wm.tdmpc import learner
from wm.tdmpc.model import Networks

T = TypeVar("T")
MOST_STEPS = 1 << 27
"""Model steps of one decision, and numbers in its plans, that stored settings may ask for."""


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
    where = f"{found}/config.json"
    config = train_config_from(checkpoint.read_table(found, "config.json"), where)
    spec = stored_spec(found)
    check_effort(config.planner, spec, where)
    like, net = built(lambda: _networks(config, spec), where)
    params = checkpoint.restore(found, like, at=("train", "average"))
    return Trained(found, config, spec, net, jax.device_put(params))


def _networks(config: TrainConfig, spec: EnvSpec) -> tuple[Any, Networks]:
    net = build_networks(config, spec)
    return jax.eval_shape(lambda: learner.init(net, jax.random.key(0)).params), net


def built(build: Callable[[], T], where: str) -> T:
    """Networks that `build` makes of stored settings. Raises CheckpointError naming `where`."""
    try:
        return build()
    except (CheckpointError, ConfigError):
        raise
    except Exception as error:  # settings that are no network's fail anywhere
        cause = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"{where}: no networks from its settings ({cause})") from None


def stored_spec(path: Path) -> EnvSpec:
    """The environment that a checkpoint is for. Raises CheckpointError naming the file."""
    try:
        return EnvSpec.from_json(checkpoint.read_table(path, "spec.json"))
    except EnvError as error:
        raise CheckpointError(f"{path}/spec.json cannot be used: {error}") from None


def check_effort(planner: PlannerConfig, spec: EnvSpec, where: str) -> None:
    """Raise CheckpointError for a stored planner that would only keep a machine busy or full."""
    candidates = planner.num_samples * planner.num_restarts
    steps = planner.horizon * candidates * planner.num_iterations
    entries = planner.horizon * candidates * spec.action_dim
    if max(steps, entries) > MOST_STEPS:
        raise CheckpointError(
            f"{where}: its planner takes {steps} steps a decision over plans of {entries} entries, "
            f"more than {MOST_STEPS}"
        )


def check_spec(trained: Trained, spec: EnvSpec) -> None:
    """Refuse an environment of another shape than the one trained on. Raises ConfigError.

    Another task of the same sizes and times passes: that is what was asked for by its name.
    """
    known = trained.spec
    if not known.episode_frames:  # of a version that did not ask for a limit
        known = replace(known, episode_frames=spec.episode_frames)
    if found := known.difference(spec):
        raise ConfigError(
            f"{spec.env_id} does not fit {trained.path} ({trained.spec.env_id}), which differs "
            f"in {'; '.join(found)}: give a task with the same spec"
        )
