"""`train`: run or resume one training in its run directory, then evaluate and report."""

import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from agents.evaluation.evaluate import in_training
from agents.runs import compile as compiling
from agents.runs import task_files
from agents.runs.config import ConfigError, TrainConfig, digest
from agents.runs.directory import RunDir
from agents.runs.progress import TrainProgress
from agents.runs.signals import InterruptedRunError as InterruptedRunError
from agents.storage import checkpoint
from agents.training.checkpoint import Saver
from agents.training.driver import Episode
from agents.training.finish import finish
from agents.training.parallel.distributed import make_distributed
from agents.training.parallel.processes import ALONE, Processes
from agents.training.session import Every, Session, check_settings
from agents.training.trainer import Trainer
from envs.imports import DESCRIPTION
from envs.spec import EnvError
from envs.tasks import native_task
from envs.tasks.stored import read_description

LOG_EVERY = 1_000  # decisions between rows of metrics
INVALID_EPISODES = 20  # without a valid one among them a training ends
FREE_TO_CHANGE = tuple(
    "run_dir video env_steps save_every eval_episodes loop devices changed_task".split()
)


def open_trainer(config: TrainConfig, run: RunDir, group: Processes = ALONE) -> Trainer:
    """The trainer of a run, at its beginning.

    Raises ConfigError, before any network is built, when the run has other settings, or its task
    was another.
    """
    env = make_distributed(config, group)
    if group.first:
        record = asdict(config) | {"env": env.env_spec.to_json()}
        check_settings(run, record, (*FREE_TO_CHANGE, "env.versions"), TrainConfig())
        if not config.changed_task:
            check_task(run, config.env_id)
    return Trainer(config, group, env)


def check_task(run: RunDir, env_id: str) -> None:
    """Raise ConfigError where the user's own task has changed since the newest checkpoint."""
    newest = next(iter(checkpoint.committed(run.checkpoints)), None)
    stored = newest and task_files.read(newest)
    task = native_task(env_id) if stored else None
    if stored and task and (what := task_files.changed(stored.about, task, task())):
        raise ConfigError(
            f"{env_id}: {what} has changed since {newest}: undo that, use another --run-dir, or "
            "give --changed-task to go on with the task as it is"
        )


