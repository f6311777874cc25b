"""`train`: run or resume one training in its run directory, then evaluate and report."""

import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from agents.evaluation.evaluate import in_training
from agents.runs import compile as compiling
from agents.runs.config import TrainConfig, digest
from agents.runs.directory import RunDir
from agents.runs.progress import TrainProgress
from agents.runs.signals import InterruptedRunError as InterruptedRunError
from agents.runs.signals import StopSignal
from agents.training.checkpoint import Saver
from agents.training.driver import Episode
from agents.training.finish import finish
from agents.training.parallel.processes import ALONE, Processes
from agents.training.trainer import Trainer

LOG_EVERY = 1_000  # decisions between rows of metrics
FREE_TO_CHANGE = ("run_dir", "video", "env_steps", "save_every", "eval_episodes", "loop", "devices")


class Session:
    """One process's share of a run: its clock, its log and its saves.

    Of several processes at once all do the same, and the first alone evaluates and writes.
    """

    def __init__(
        self, config: TrainConfig, run: RunDir, trainer: Trainer, bar: TrainProgress, began: float
    ):
        self.config, self.run, self.trainer, self.bar = config, run, trainer, bar
        self.group = trainer.group
        self.saver = Saver(run)
        self.wall = {"train_s": 0.0, "total_s": 0.0, "compile_s": 0.0}
        self.began = began
        self.compiled = compiling.Compilations()
        self.saved_at = self.logged_at = self.evaluated_at = 0
        self.logged_updates, self.logged_time = 0, time.perf_counter()

    def open(self) -> None:
        """Begin or resume. Raises ConfigError when the run has other settings."""
        with self.group.guard():
            if self.group.first:
                self._open()
        with self.group.guard():  # the others read what the first has found in order
            if not self.group.first:
                self._restore()
        self.group.check_same(
            str(self.trainer.counters),
            f"the processes do not find the same checkpoint in {self.run.path}: it must be a "
            "directory that all of them share",
        )

    def _open(self) -> None:
        config, run = self.config, self.run
        record = asdict(config) | {"env": self.trainer.spec.to_json(), "digest": digest(config)}
        ignore = (*FREE_TO_CHANGE, "env.versions", "digest")
        run.ensure_config(record, ignore=ignore, defaults=asdict(TrainConfig()))
        self._restore()
        run.write_json(run.config.name, record)

    def _restore(self) -> None:
        """Continue from the newest checkpoint, or begin by clearing half-written metrics."""
        wall = self.saver.restore(self.trainer)
        if wall is None:
            if self.group.first:
                self.run.truncate_metrics(-1)
            return
        self.wall = wall
        steps = self.trainer.counters.env_steps
        self.saved_at = steps
        self.logged_at = steps // LOG_EVERY * LOG_EVERY
        if self.config.eval_every:
            self.evaluated_at = steps // self.config.eval_every * self.config.eval_every
        self.logged_updates = self.trainer.counters.updates
        self.bar.message(f"resumed at {steps} decisions")

    def clock(self) -> dict[str, float]:
        """Wall times of the run so far, earlier processes included."""
        spent = time.perf_counter() - self.began
        return {
            "train_s": self.wall["train_s"] + spent,
            "total_s": self.wall["total_s"] + spent,
            "compile_s": self.wall["compile_s"] + self.compiled.seconds,
        }

    def row(self, kind: str, steps: int | None = None, /, **values: Any) -> None:
        """One row of metrics.jsonl, of now or of the env_steps given."""
        if not self.group.first:
            return
        steps = self.trainer.counters.env_steps if steps is None else steps
        repeat = self.trainer.spec.action_repeat
        stamp = {"env_steps": steps, "frames": steps * repeat, "wall_s": self.clock()["total_s"]}
        self.run.append_metrics({"kind": kind, **stamp, **values})

    def advance(self) -> None:
        """One cycle, or several up to where something is due; and what is due then."""
        ended = self.trainer.advance(self.next_due())
        with self.group.guard():
            for steps, episode in ended:
                self.note(steps, episode)
            self.log_due()
        self.save_due()

    def note(self, steps: int, episode: Episode) -> None:
        """The row of an episode that ended at `steps`."""
        values = {"return": episode.ret, "length": episode.length, "invalid": episode.invalid}
        self.row("episode", steps, **values)
        self.bar.update(steps, **{"return": episode.ret})

    def do_due(self) -> None:
        """Log, evaluate and save where it is time."""
        self.log_due()
        self.save_due()

    def log_due(self) -> None:
        """Log and evaluate where it is time."""
        counters = self.trainer.counters
        if counters.env_steps - self.logged_at >= LOG_EVERY:
            self.logged_at += LOG_EVERY
            self.log()
        every = self.config.eval_every
        if every and counters.env_steps - self.evaluated_at >= every:
            self.evaluated_at += every
            going_on = counters.updates and counters.env_steps < self.config.env_steps
            if going_on and self.group.first:
                self.row("eval", **self.evaluated())

    def evaluated(self) -> dict[str, Any]:
        """Returns of planner and prior as they are now."""
        now, repeat = self.trainer, self.trainer.spec.action_repeat
        return in_training(now.eval_agents, now.deployed, now.net, self.config, repeat)

    def save_due(self) -> None:
        """Save where it is time."""
        if self.trainer.counters.env_steps - self.saved_at >= self.config.save_every:
            self.save()

    def next_due(self) -> int:
        """The env_steps at which the host has something to do."""
        config = self.config
        due = [config.env_steps, self.logged_at + LOG_EVERY, self.saved_at + config.save_every]
        return min(due + [self.evaluated_at + e for e in [config.eval_every] if e])

    def log(self) -> None:
        """Losses and planner reports; the pace since the last row."""
        counters, now = self.trainer.counters, time.perf_counter()
        pace = (counters.updates - self.logged_updates) / max(now - self.logged_time, 1e-9)
        self.logged_updates, self.logged_time = counters.updates, now
        values = self.trainer.read_metrics()
        self.row("train", **values, updates=counters.updates, updates_per_s=pace)
        self.bar.update(counters.env_steps, **values, updates_per_s=pace)

    def save(self) -> None:
        """A checkpoint, from which the same command continues."""
        self.trainer.read_metrics()  # never save a diverged model over a good one
        self.saver.save(self.trainer, self.clock())
        self.saved_at = self.trainer.counters.env_steps


