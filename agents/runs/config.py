"""Typed settings of a training run: one schema for flags, TOML files and `config.json`.

Imports no jax, so that `--help` and configuration errors answer at once.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from agents.runs import bounds
from agents.runs.bounds import ConfigError as ConfigError
from agents.runs.bounds import Meta, Settings, check, kinds
from planning.config import PlannerConfig
from wm.tdmpc.config import PRESETS, LearnerConfig, ModelConfig

Mode = Literal["plan", "prior", "random", "zero"]
Backend = Literal["auto", "native", "mjx", "mjx-warp"]
LoopKind = Literal["auto", "host", "fused"]


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings of one training run."""

    env_id: bounds.TaskId = "cartpole-swingup"
    """Task to learn (`latentmpc tasks` lists them), or several for one model: multi:A,B,C."""
    run_dir: str = ""
    """Where the run lives; the same command resumes it. Default: runs/ENV-seed."""
    preset: str = "tiny"
    """Model size: tiny, 1M, 5M, 19M, 48M or 317M."""
    env_steps: bounds.Total = 50_000
    """Agent decisions to train for (frames = env_steps x action_repeat)."""
    seed: bounds.Seed = 0
    num_envs: Annotated[int, Meta(ge=1, le=2**16)] = 4
    """Simulators that collect in parallel."""
    action_repeat: bounds.FewOrNone = 0
    """Frames per decision; 0 takes the task's own (2 on DMControl, 1 on Gymnasium)."""
    utd: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    """Updates per decision."""
    seed_steps: bounds.Period = 0
    """Random decisions before learning starts; 0 takes max(1000, 5 episodes)."""
    eval_every: bounds.Period = 10_000
    """Decisions between evaluations during training; 0 switches them off."""
    eval_episodes: bounds.Episodes = 10
    """Episodes of the final evaluation (and of each one in training)."""
    save_every: bounds.Total = 5_000
    """Decisions between checkpoints: the most a kill can lose."""
    replay_capacity: bounds.Total = 1_000_000
    """Transitions kept; the oldest go first."""
    video: bool = True
    """Render one evaluation episode into the report (skipped, and said so, without GL)."""
    backend: Backend = "auto"
    """Simulators that train: native (MuJoCo's threads), mjx or mjx-warp (on jax's device)."""
    loop: LoopKind = "auto"
    """host: Python calls planner, learner and simulators; fused: one program; the same learning."""
    devices: bounds.Few = 1
    """Devices that plan and learn, each for its share of the simulators and of the batch."""
    changed_task: bool = False
    """Resume although the task's own file, or its model, has changed since."""
    randomize: str = ""
    """Ranges in which training simulators differ, as in "mass=0.8:1.2 action_delay=0:1".

    task: those that the task's class names."""
    model: ModelConfig = field(default_factory=ModelConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        super().__post_init__()
        if self.utd:
            check("utd", self.utd, Annotated[float, Meta(ge=1e-6, le=1000)])
        check("env_steps x utd", int(self.env_steps * self.utd), bounds.Period)
        _check_preset(self.preset)
        least = self.num_envs * (self.learner.horizon + 2)
        if self.replay_capacity < least:
            raise ConfigError(
                f"replay_capacity must be at least {least} (num_envs x (learner.horizon + 2)), "
                f"got {self.replay_capacity}"
            )
        _check_shares(self)
        if not self.env_id:
            raise ConfigError("env_id must not be empty (`latentmpc tasks` lists the tasks)")

    @property
    def resolved_run_dir(self) -> str:
        """`run_dir`, or runs/ENV-seed where it was not given."""
        return self.run_dir or f"runs/{self.folder_name}-{self.seed}"

    @property
    def fused(self) -> bool:
        """Whether the cycle runs as one program.

        `auto`: for MJX, whose simulators then never leave the device; native simulators keep the
        host loop, which compiles sooner and is then a little slower (docs/results/scaling.md).
        """
        return self.loop == "fused" or (self.loop == "auto" and self.backend.startswith("mjx"))

    @property
    def folder_name(self) -> str:
        """The task's id as part of a path; of a file's task, without its folder."""
        path, _, name = self.env_id.rpartition(":")
        env_id = f"{Path(path).stem}-{name}" if path.endswith(".py") else self.env_id
        return re.sub("[/?#=&%~]+", "-", env_id.replace(",", "+"))[:100]


class _Overrides(Settings, block="planner"):
    """Planner settings that replace the run's own; what is not given stays as it was trained.

    Another method brings what is customary for it. `latentmpc train --help-all` explains them all.
    """

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are given, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(PlannerConfig)}
        return {name: value for name, value in values.items() if value is not None}

    def apply(self, planner: PlannerConfig) -> PlannerConfig:
        """`planner` with the given settings replaced. Raises ConfigError naming a bad one."""
        with bounds.config_errors():
            return planner.changed(**self.given)


if TYPE_CHECKING:

    class PlannerOverrides(_Overrides):
        """Any planner setting by name."""

        def __init__(self, **settings: Any) -> None: ...
else:  # every planner setting, unset
    PlannerOverrides = make_dataclass(
        "PlannerOverrides",
        [(name, kind | None, None) for name, kind in kinds(PlannerConfig).items()],
        bases=(_Overrides,),
        frozen=True,
        namespace={
            "__module__": __name__,
            "__doc__": _Overrides.__doc__,
            "overrides": PlannerConfig,
        },
    )


@dataclass(frozen=True)
class EvalConfig(Settings):
    """Settings of one closed-loop evaluation."""

    path: str = ""
    """Run directory or checkpoint to evaluate."""
    episodes: bounds.Episodes = 10
    """Episodes, one a simulator, run side by side."""
    seed: bounds.Seed = 1000
    """Seed of the episodes; the same seed gives the same initial states."""
    mode: Mode = "plan"
    """plan: the planner; prior: the learned prior alone; random and zero: the floors."""
    env_id: bounds.TaskId = ""
    """Evaluate on this task instead of the run's; its spec must match the checkpoint's.

    For a run of several tasks: one of them."""
    out: str = ""
    """Directory for result.json and eval.json; nothing is written when empty."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)


def _check_shares(config: TrainConfig) -> None:
    """Raise ConfigError unless every device gets the same share of everything."""
    if config.devices == 1:
        return
    shared = {"num-envs": config.num_envs, "learner.batch-size": config.learner.batch_size}
    for flag, size in shared.items():
        if size % config.devices:
            raise ConfigError(
                f"--devices {config.devices} does not divide --{flag} {size}: give a multiple of "
                f"{config.devices}, or other --devices"
            )
    if config.fused:
        raise ConfigError(
            f"--devices {config.devices} needs the host loop: add --loop host, or leave --devices"
        )


def _check_preset(preset: str) -> None:
    if preset not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")


def preset_config(preset: str, **changes: Any) -> TrainConfig:
    """Defaults of a preset: its network, and the learner's settings that suit its size.

    Raises ConfigError if there is no such preset.
    """
    _check_preset(preset)
    learner = LearnerConfig()
    if preset != "tiny":
        learner = replace(learner, batch_size=256, learning_rate=3e-4)
    return TrainConfig(
        **{"model": PRESETS[preset], "learner": learner, "preset": preset, **changes}
    )


def digest(config: TrainConfig) -> str:
    """SHA-256 of the settings that decide the result (not of where it is written)."""
    ignored = ("run_dir", "video", "loop", "devices", "changed_task")
    settings = {k: v for k, v in asdict(config).items() if k not in ignored}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
