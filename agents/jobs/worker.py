"""The worker: one process that does point after point.

A task is the JSON text of [worker, point]; its answer says how it ended. Imports no jax: the
worker's own module does, in the process that runs it.
"""

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NamedTuple

from agents.jobs.children import named
from agents.jobs.store import canonical
from agents.runs.config import ConfigError

OK, ERROR, KILLED = "ok", "error", "killed"


class Answer(NamedTuple):
    """How one try of a point ended.

    `status` is OK (text: the result as JSON), ERROR (the worker raised; text: why, in one line)
    or KILLED (its process ended without an answer; text: how).
    """

    status: str
    text: str


def task_text(worker: str, point: Mapping[str, Any]) -> str:
    """A task as it travels."""
    return canonical([worker, point])


def execute(task: str) -> Answer:
    """Run one task in this process; what it prints goes to standard error.

    Whatever the worker raises becomes an answer, KeyboardInterrupt excepted.
    """
    worker, point = json.loads(task)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = named(worker)(point)
            if not isinstance(result, Mapping):
                raise TypeError(f"{worker} returned a {type(result).__name__}, expected a dict")
            return Answer(OK, canonical(result))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if os.environ.get("LATENTMPC_DEBUG"):
            traceback.print_exc()
        return Answer(ERROR, reason(error))


def reason(error: BaseException) -> str:
    """An exception in one line; those meant for users need no type."""
    text = " ".join(str(error).split())
    if isinstance(getattr(error, "exit_code", None), int):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def imported(package: str, user: str) -> ModuleType:
    """A package of the extra `cluster`. Raises ConfigError with what to type without it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{user} needs the package {error.name}, which is not installed: "
            "pip install 'latentmpc[cluster]'"
        ) from None


def main(descriptor: int, cores: list[int]) -> None:
    """Answer the tasks that come through an inherited socket until it is closed.

    `cores` are the processor cores to keep to (empty: all). The process ends, with what it
    started, when the parent does, even in the middle of a task.
    """
    os.set_inheritable(descriptor, False)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    tasks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    busy = threading.Event()
    with Connection(descriptor) as connection:
        threading.Thread(target=_listen, args=(connection, tasks, busy), daemon=True).start()
        while (task := tasks.get()) is not None:
            answer = execute(task.decode())
            busy.clear()
            with contextlib.suppress(BrokenPipeError):
                connection.send_bytes(json.dumps(answer).encode())


def _listen(connection: Connection, tasks: queue.SimpleQueue, busy: threading.Event) -> None:
    """Queue what arrives; a socket closed in the middle of a task means that the parent died."""
    while True:
        try:
            task = connection.recv_bytes()
        except (EOFError, OSError):
            if busy.is_set():
                os.killpg(0, signal.SIGKILL)
            return tasks.put(None)
        busy.set()
        tasks.put(task)
