"""`pretrain`: run or resume one reward-free training in its run directory."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from agents.data.dataset import Data
from agents.pretraining.pretrainer import Pretrainer
from agents.runs import compile as compiling
from agents.runs import load_pretrained
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.pretrain_config import KIND, PretrainConfig, digest
from agents.runs.progress import TrainProgress
from agents.runs.signals import InterruptedRunError, StopSignal
from agents.runs.versions import installed
from agents.storage import checkpoint
from agents.training.checkpoint import read_progress
from wm.jepa.frozen import PLAIN, Frozen, own

KEEP = 2
PROGRESS = "progress.json"
FREE_TO_CHANGE = ("run_dir", "data", "save_every", "env.versions", "data_info", "versions")


class _Progress(msgspec.Struct):
    """What progress.json of a pretraining holds."""

    wall_s: float
    latest: dict[str, float | bool | None]


class _Session:
    """One process's share of a run: its clock, its log and its saves."""

    def __init__(
        self, run: RunDir, trainer: Pretrainer, bar: TrainProgress, about: dict[str, Any], began
    ):
        self.config, self.run, self.trainer, self.bar = trainer.config, run, trainer, bar
        self.about, self.began, self.before = about, began, 0.0
        self.saved_at = self.logged_at = 0
        self.paced = (0, time.perf_counter())
        self.latest: Mapping[str, float | bool | None] = {}

    def seconds(self) -> float:
        """Wall time of the run so far, earlier processes included."""
        return self.before + time.perf_counter() - self.began

    def restore(self) -> None:
        """Continue from the newest checkpoint, or begin by clearing half-written metrics."""
        path = checkpoint.recover(self.run.checkpoints)
        if path is None:
            self.run.truncate_metrics(-1, "updates")
            return
        self.trainer.state = checkpoint.restore(path, {"train": self.trainer.state})["train"]
        self.trainer.updates = int(self.trainer.state.updates)
        progress = read_progress(path, _Progress)
        self.before, self.latest = progress.wall_s, progress.latest
        self.saved_at = self.trainer.updates
        self.logged_at = self.trainer.updates // self.config.log_every * self.config.log_every
        self.paced = (self.trainer.updates, time.perf_counter())
        self.run.truncate_metrics(self.trainer.updates, "updates")
        self.bar.message(f"resumed at {self.trainer.updates} updates")

    def advance(self) -> None:
        """One call of updates, and what is due after it."""
        self.trainer.advance()
        done = self.trainer.updates
        if done - self.logged_at >= self.config.log_every or done >= self.config.updates:
            self.logged_at = done // self.config.log_every * self.config.log_every
            self.log()
        if done - self.saved_at >= self.config.save_every:
            self.save()

    def log(self) -> None:
        """Losses, validation and the collapse monitor; the pace since the last row."""
        done, now = self.trainer.updates, time.perf_counter()
        values = self.trainer.read_metrics()
        pace = (done - self.paced[0]) / max(time.perf_counter() - self.paced[1], 1e-9)
        values |= self.trainer.validate()
        if values["latent/alarm"] and not self.latest.get("latent/alarm"):
            self.bar.message(
                f"latents have collapsed at {done} updates: effective rank "
                f"{values['latent/effective_rank']:.2f} of {self.trainer.net.latent_dim}, mean "
                f"std {values['latent/std_mean']:.3g}"
            )
        self.latest = values
        row = {"kind": "pretrain", "updates": done, "wall_s": self.seconds()}
        self.run.append_metrics({**row, **values, "updates_per_s": pace})
        self.bar.update(done, **values, updates_per_s=pace)
        self.paced = (done, now if done == 0 else time.perf_counter())

    def save(self) -> None:
        """A checkpoint, from which the same command continues."""
        self.trainer.read_metrics()  # never save a diverged model over a good one
        progress = {"wall_s": self.seconds(), "latest": self.latest}
        checkpoint.save(
            self.run.checkpoints,
            self.trainer.updates,
            {"train": self.trainer.state},
            config={
                "kind": KIND,
                "settings": asdict(self.config),
                "digest": digest(self.config),
                "versions": installed(),
                "data_info": self.about["data_info"],
            },
            spec=self.about["env"],
            extra_files={PROGRESS: json.dumps(progress).encode()},
        )
        checkpoint.prune(self.run.checkpoints, KEEP)
        self.saved_at = self.trainer.updates


