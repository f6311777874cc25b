"""Points as tasks of a Ray cluster: that of RAY_ADDRESS, or one started here and ended with us.

Ray moves tasks and answers; the process that asks writes the results, so they are those of local
workers. Retries are the queue's too: Ray retries a task that runs out of memory without end.
Ray is imported when a cluster is opened. Nothing is reported to its makers.
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, MutableMapping
from typing import Any

from agents.jobs.children import absolute_paths
from agents.jobs.scheduler import Executor
from agents.jobs.worker import ERROR, KILLED, Answer, imported, reason
from agents.runs.config import ConfigError
from envs import imports

POLL_S = 0.5
START_TRIES = 3
STORE_BYTES = 80 << 20  # Ray's least is 75 MiB; tasks and answers are small


class Ray(Executor):
    """Tasks of one processor each, at most `jobs` at once (0: as many as the cluster has).

    Uses the connection of this process if it has one, else opens one and closes it. Raises
    ConfigError without Ray, or when no cluster answers.
    """

    def __init__(self, jobs: int, recycle: int):
        self._ray = imported("ray", "--executor ray")
        self._flying: dict[Any, str] = {}  # reference to key
        self._cleanup = contextlib.ExitStack()
        with contextlib.ExitStack() as cleanup:
            if not self._ray.is_initialized():
                cleanup.enter_context(_connection(self._ray, jobs))
            self.slots = jobs or max(int(self._ray.cluster_resources().get("CPU", 1)), 1)
            task = _task()  # made in a function, it travels whole: a worker need not import it
            options = {"num_cpus": 1, "max_retries": 0, "max_calls": recycle}
            self._task = self._ray.remote(**options)(task)
            here = tuple(imports.permission()), absolute_paths(sys.path), os.getcwd()
            self._here = self._ray.put(here)
            self._cleanup = cleanup.pop_all()

    def start(self, key: str, task: str) -> None:
        """Submit a task."""
        self._flying[self._task.remote(self._here, task)] = key

    def wait(self) -> list[tuple[str, Answer]]:
        """Answers that have come in; returns after a moment even when there are none."""
        ready, _ = self._ray.wait(list(self._flying), timeout=POLL_S)
        return [(self._flying.pop(done), self._answer(done)) for done in ready]

    def abandon(self) -> None:
        """Kill the processes of the tasks under way."""
        for reference in self._flying:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._flying = {}

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self.abandon()
        self._cleanup.close()

    def _answer(self, reference: Any) -> Answer:
        try:
            return Answer(*self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:  # the worker could not even be called
            return Answer(ERROR, reason(error.cause))
        except self._ray.exceptions.RayError as error:
            return Answer(KILLED, f"ended without an answer ({type(error).__name__})")


def _task() -> Any:
    """The function that Ray runs: finds modules as we do, then answers one task."""

    def answer(here: tuple, task: str) -> list[str]:
        import sys

        permission, paths, folder = here  # Ray puts its driver's working folder on the path
        sys.path[:] = [path for path in sys.path if path != folder or path in paths]
        sys.path.extend(path for path in paths if path not in sys.path)
        from agents.jobs.worker import execute
        from envs import imports

        imports.permit(*permission)
        return list(execute(task))

    return answer


@contextlib.contextmanager
def _connection(ray: Any, jobs: int) -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, or start one with `jobs` processors and end it."""
    address = os.environ.get("RAY_ADDRESS")
    with contextlib.ExitStack() as cleanup:
        if not address:
            folder = cleanup.enter_context(
                tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
            )
        # Ray prints the deaths of workers on standard output, whatever it is told about logs,
        cleanup.enter_context(_held(vars(ray._private.worker), "_worker_logs_enabled", False))
        cleanup.callback(ray.shutdown)
        # and sends usage statistics unless its environment says no when it starts.
        with _held(os.environ, "RAY_USAGE_STATS_ENABLED", "0"), _signals_kept():
            if address:
                _init(ray, f"at RAY_ADDRESS={address}", address=address)
            else:
                _start(ray, jobs, folder)
        yield


def _start(ray: Any, jobs: int, folder: str) -> None:
    """Start a cluster on this machine; on a busy one Ray's own 30 s may not be enough at first."""
    here = {
        "address": "local",
        "num_cpus": jobs or None,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "_temp_dir": folder,
    }
    for _ in range(START_TRIES - 1):
        with contextlib.suppress(ConfigError):
            return _init(ray, "on this machine", **here)
        ray.shutdown()
    _init(ray, "on this machine", **here)


def _init(ray: Any, where: str, **settings: Any) -> None:
    """Ray's start, quietly. Raises ConfigError."""
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **settings)
    except Exception as error:  # Ray has no type for it
        raise ConfigError(f"no Ray cluster {where}: {reason(error)}") from error


@contextlib.contextmanager
def _held(table: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    """An entry of a table has this value while it lasts."""
    before = table.get(name)
    table[name] = value
    try:
        yield
    finally:
        if before is None:
            del table[name]
        else:
            table[name] = before


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; give it back."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
