"""Typed settings of a training run: one schema for flags, TOML files and `config.json`.

Imports no jax, so that `--help` and configuration errors answer at once.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field

from planning.config import PlannerConfig
from wm.config import LearnerConfig, ModelConfig


class ConfigError(ValueError):
    """A setting the user can fix; shown as one line."""

    exit_code = 2


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run."""

    env_id: str = "cartpole-swingup"
    """Task to learn (`latentmpc tasks` lists them)."""
    run_dir: str = ""
    """Where the run lives; the same command resumes it. Default: runs/ENV-seed."""
    preset: str = "tiny"
    """Model size: tiny, 1M, 5M, 19M, 48M or 317M."""
    env_steps: int = 50_000
    """Agent decisions to train for (frames = env_steps x action_repeat)."""
    seed: int = 0
    num_envs: int = 4
    """Simulators that collect in parallel."""
    action_repeat: int = 0
    """Frames per decision; 0 takes the task's own (2 on DMControl, 1 on Gymnasium)."""
    utd: float = 1.0
    """Updates per decision."""
    seed_steps: int = 0
    """Random decisions before learning starts; 0 takes max(1000, 5 episodes)."""
    eval_every: int = 10_000
    """Decisions between evaluations during training; 0 switches them off."""
    eval_episodes: int = 10
    """Episodes of the final evaluation (and of each one in training)."""
    save_every: int = 5_000
    """Decisions between checkpoints: the most a kill can lose."""
    replay_capacity: int = 1_000_000
    """Transitions kept; the oldest go first."""
    video: bool = True
    """Render one evaluation episode into the report (skipped, and said so, without GL)."""
    model: ModelConfig = field(default_factory=ModelConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        for name in ("env_steps", "num_envs", "save_every", "eval_episodes", "replay_capacity"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("action_repeat", "seed_steps", "eval_every", "utd"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")


def digest(config: TrainConfig) -> str:
    """SHA-256 of the settings that decide the result (not of where it is written)."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("run_dir", "video")}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
