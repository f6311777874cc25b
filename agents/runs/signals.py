"""How a run ends before its end: asked to stop, its state saved first, or learning diverged."""

import signal
import threading
from typing import Any


class InterruptedRunError(RuntimeError):
    """The run was asked to stop; its state is saved. Shown as one line."""

    exit_code = 130


class LearningError(RuntimeError):
    """Learning has left the finite numbers; shown as one line."""

    exit_code = 5


class StopSignal:
    """Turns the first SIGINT or SIGTERM into a flag; a second one acts at once."""

    def __init__(self):
        self.name = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _note(self, number: int, _) -> None:
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