def train(
    config: TrainConfig,
    *,
    console=None,
    json_mode: bool = False,
    began: float | None = None,
    group: Processes = ALONE,
) -> dict[str, Any]:
    """Train to `env_steps`, evaluate, write the run directory; the result as in result.json.

    Resumes a run that was stopped, to the same numbers. Wall times count from `began`, a reading
    of time.perf_counter (default: now). In a `group` of several processes each calls it with the
    same settings; those but the first show and write nothing and give {}. Raises ConfigError,
    CheckpointError, EnvError, StorageError, RunLockedError, LearningError, InterruptedRunError
    and PeerError, each with its exit code and one line.
    """
    began = time.perf_counter() if began is None else began
    group.check_same(
        digest(config),
        "the processes have different settings: give all of them the same but for --process-id",
    )
    with ExitStack() as stack:
        run = RunDir(config.resolved_run_dir)
        with group.guard():
            if group.first:
                stack.enter_context(RunDir.create(run.path))
        compiled = stack.enter_context(compiling.counted())
        with group.guard():
            trainer = Trainer(config, group)
        quiet = json_mode or not group.first
        bar = stack.enter_context(TrainProgress(config.env_steps, console, quiet=quiet))
        session = Session(config, run, trainer, bar, began)
        session.compiled = compiled
        session.open()
        if trainer.seed_steps >= config.env_steps:
            bar.message(
                f"nothing will be learned: the first {trainer.seed_steps} decisions are random "
                f"(--seed-steps), and --env-steps is {config.env_steps}"
            )
        _run_to_end(session)
        with group.guard():
            return finish(config, run, trainer, session.clock, bar) if group.first else {}


def _run_to_end(session: Session) -> None:
    config, counters = session.config, lambda: session.trainer.counters
    with StopSignal() as stop:
        while counters().env_steps < config.env_steps:
            session.advance()
            if name := session.group.first_said(stop.name):
                session.save()
                raise InterruptedRunError(
                    f"stopped by {name} at {counters().env_steps} decisions, saved in "
                    f"{session.run.path}: the same command resumes"
                )
    if session.saved_at != counters().env_steps:
        session.save()
