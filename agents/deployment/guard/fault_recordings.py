"""Recordings of faults, written while the run goes on: the last few stay on disk.

Writing happens in a thread of its own, as a control loop waits for no disk. A disk that fails or
lags costs recordings, never ticks; what it cost is told at the end.
"""

import queue
import shutil
import threading
from pathlib import Path

from agents.deployment.controller import Controller
from agents.deployment.realtime.recorder import Recorder, Snapshot, write
from agents.storage.files import StorageError

WAITING = 2
"""Recordings in memory that the disk is behind with; more are dropped and counted."""


class FaultRecordings:
    """Keeps the last `most` recordings of a run's faults as `out`/fault-NNNN.

    As a context manager it writes what is left at its end. `keep` is a `Recorder`'s.

    Attributes:
        kept: path and reason of each that is on disk, oldest first.
        dropped: how many could not be written, or not in time.
        problem: what the disk said last; empty when nothing.
    """

    def __init__(self, out: Path, where: str, most: int):
        self.kept: list[tuple[str, str]] = []
        self.dropped, self.problem = 0, ""
        self._out, self._where, self._most, self._number = out, where, most, 0
        self._queue: queue.Queue[Snapshot | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="recordings", daemon=True)

    def keep(self, recorder: Recorder, controller: Controller) -> None:
        """Take a recording as it is now; it is written by and by."""
        try:
            self._queue.put_nowait(recorder.snapshot(controller, self._where))
        except queue.Full:
            self.dropped += 1

    def __enter__(self) -> "FaultRecordings":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def _unused(self) -> Path:
        """The next name; those of an earlier run in the same directory stay."""
        while True:
            self._number += 1
            path = self._out / f"fault-{self._number:04d}"
            if not path.exists():
                return path

    def _work(self) -> None:
        while (snapshot := self._queue.get()) is not None:
            path = self._unused()
            try:
                write(path, snapshot)
            except StorageError as error:
                self.dropped, self.problem = self.dropped + 1, str(error)
                shutil.rmtree(path, ignore_errors=True)
                continue
            self.kept.append((str(path), snapshot.about["reason"]))
            while len(self.kept) > self._most:  # all of them made by this run
                shutil.rmtree(self.kept.pop(0)[0], ignore_errors=True)
