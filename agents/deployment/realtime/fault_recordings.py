"""Recordings of faults, written while the run goes on: the last few stay on disk.

Writing happens in a thread of its own, as a control loop waits for no disk. A disk that fails or
lags costs recordings, never ticks; what it cost is told at the end.
"""

import contextlib
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from agents.deployment.controller import Controller
from agents.deployment.realtime.recorder import Recorder, Snapshot, write
from agents.storage.files import StorageError

MAX_WAITING = 3
"""Recordings that are being written or wait in memory; more are dropped and counted."""


class FaultRecordings(contextlib.AbstractContextManager):
    """Keeps the last `most` recordings of a run's faults as `out`/fault-NNNN.

    As a context manager it writes what is left at its end. `keep` is a `Recorder`'s. `kept` has
    path and reason of each that is on disk, oldest first; `dropped` counts those that could not
    be written, or not in time; `problem` is what the disk said last.
    """

    def __init__(self, out: Path, where: str, most: int):
        self.kept: list[tuple[str, str]] = []
        self.dropped, self.problem = 0, ""
        self._out, self._where, self._most, self._number = out, where, most, 0
        self._writer = ThreadPoolExecutor(1, "recordings")
        self._writing: list[Future] = []

    def keep(self, recorder: Recorder, controller: Controller) -> None:
        """Take a recording as it is now; it is written by and by."""
        if self.waiting >= MAX_WAITING:
            self.dropped += 1
            return
        snapshot = recorder.snapshot(controller, self._where)
        self._writing.append(self._writer.submit(self._write, snapshot))

    @property
    def waiting(self) -> int:
        """Recordings that are not on disk yet."""
        self._writing = [one for one in self._writing if not one.done()]
        return len(self._writing)

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()

    def _write(self, snapshot: Snapshot) -> None:
        path = self._unused()
        try:
            write(path, snapshot)
        except StorageError as error:
            self.dropped, self.problem = self.dropped + 1, str(error)
            shutil.rmtree(path, ignore_errors=True)
            return
        self.kept.append((str(path), snapshot.about["reason"]))
        while len(self.kept) > self._most:  # all of them made by this run
            shutil.rmtree(self.kept.pop(0)[0], ignore_errors=True)

    def _unused(self) -> Path:
        """The next name; those of an earlier run in the same directory stay."""
        while True:
            self._number += 1
            path = self._out / f"fault-{self._number:04d}"
            if not path.exists():
                return path