def pretrain(
    config: PretrainConfig,
    *,
    data: Data | None = None,
    frozen: Frozen | None = None,
    console=None,
    json_mode: bool = False,
    began: float | None = None,
) -> dict[str, Any]:
    """Train for `updates`, write the run directory; the result as in result.json.

    `data` replaces the folder that config.data names, `frozen` the file of a frozen encoder.
    Resumes a run that was stopped, to the same numbers. Raises ConfigError, CheckpointError,
    StorageError, RunLockedError, LearningError and InterruptedRunError, each with its exit code
    and one line.
    """
    began = time.perf_counter() if began is None else began
    data, env, info = _open(config) if data is None else (data, {}, {})
    frozen = frozen or encoder_of_run(config.model.frozen_file)
    run = RunDir.create(config.resolved_run_dir)
    with run, compiling.counted() as compiled:
        trainer = Pretrainer(config, data, frozen)
        shapes = {"frame_shape": trainer.net.spec.frame_shape}
        info = {**info, **shapes, "action_dim": trainer.net.spec.action_dim}
        if isinstance(trainer.net.encoder, Frozen):
            info["frozen"] = trainer.net.encoder.about
        about = {"kind": KIND, "env": env, "data_info": info}
        record = asdict(config) | about | {"digest": digest(config)}
        ignore, defaults = (*FREE_TO_CHANGE, "digest"), asdict(PretrainConfig())
        run.ensure_config(record, ignore=ignore, defaults=defaults)
        with TrainProgress(config.updates, console, quiet=json_mode) as bar:
            session = _Session(run, trainer, bar, about, began)
            session.restore()
            run.write_json(run.config.name, record)
            _run_to_end(session)
            return _finish(session, compiled.seconds)


def encoder_of_run(path: str) -> Frozen | None:
    """The encoder of a pretrain run; None where `path` is no folder.

    Raises ConfigError, CheckpointError.
    """
    if not Path(path or "-").is_dir():
        return None
    run = load_pretrained.load(path)
    try:
        size = PLAIN._replace(size=run.net.spec.frame_shape[0])
        return own(run.net.config, run.params["encoder"], size)
    except ValueError as error:
        raise ConfigError(f"model.frozen_file {path}: {error}") from error


def _open(config: PretrainConfig) -> tuple[Data, dict[str, Any], dict[str, Any]]:
    """The dataset, its environment's spec and what to remember of it. Raises ConfigError."""
    if not config.data:
        raise ConfigError("which data? give the folder that `latentmpc collect ENV` made")
    from agents.data.dataset import Dataset
    from agents.data.hue import Recoloured
    from agents.data.rotation import Turned

    data = Dataset.open(config.data)
    seen = Turned(data) if config.rotation_augmentation else data
    if config.hue_jitter:
        seen = Recoloured(seen, config.hue_jitter)
    return seen, data.spec.to_json(), {"path": str(config.data)}


def _run_to_end(session: _Session) -> None:
    with StopSignal() as stop:
        while session.trainer.updates < session.config.updates:
            session.advance()
            if stop.name:
                session.save()
                raise InterruptedRunError(
                    f"stopped by {stop.name} at {session.trainer.updates} updates, saved in "
                    f"{session.run.path}: the same command resumes"
                )
    if session.saved_at != session.trainer.updates:
        session.save()


def _finish(session: _Session, compile_s: float) -> dict[str, Any]:
    """Write and return result.json."""
    trainer, config = session.trainer, session.config
    result = {
        "objective": config.objective,
        "data": config.data,
        "updates": trainer.updates,
        "num_params": trainer.num_params,
        "total_s": session.seconds(),
        "compile_s": compile_s,
        "collapsed": bool(session.latest.get("latent/alarm")),
        **session.latest,
        "digest": digest(config),
    }
    session.run.write_json(session.run.result.name, result)
    return result