class TrainSession(Session):
    """One process's part of a training.

    Of several processes at once all do the same, and the first alone evaluates and writes.
    """

    unit = "decisions"

    def __init__(
        self,
        run: RunDir,
        trainer: Trainer,
        bar: TrainProgress,
        began: float,
        compiled: compiling.Compilations,
    ):
        self.config, self.trainer = trainer.config, trainer
        super().__init__(run, bar, began, LOG_EVERY, self.config.save_every)
        self.evals, self.group = Every(self.config.eval_every), trainer.group
        self.saver, self._compiled, self._compile_s = Saver(run), compiled, 0.0

    @property
    def done(self) -> int:
        """Decisions so far."""
        return self.trainer.counters.env_steps

    def open(self) -> None:
        """Begin or resume. Raises CheckpointError."""
        with self.group.guard():
            if self.group.first:
                self._restore()
                record = asdict(self.config) | {"env": self.trainer.spec.to_json()}
                record["digest"] = digest(self.config)
                self.run.write_json(self.run.config.name, record)
                self._tell_of_task()
        with self.group.guard():  # the others read what the first has found in order
            if not self.group.first:
                self._restore()
        env = self.trainer.driver.env
        for note in env.notes:
            self.bar.message(note)
        if env.unsaved:
            self.bar.message(
                f"the state of {env.env_spec.env_id} cannot be saved ({env.unsaved}): a run that "
                "resumes begins new episodes"
            )
        self.group.check_same(
            str(self.trainer.counters),
            f"the processes do not find the same checkpoint in {self.run.path}: it must be a "
            "directory that all of them share",
        )

    def _tell_of_task(self) -> None:
        """Say so if the run will need the task's file elsewhere."""
        files = task_files.files_of(self.config.env_id)
        if files and (why := read_description(files[DESCRIPTION], self.config.env_id).why):
            self.bar.message(f"elsewhere this run will need the task's file: {why}")

    def _restore(self) -> None:
        """Continue from the newest checkpoint, or begin by clearing half-written metrics."""
        wall = self.saver.restore(self.trainer)
        if wall is not None:
            self._compile_s = wall.get("compile_s", 0.0)
            self.evals.last = self.done
            self.resumed(wall.get("total_s", 0.0), self.trainer.counters.updates)
        elif self.group.first:
            self.run.truncate_metrics(-1)

    def clock(self) -> dict[str, float]:
        """Wall times of the run so far, earlier processes included."""
        return {"total_s": self.seconds, "compile_s": self._compile_s + self._compiled.seconds}

    def advance(self) -> None:
        """One cycle, or several up to where something is due; and what is due then."""
        each = (self.logs, self.saves, self.evals)
        due = min([self.config.env_steps, *(every.next for every in each)])
        env, between = self.trainer.driver.env, False
        try:
            ended = self.trainer.advance(int(due))
            between = True
            self.account(ended)
        except EnvError as error:
            raise type(error)(
                f"{error}; {self._saved(between or bool(env.restarts.all()))}"
            ) from error

    def _saved(self, now: bool) -> str:
        """What is kept of a run whose simulators failed: if `now`, all that came before.

        In one program the replay is ahead of the counts then, and in several processes others may
        be in their step: there it is the last checkpoint.
        """
        if now and self.trainer.fused is None and self.group.count == 1 and self.done:
            self.save_if_new()
        at = f"saved at {self.saves.last} decisions" if self.saves.last else "nothing was saved yet"
        return f"{at} in {self.run.path}: the same command resumes"

    def account(self, ended: list[tuple[int, Episode]]) -> None:
        """Note the episodes that ended, each at its env_steps, and do what is due."""
        with self.group.guard():
            for steps, episode in ended:
                values = {"return": episode.ret, "length": episode.length}
                self._row("episode", steps, **values, invalid=episode.invalid)
                self.bar.update(steps, **{"return": episode.ret})
            self._log_and_evaluate()
        if self.done >= self.saves.next:
            self.save()

    def _row(self, kind: str, steps: int, /, **values: Any) -> None:
        """One row of metrics.jsonl, of `steps` decisions."""
        if self.group.first:
            frames = steps * self.trainer.spec.action_repeat
            stamp = {"env_steps": steps, "frames": frames, "wall_s": self.seconds}
            self.run.append_metrics({"kind": kind, **stamp, **values})

    def _log_and_evaluate(self) -> None:
        now, steps, updates = self.trainer, self.done, self.trainer.counters.updates
        if self.logs.take(steps):
            require_valid(now, least=INVALID_EPISODES)
            values, pace = now.read_metrics(), self.pace(updates)
            self._row("train", steps, **values, updates=updates, updates_per_s=pace)
            self.bar.update(steps, **values, updates_per_s=pace)
        going_on = updates and steps < self.config.env_steps
        if self.evals.take(steps) and going_on and self.group.first:
            repeat = now.spec.action_repeat
            found = in_training(now.eval_agents, now.deployed, now.net, self.config, repeat)
            self._row("eval", steps, **found)

    def save(self) -> None:
        """A checkpoint, from which the same command continues."""
        self.trainer.read_metrics()  # never save a diverged model over a good one
        self.saver.save(self.trainer, self.clock())
        self.saves.last = self.done


def require_valid(trainer: Trainer, least: int = 1) -> None:
    """Raise EnvError when all of at least so many episodes were ended as invalid, and why."""
    counts, env = trainer.counters, trainer.driver.env
    if counts.episodes < least or counts.invalid_episodes < counts.episodes:
        return
    reasons = "; ".join(f"{why} ({times} times)" for why, times in env.faults.most_common(3))
    raise EnvError(
        f"{env.env_spec.env_id}: all {counts.episodes} episodes so far are invalid, "
        f"nothing can be learned: {reasons or 'MuJoCo warned of an unstable simulation'}"
    )


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
            trainer = open_trainer(config, run, group)
        quiet = json_mode or not group.first
        bar = stack.enter_context(TrainProgress(config.env_steps, console, quiet=quiet))
        session = TrainSession(run, trainer, bar, began, compiled)
        session.open()
        if trainer.seed_steps >= config.env_steps:
            bar.message(
                f"nothing will be learned: the first {trainer.seed_steps} decisions are random "
                f"(--seed-steps), and --env-steps is {config.env_steps}"
            )
        session.run_to(config.env_steps)
        require_valid(trainer)
        with group.guard():
            return finish(trainer, run, bar, session.clock) if group.first else {}
