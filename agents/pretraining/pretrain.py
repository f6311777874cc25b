"""`pretrain`: run or resume one reward-free training in its run directory."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from agents.data.augment import Augmented
from agents.data.dataset import Data, Dataset
from agents.data.hue import hue_jitter
from agents.data.rotation import random_rotation
from agents.pretraining.pretrainer import Pretrainer
from agents.runs import compile as compiling
from agents.runs import load_pretrained
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.pretrain_config import KIND, PretrainConfig, digest
from agents.runs.progress import TrainProgress
from agents.storage import checkpoint
from agents.training.session import Session, check_settings, read_progress, write_checkpoint
from wm.jepa.frozen import PLAIN, Frozen, own

FREE_TO_CHANGE = ("run_dir", "data", "save_every", "env.versions", "data_info", "versions")


class _Progress(msgspec.Struct):
    """Content of progress.json of a pretraining."""

    wall_s: float
    latest: dict[str, float | bool | None]


class _PretrainSession(Session):
    """A pretraining; `about` is stored beside its settings."""

    unit = "updates"

    def __init__(
        self,
        run: RunDir,
        trainer: Pretrainer,
        bar: TrainProgress,
        began: float,
        about: dict[str, Any],
    ):
        self.config, self.trainer, self.about = trainer.config, trainer, about
        super().__init__(run, bar, began, self.config.log_every, self.config.save_every)
        self.latest: Mapping[str, float | bool | None] = {}

    @property
    def done(self) -> int:
        """Updates so far."""
        return self.trainer.updates

    def restore(self) -> None:
        """Continue from the newest checkpoint, or begin by clearing half-written metrics."""
        path = checkpoint.recover(self.run.checkpoints)
        if path is not None:
            self.trainer.state = checkpoint.restore(path, {"train": self.trainer.state})["train"]
            self.trainer.updates = int(self.trainer.state.updates)
            progress = read_progress(path, _Progress)
            self.latest = progress.latest
            self.resumed(progress.wall_s, self.done)
        self.run.truncate_metrics(self.done if path else -1, "updates")

    def advance(self) -> None:
        """One call of updates, and what is due after it."""
        self.trainer.advance()
        if self.logs.take(self.done) or self.done >= self.config.updates:
            self._log()
        if self.done >= self.saves.next:
            self.save()

    def _log(self) -> None:
        """Losses, validation and the collapse monitor; the pace since the last row."""
        values = self.trainer.read_metrics()
        pace = self.pace(self.done)
        values |= self.trainer.validate()
        if values["latent/alarm"] and not self.latest.get("latent/alarm"):
            self.bar.message(
                f"latents have collapsed at {self.done} updates: effective rank "
                f"{values['latent/effective_rank']:.2f} of {self.trainer.net.latent_dim}, mean "
                f"std {values['latent/std_mean']:.3g}"
            )
        self.latest = values
        row = {"kind": "pretrain", "updates": self.done, "wall_s": self.seconds}
        self.run.append_metrics({**row, **values, "updates_per_s": pace})
        self.bar.update(self.done, **values, updates_per_s=pace)
        self.pace(self.done)  # the next one begins after the validation

    def save(self) -> None:
        """A checkpoint, from which the same command continues."""
        self.trainer.read_metrics()  # never save a diverged model over a good one
        settings = {"settings": asdict(self.config), "digest": digest(self.config)}
        about = {"kind": KIND, **settings, "data_info": self.about["data_info"]}
        progress = {"wall_s": self.seconds, "latest": self.latest}
        arrays = {"train": self.trainer.state}
        write_checkpoint(self.run, self.done, arrays, about, self.about["env"], progress)
        self.saves.last = self.done


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
    run = RunDir.create(config.resolved_run_dir)
    with run, compiling.counted() as compiled:
        record = asdict(config) | {"kind": KIND, "env": env}
        check_settings(run, record, FREE_TO_CHANGE, PretrainConfig())
        frozen = frozen or encoder_of_run(config.model.frozen_file)
        trainer = Pretrainer(config, data, frozen)
        shapes = trainer.net.spec
        info |= {"frame_shape": shapes.frame_shape, "action_dim": shapes.action_dim}
        if isinstance(trainer.net.encoder, Frozen):
            info["frozen"] = trainer.net.encoder.about
        record |= {"data_info": info, "digest": digest(config)}
        with TrainProgress(config.updates, console, quiet=json_mode) as bar:
            session = _PretrainSession(run, trainer, bar, began, record)
            session.restore()
            run.write_json(run.config.name, record)
            session.run_to(config.updates)
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
    data = Dataset.open(config.data)
    wanted = [random_rotation(data.spec)] if config.rotation_augmentation else []
    wanted += [hue_jitter(config.hue_jitter)] if config.hue_jitter else []
    return Augmented(data, *wanted), data.spec.to_json(), {"path": str(config.data)}


def _finish(session: _PretrainSession, compile_s: float) -> dict[str, Any]:
    """Write and return result.json."""
    trainer, config = session.trainer, session.config
    result = {
        "objective": config.objective,
        "data": config.data,
        "updates": trainer.updates,
        "num_params": trainer.num_params,
        "total_s": session.seconds,
        "compile_s": compile_s,
        "collapsed": bool(session.latest.get("latent/alarm")),
        **session.latest,
        "digest": digest(config),
    }
    session.run.write_json(session.run.result.name, result)
    return result
