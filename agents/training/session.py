"""Long runs in a directory: when something is due, their clock, saves and end."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec
import numpy as np

from agents.runs.directory import RunDir
from agents.runs.progress import TrainProgress
from agents.runs.signals import InterruptedRunError, LearningError, StopSignal
from agents.runs.versions import installed
from agents.storage import checkpoint
from agents.storage.checkpoint import CheckpointError
from agents.training.parallel.processes import ALONE

T = TypeVar("T")
KEEP = 2
"""Checkpoints of a run."""
PROGRESS = "progress.json"


@dataclass
class Every:
    """Something that is due whenever a count reaches another multiple of `period` (0: never)."""

    period: int
    last: int = 0
    """The count when it was done last."""

    @property
    def next(self) -> float:
        """The count at which it is due."""
        return (self.last // self.period + 1) * self.period if self.period else float("inf")

    def take(self, count: int) -> bool:
        """Whether it is due; then it counts as done."""
        due = count >= self.next
        if due:
            self.last = count
        return due


class Session(ABC):
    """A run that goes on to a total; the same command resumes it from its newest checkpoint."""

    unit: ClassVar[str]
    """Of its counts: decisions or updates."""

    def __init__(
        self, run: RunDir, bar: TrainProgress, began: float, log_every: int, save_every: int
    ):
        """Wall time counts from `began`, a reading of time.perf_counter."""
        self.run, self.bar, self.group = run, bar, ALONE
        self._began, self._before = began, 0.0
        self._paced = (0, time.perf_counter())
        self.logs, self.saves = Every(log_every), Every(save_every)

    @property
    @abstractmethod
    def done(self) -> int:
        """How much of the run is done."""

    @abstractmethod
    def advance(self) -> None:
        """Go on a little, and do what is due then."""

    @abstractmethod
    def save(self) -> None:
        """A checkpoint, from which the same command continues."""

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, earlier processes included."""
        return self._before + time.perf_counter() - self._began

    def resumed(self, seconds: float, updates: int) -> None:
        """Note that a checkpoint was restored, `seconds` and `updates` into the run."""
        self._before, self._paced = seconds, (updates, time.perf_counter())
        self.logs.last = self.saves.last = self.done
        self.bar.message(f"resumed at {self.done} {self.unit}")

    def pace(self, updates: int) -> float:
        """Updates a second since it was asked last."""
        (before, then), now = self._paced, time.perf_counter()
        self._paced = (updates, now)
        return (updates - before) / max(now - then, 1e-9)

    def run_to(self, total: int) -> None:
        """Advance and save. Raises InterruptedRunError when the process is asked to stop."""
        with StopSignal() as stop:
            while self.done < total:
                self.advance()
                if name := self.group.first_said(stop.name):
                    self.save()
                    raise InterruptedRunError(
                        f"stopped by {name} at {self.done} {self.unit}, saved in "
                        f"{self.run.path}: the same command resumes"
                    )
        self.save_if_new()

    def save_if_new(self) -> None:
        """Save what is not in a checkpoint yet."""
        if self.saves.last != self.done:
            self.save()


def check_settings(
    run: RunDir, record: Mapping[str, Any], free: tuple[str, ...], defaults: Any
) -> None:
    """Raise ConfigError where the run was begun with other settings than those of `record`.

    Those in `free` may differ; what an earlier version did not have counts as in `defaults`.
    """
    if run.config.exists():
        run.ensure_config(record, ignore=(*free, "digest"), defaults=asdict(defaults))


def write_checkpoint(
    run: RunDir,
    step: int,
    arrays: Any,
    about: Mapping[str, Any],
    spec: dict[str, Any],
    progress: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Save a checkpoint of a run and remove those that are too old. Raises StorageError."""
    extra = {PROGRESS: json.dumps(progress).encode(), **(files or {})}
    config = {**about, "versions": installed()}
    checkpoint.save(run.checkpoints, step, arrays, config=config, spec=spec, extra_files=extra)
    checkpoint.prune(run.checkpoints, KEEP)


def read_progress(path: Path, kind: type[T]) -> T:
    """progress.json of a checkpoint, typed. Raises CheckpointError naming the file."""
    try:
        return msgspec.convert(checkpoint.read_table(path, PROGRESS), kind)
    except ValueError as error:
        raise CheckpointError(f"{path / PROGRESS} cannot be used: {error}") from None


def finite(metrics: Mapping[str, Any], updates: int) -> dict[str, float]:
    """Metrics on the host. Raises LearningError when one of them is not finite."""
    values = {k: float(v) for k, v in metrics.items()}
    if bad := [k for k, v in values.items() if not np.isfinite(v)]:
        raise LearningError(
            f"learning diverged: {bad[0]} is {values[bad[0]]} after {updates} updates; the last "
            "checkpoint is intact, lower --learner.learning-rate in a new --run-dir"
        )
    return values
