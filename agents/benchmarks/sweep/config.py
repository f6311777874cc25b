"""Settings of a sweep, and its plan before anything runs. Imports no jax."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.benchmarks.sweep.grid import Setting, as_trained, combinations
from agents.evaluation.latency_model import LatencyModel
from agents.jobs.queue import known_executor
from agents.runs import needs
from agents.runs.axes import Axes, parse_grid
from agents.runs.bounds import Episodes, FewOrNone, Seed, Settings, Weight, check
from agents.runs.config import ConfigError, PlannerOverrides, TrainConfig
from agents.runs.settings import train_config_from
from agents.storage import sealed
from agents.storage.files import CheckpointError, refuse_link, require_directory

FIRST_ROUNDS: tuple[int, ...] = (2, 4, 7, 10)
"""Episodes after which settings are compared; then after every half as many again."""


@dataclass(frozen=True)
class SweepConfig(Settings):
    """Settings of one sweep."""

    path: str = ""
    """Run directory or checkpoint whose settings are varied."""
    grid: str = ""
    """NAME=V1,V2 ...: every combination is tried. Training settings train first."""
    episodes: Episodes = 10
    """Episodes of a setting that is not stopped early, on the same starts for all."""
    seed: Seed = 1000
    """Seed of the first episode; episode i starts from seed + i."""
    budget_ms: Weight = 0.0
    """Longest p99 of a decision in milliseconds; 0 takes the task's control period."""
    rate_hz: Weight = 0.0
    """Decisions a second that must be kept up: another way to say the budget."""
    latency: str = "free"
    """free, measured or fixed:MS: what thinking costs in the episodes."""
    eliminate: bool = True
    """Stop settings early that are worse than a faster one, or over the budget."""
    out: str = ""
    """Output directory; the same command resumes it. Default: RUN/sweep."""
    executor: str = "local"
    """local, ray or slurm."""
    jobs: FewOrNone = 1
    """Cases at once; more than one share the cores, and their latencies say so. 0: one by one
    in this process; on Ray and SLURM, as many as there is room for."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)

    def __post_init__(self):
        """Reject what cannot be run. Raises ConfigError naming the setting."""
        super().__post_init__()
        check("seed + episodes", self.seed + self.episodes, Seed)
        if self.budget_ms and self.rate_hz:
            raise ConfigError("budget_ms and rate_hz both say the budget: give one of them")
        LatencyModel.parse(self.latency)
        known_executor(self.executor)


@dataclass(frozen=True)
class SweepPlan:
    """Settings, rounds and budget of a sweep."""

    config: SweepConfig
    base: TrainConfig
    axes: Axes
    settings: list[Setting]
    """Every combination, and the settings as trained, first, if the grid does not hold them."""
    budget_ms: float
    budget_from: str
    """The source of the budget, in words."""
    directory: Path

    @property
    def rounds(self) -> list[range]:
        """Seeds of each round."""
        ends = rounds(self.config.episodes)
        first = self.config.seed
        return [range(first + a, first + b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def rounds(episodes: int) -> list[int]:
    """Episodes a setting has run after each round: 2, 4, 7, 10, 15, 22, ..., `episodes`."""
    ends = list(FIRST_ROUNDS)
    while ends[-1] < episodes:
        ends.append(ends[-1] * 3 // 2)
    return [*[end for end in ends if end < episodes], episodes]


def plan_sweep(config: SweepConfig) -> SweepPlan:
    """Check a sweep against the run it starts from. Raises ConfigError or CheckpointError."""
    axes = parse_grid(config.grid)
    if not config.path:
        raise ConfigError("which run? give a run directory or a checkpoint: latentmpc sweep RUN")
    base, spec = read_run(config.path)
    settings = combinations(axes, base, config.planner.given)
    if all(s.training or s.planner for s in settings) and has_model(config.path):
        settings = [as_trained(base), *settings]
    budget, source = _budget(config, spec)
    plan = SweepPlan(config, base, axes, settings, budget, source, _directory(config))
    sims = (
        1 if LatencyModel.parse(config.latency).kind == "measured" else max(map(len, plan.rounds))
    )
    needs.require(needs.workers(config.jobs, config.executor))
    for setting in settings:
        if setting.training or not has_model(config.path):
            needs.require(needs.training(setting.config))
        needs.require(needs.evaluation(setting.config, setting.config.planner, sims))
    return plan


def read_run(path: str) -> tuple[TrainConfig, Any]:
    """Settings and environment spec (None if unknown) of a run directory or checkpoint.

    Raises CheckpointError if it is neither, or they are not of this version.
    """
    require_directory(path, "a run directory or a checkpoint")
    where = Path(path, "config.json")
    try:
        stored = sealed.read_json(where)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is neither a run directory nor a checkpoint ({error})"
        ) from None
    base = train_config_from(stored, str(where))
    spec = stored.get("env")
    if not isinstance(spec, dict):
        with contextlib.suppress(CheckpointError):
            spec = sealed.read_json(where.with_name("spec.json"))
    return base, spec


def has_model(path: str) -> bool:
    """Whether there is a checkpoint at a path: it is one, or a run that holds one."""
    given = Path(path)
    return (given / "MANIFEST.json").exists() or any(given.glob("checkpoints/*/MANIFEST.json"))


def _budget(config: SweepConfig, spec: Any) -> tuple[float, str]:
    """Milliseconds a decision may take, and why. Raises ConfigError when nothing says."""
    if config.budget_ms:
        return config.budget_ms, "as asked"
    if config.rate_hz:
        return 1e3 / config.rate_hz, f"{config.rate_hz:g} decisions a second"
    try:
        period = 1e3 * float(spec["control_dt"]) * int(spec["action_repeat"])
    except (KeyError, TypeError, ValueError):
        raise ConfigError(
            f"{config.path} does not say its control period: give --budget-ms or --rate-hz"
        ) from None
    return period, "the control period of the task"


def _directory(config: SweepConfig) -> Path:
    """`out`, or `sweep` in the run directory.

    Raises ConfigError for a checkpoint without one, CheckpointError where that `sweep` is a link.
    """
    if config.out:
        return Path(config.out)
    given, inside = Path(os.path.abspath(config.path)), Path(config.path, "sweep")
    if (given / "MANIFEST.json").exists():
        if given.parent.name != "checkpoints":
            raise ConfigError(f"{config.path} is a checkpoint alone: say where to write with --out")
        inside = Path(os.path.relpath(given.parent.parent), "sweep")
    refuse_link(inside)
    return inside
