"""Run points: skip what is finished, spread the rest over workers, retry the killed, keep results.

    with JobQueue("agents.benchmarks.cases:execute", "runs/sweep", jobs=2) as session:
        first = session.submit(points)         # outcomes in the order of `points`
        rest = session.submit(next_round)      # the workers are still warm

The results and the files do not depend on the executor, the number of jobs or the order. Imports no
jax.
"""

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from agents.jobs.local import LocalWorkers
from agents.jobs.scheduler import Executor, InProcess, answers
from agents.jobs.store import Store, key_of
from agents.jobs.worker import OK, Answer, task_text
from agents.runs.bounds import Some, check
from agents.runs.settings import unknown

EXECUTORS = ("local", "ray", "slurm")


@dataclass(frozen=True)
class JobResult:
    """The outcome of a point: a result, or None and why in one line.

    `cached` says that it was finished before.
    """

    point: Mapping[str, Any]
    key: str
    result: dict[str, Any] | None = None
    error: str = ""
    cached: bool = False


class JobQueue:
    """Workers kept alive, and the results they made, over several calls of `submit`.

    `worker` is "module:function"; `jobs` how many points at once (0: in this process, one after
    another; on Ray and SLURM as many as there is room for); a point whose process is killed is
    tried `retries` times more; a process is replaced after `recycle` points. `on_done(key, point,
    outcome)` is called for every outcome as it comes, cached ones included. `options` go to the
    executor.

    A context manager: it holds the lock of the directory (RunLockedError if another process does)
    and turns SIGTERM into KeyboardInterrupt. Raises ConfigError for an unknown executor.
    """

    def __init__(
        self,
        worker: str,
        directory: Path | str,
        *,
        executor: str = "local",
        jobs: int = 1,
        retries: int = 2,
        recycle: int = 32,
        on_done: Callable[[str, Mapping[str, Any], JobResult], object] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        known_executor(executor)
        for name, value in (("jobs", jobs), ("retries", retries), ("recycle", recycle - 1)):
            check(name, value, Some)
        self.worker, self.store = worker, Store(directory)
        self._how = (executor, jobs, recycle, dict(options or {}))
        self._retries, self._on_done = retries, on_done
        self._executor: Executor | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(self.store)
            cleanup.enter_context(_sigterm_interrupts())
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._cleanup.close()

    def submit(self, points: Iterable[Mapping[str, Any]]) -> list[JobResult]:
        """Outcomes in the order of `points`, when all have one.

        Raises KeyboardInterrupt when interrupted (what is done is kept, the workers are killed)
        and StorageError when a result cannot be written.
        """
        keyed = [(key_of(point), point) for point in points]
        todo: dict[str, Mapping[str, Any]] = {}
        outcomes: dict[str, JobResult] = {}
        for key, point in dict(keyed).items():
            if (result := self.store.result(key)) is None:
                todo[key] = point
            else:
                self._finish(outcomes, JobResult(point, key, result, cached=True))
        if todo:
            self._run(todo, outcomes)
        return [outcomes[key] for key, _ in keyed]

    def _run(self, todo: dict[str, Mapping[str, Any]], outcomes: dict[str, JobResult]) -> None:
        tasks = {key: task_text(self.worker, point) for key, point in todo.items()}
        with contextlib.closing(answers(self._open(), tasks, self._retries)) as final:
            for key, answer in final:
                self._finish(outcomes, self._keep(key, todo[key], answer))

    def _finish(self, outcomes: dict[str, JobResult], outcome: JobResult) -> None:
        outcomes[outcome.key] = outcome
        if self._on_done:
            self._on_done(outcome.key, outcome.point, outcome)

    def _keep(self, key: str, point: Mapping[str, Any], answer: Answer) -> JobResult:
        """Write down how a point ended."""
        if answer.status == OK:
            result = json.loads(answer.text)
            self.store.write(key, point, result)
            return JobResult(point, key, result)
        self.store.write_failure(key, point, answer.text)
        return JobResult(point, key, error=answer.text)

    def _open(self) -> Executor:
        """The executor, made when there is work for it."""
        if self._executor is None:
            self._executor = _make(*self._how, directory=self.store.directory)
            self._cleanup.callback(self._executor.close)
        return self._executor


def known_executor(executor: str) -> None:
    """Raise ConfigError for an unknown executor."""
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS, f"expected {', '.join(EXECUTORS)}")


def _make(
    executor: str, jobs: int, recycle: int, options: dict[str, Any], directory: Path
) -> Executor:
    """An executor by name. Raises ConfigError when what it needs is missing."""
    if executor == "ray":
        from agents.jobs.ray_cluster import Ray

        return Ray(jobs, recycle, **options)
    if executor == "slurm":
        from agents.jobs.slurm import Slurm

        return Slurm(jobs, directory, **options)
    return LocalWorkers(jobs, recycle) if jobs else InProcess()


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does (in the main thread, which gets signals)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_) -> NoReturn:
    raise KeyboardInterrupt
