"""Progress of a long job: bars on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY = 10.0
"""Seconds between lines when standard error is no terminal."""
LABELS = {
    "return": "return",
    "return_mean": "return",
    "loss/consistency": "consistency",
    "loss/reward": "reward",
    "loss/value": "value",
    "loss/prior": "prior",
    "loss/termination": "termination",
    "loss/prediction": "prediction",
    "latent/effective_rank": "rank",
    "updates_per_s": "updates/s",
}
"""Fields that are shown, in this order, under these names; others are ignored."""


class _Bar(Progress):
    """A bar with its figures on a line of their own: beside it they leave 80 columns no bar."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the figures, cut where the terminal ends."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["figures"]:
                yield Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")


class TrainProgress:
    """Bar over env_steps with return, losses, updates/s, elapsed time and time to go.

    Writes to standard error. The time to go follows the pace of this process, so that a resumed run
    is not taken for a fast one. Everything is a no-op when quiet. A context manager.
    """

    def __init__(self, total: int, console: Console | None = None, quiet: bool = False):
        self.total, self.quiet = total, quiet
        self.console = console or Console(stderr=True, highlight=False)
        self._fields: dict[str, float] = {}
        self._last_line = time.monotonic()
        self._bar = _Bar(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[ahead]}"),
            console=self.console,
            refresh_per_second=4,
            redirect_stdout=False,
            speed_estimate_period=86_400,
            get_time=lambda: time.monotonic(),
        )
        self._task = self._bar.add_task("train", total=total, ahead="starting", figures="")

    def __enter__(self) -> "TrainProgress":
        if not self.quiet and self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar.live.is_started:  # stopping what was not started prints a line
            self._bar.stop()

    def update(self, env_steps: int, **fields: Any) -> None:
        """Show that `env_steps` decisions are made; `fields` are kept until given again.

        Names with a slash are passed as `update(n, **{"loss/reward": x})`. None is ignored.
        """
        if self.quiet:
            return
        self._fields |= {k: float(v) for k, v in fields.items() if k in LABELS and v is not None}
        shown = {LABELS[k]: self._fields[k] for k in LABELS if k in self._fields}
        figures = "  ".join(f"{name} {value:.3g}" for name, value in shown.items())
        self._bar.update(self._task, completed=env_steps, figures=figures)
        task = self._bar.tasks[0]
        ahead = f"{clock(task.time_remaining)} to go" if task.time_remaining is not None else ""
        self._bar.update(self._task, ahead=ahead)
        now = time.monotonic()
        due = now - self._last_line >= LINE_EVERY or env_steps >= self.total
        if due and not self.console.is_terminal:
            self._last_line = now
            parts = (figures, f"{clock(task.elapsed or 0)} gone", ahead)
            self._print(f"{env_steps}/{self.total} {'  '.join(filter(None, parts))}")

    def message(self, text: str) -> None:
        """One line above the bar."""
        if not self.quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


class Stages:
    """A bar a stage: `told(stage, done, total)` as often as one likes; a context manager."""

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


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"
