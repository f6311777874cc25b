"""What a long job in stages shows: a bar a stage on a terminal, a line now and then elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.runs.progress import LINE_EVERY


class Stages:
    """`told(stage, done, total)` as often as one likes; a context manager."""

    def __init__(self, console: Console, quiet: bool = False):
        self._console, self._quiet = console, quiet
        self._shown = False
        self._bars: dict[str, Any] = {}
        self._lines: dict[str, float] = {}
        columns = (TextColumn("{task.description:>12}"), BarColumn(bar_width=24))
        more = (MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, *more, console=console, redirect_stdout=False)

    def __enter__(self) -> "Stages":
        self._shown = self._console.is_terminal and not self._quiet
        if self._shown:
            self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._shown:  # stopping what was not started prints a line
            self._progress.stop()

    def told(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` parts of a stage are finished."""
        if self._quiet:
            return
        if self._shown:
            if stage not in self._bars:
                self._bars[stage] = self._progress.add_task(stage, total=total)
            self._progress.update(self._bars[stage], completed=done, total=total)
            return
        now = time.monotonic()
        if done == total or now - self._lines.get(stage, 0.0) >= LINE_EVERY:
            self._lines[stage] = now
            self._console.print(f"{stage} {done}/{total}", markup=False, soft_wrap=True)
