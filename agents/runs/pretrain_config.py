"""Typed settings of a reward-free pretraining: flags, TOML keys and `config.json` at once.

Imports no jax.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agents.runs.bounds import Few, Seed, Settings, Share, Total
from agents.runs.config import ConfigError
from agents.runs.settings import PRETRAINED, stored_config
from agents.storage import sealed
from agents.storage.files import CheckpointError
from wm.jepa.config import (
    LEARNER_PRESETS,
    PRESETS,
    JepaConfig,
    JepaLearnerConfig,
    Objective,
    slice_rows,
)

KIND = PRETRAINED
STORED_BESIDE = ("kind", "env", "data_info", "digest", "versions")


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """Settings of one pretraining."""

    data: str = ""
    """Folder of recorded episodes (`latentmpc collect` makes one)."""
    run_dir: str = ""
    """Where the run lives; the same command resumes it. Default: runs/jepa-OBJECTIVE-seed."""
    objective: Objective = "lewm"
    """What is learned: lewm (prediction + SIGReg), vicreg, consistency (stop-gradient, SimNorm),
    ema (averaged targets), frozen (given encoder), reconstruction (decoder), none (collapses)."""
    preset: str = "state"
    """Model: state or pixels (64 px, small CNN), for two CPU cores; vit; lewm (18M, 224 px)."""
    updates: Total = 20_000
    """Updates to train for; the step size falls over them."""
    seed: Seed = 0
    save_every: Total = 2_000
    """Updates between checkpoints: the most a kill can lose."""
    log_every: Total = 500
    """Updates between rows of metrics and looks at the validation episodes."""
    updates_per_call: Few = 10
    """Updates in one compiled call."""
    rotation_augmentation: bool = False
    """Learn from episodes turned by random angles, in tasks that look the same from all sides."""
    hue_jitter: Share = 0.0
    """Turn the colours of pictures at random, within so much of the circle of hues."""
    model: JepaConfig = field(default_factory=JepaConfig)
    learner: JepaLearnerConfig = field(default_factory=JepaLearnerConfig)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        super().__post_init__()
        _check_preset(self.preset)

    @property
    def resolved_run_dir(self) -> str:
        """`run_dir`, or runs/jepa-OBJECTIVE-seed where it was not given."""
        return self.run_dir or f"runs/jepa-{self.objective}-{self.seed}"

    @property
    def rows(self) -> int:
        """Rows of an episode that one training slice needs."""
        return slice_rows(self.model, self.learner)


def _check_preset(preset: str) -> None:
    if preset not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")


def preset_config(preset: str, **changes: Any) -> PretrainConfig:
    """Defaults of a preset. Raises ConfigError if there is no such preset."""
    _check_preset(preset)
    learner = LEARNER_PRESETS.get(preset, JepaLearnerConfig())
    defaults = {"model": PRESETS[preset], "learner": learner, "preset": preset}
    return PretrainConfig(**{**defaults, **changes})


def pretrain_config_from(stored: Mapping[str, Any], where: str) -> PretrainConfig:
    """Settings from a stored `config.json`. Raises CheckpointError when they do not fit."""
    return stored_config(PretrainConfig, stored, where, STORED_BESIDE)


def is_pretrained(path: Path | str) -> bool:
    """Whether a run directory or checkpoint holds a reward-free model (loads no jax)."""
    try:
        stored = sealed.read_json(Path(path, "config.json"))
    except CheckpointError:
        return False
    return isinstance(stored, dict) and stored.get("kind") == KIND


def digest(config: PretrainConfig) -> str:
    """SHA-256 of the settings that decide the result (not of where it is written)."""
    settings = {k: v for k, v in asdict(config).items() if k != "run_dir"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
