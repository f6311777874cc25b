"""Worker processes on this machine: fresh interpreters (never forks), each doing many points.

A process keeps what it has imported and compiled from one point to the next and is replaced
after `recycle` points. It leads a process group of its own: Ctrl-C at the terminal reaches only
the parent, and killing a worker kills what it started.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait

from agents.jobs import children
from agents.jobs.scheduler import Executor
from agents.jobs.worker import KILLED, Answer

POLL_S = 0.5  # how often a worker's death is looked for when its socket does not tell
EXIT_S = 5.0  # what idle workers get to end by themselves
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class LocalWorkers(Executor):
    """`slots` worker processes, started when there is work for them."""

    def __init__(self, jobs: int, recycle: int = 32):
        self.slots = jobs
        self.recycle = recycle
        self._workers: dict[int, _Worker] = {}  # by slot
        self._leaving: list[_Worker] = []

    def start(self, key: str, task: str) -> None:
        """Hand a task to an idle worker."""
        slot = self._free_slot()
        worker = self._workers.get(slot)
        if worker is None or not worker.send(key, task):
            if worker is not None:
                worker.kill()
            worker = self._workers[slot] = _Worker(share_of_cores(slot, self.slots))
            worker.send(key, task)  # should that fail, `wait` finds the worker dead

    def wait(self) -> list[tuple[str, Answer]]:
        """Answers that have come in; returns after a moment even when there are none."""
        busy = {s: w for s, w in self._workers.items() if w.key}
        ready = wait([w.connection for w in busy.values()], POLL_S)
        self._leaving = [w for w in self._leaving if w.process.poll() is None]
        answers = []
        for slot, worker in busy.items():
            if worker.connection in ready or worker.process.poll() is not None:
                key, answer = worker.key, worker.receive()
                answers.append((key, answer))
                if answer.status == KILLED:
                    del self._workers[slot]
                elif worker.done >= self.recycle:
                    self._leaving.append(self._workers.pop(slot).dismiss())
        return answers

    def abandon(self) -> None:
        """Kill the workers that are at work."""
        for slot in [s for s, w in self._workers.items() if w.key]:
            self._workers.pop(slot).kill()

    def close(self) -> None:
        """End all workers."""
        self.abandon()
        leaving = self._leaving + [w.dismiss() for w in self._workers.values()]
        self._workers, self._leaving = {}, []
        deadline = time.monotonic() + EXIT_S
        for worker in leaving:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(deadline - time.monotonic(), 0))
            if worker.process.poll() is None:
                worker.kill()

    def _free_slot(self) -> int:
        """An idle worker's slot if there is one, else an empty one."""
        idle = [slot for slot, worker in self._workers.items() if not worker.key]
        empty = (slot for slot in range(self.slots) if slot not in self._workers)
        return idle[0] if idle else next(empty)


class _Worker:
    """One worker process, and the key of the point it is at ("" when idle)."""

    def __init__(self, cores: Sequence[int]):
        self.key = ""
        self.done = 0
        ours, theirs = socket.socketpair()
        with theirs:
            self.connection = Connection(ours.detach())
            answering = "agents.jobs.worker:main", theirs.fileno(), list(cores)
            self.process = subprocess.Popen(
                children.calling(*answering),
                stdin=subprocess.DEVNULL,
                stdout=2,  # the parent's standard output is for results
                env=_thread_limits(len(cores)) | os.environ,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )

    def send(self, key: str, task: str) -> bool:
        """Give it a task; False if the process is gone."""
        self.key = key
        if self.process.poll() is not None:  # what it started may hold its socket open
            return False
        try:
            self.connection.send_bytes(task.encode())
        except OSError:
            return False
        return True

    def receive(self) -> Answer:
        """Its answer, or how it died."""
        try:
            if not self.connection.poll():  # what the dead process started holds its socket open
                raise EOFError
            answer = Answer(*json.loads(self.connection.recv_bytes()))
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL_S)
            return Answer(KILLED, _ending(self.kill()))
        self.key = ""
        self.done += 1
        return answer

    def dismiss(self) -> "_Worker":
        """Let it end by itself."""
        self.connection.close()
        return self

    def kill(self) -> int:
        """End it and what it started; returns its exit status, minus the signal if killed."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.connection.close()
        return self.process.wait()


def share_of_cores(slot: int, jobs: int) -> list[int]:
    """Cores for one of `jobs` workers: an equal part of those this process may use.

    Empty (no limit) for a single worker and where the system cannot say.
    """
    if jobs < 2 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        return [cores[slot % len(cores)]]
    return cores[slot * len(cores) // jobs : (slot + 1) * len(cores) // jobs]


def _thread_limits(cores: int) -> dict[str, str]:
    """Environment that keeps numeric libraries to that many threads (0: no limit)."""
    return dict.fromkeys(THREADS, str(cores)) if cores else {}


def _ending(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
