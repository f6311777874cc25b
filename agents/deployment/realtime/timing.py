"""Timing statistics of a run in real time, with its counts, returns and end. Imports no jax."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents.deployment.realtime.simulator import Ended

PERCENTILES = (50, 95, 99)


class Times:
    """Durations in seconds, one row a tick, in memory that is there from the beginning."""

    COLUMNS = ("lateness", "compute", "response", "obs_age")

    def __init__(self, ticks: int):
        self._rows = np.zeros((max(1, ticks), len(self.COLUMNS)), np.float32)
        self.count = 0

    def add(self, *row: float) -> None:
        """One tick: how late it began, its decision, deadline to action, age of what was seen."""
        self._rows[self.count % len(self._rows)] = row
        self.count += 1

    def milliseconds(self, column: str) -> dict[str, float]:
        """Percentiles and the greatest of one column."""
        values = 1e3 * self._rows[: self.count, self.COLUMNS.index(column)]
        if not len(values):
            return {}
        found = {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
        return found | {"max": float(values.max())}


@dataclass
class RunStats:
    """Statistics of a run."""

    times: Times
    ended: list[Ended] = field(default_factory=list)
    skipped: int = 0
    misses: int = 0
    compilations: int = 0
    seconds: float = 0.0
    rss_mb: float = 0.0
    rss_slope: float = 0.0
    stopped: str = ""
    """Why the run was ended before its time; empty when it was not."""
    interrupted: str = ""
    """The signal that ended the run; empty when none did."""
    last_command: dict[str, Any] = field(default_factory=dict)
    """The safe action that the world was left with, and whether it could be sent."""

    @property
    def ticks(self) -> int:
        """Ticks that were issued."""
        return self.times.count

    def to_json(self) -> dict[str, Any]:
        """The result, in plain numbers."""
        returns = [e.ret for e in self.ended]
        return {
            "episode_returns": returns,
            "return_mean": float(np.mean(returns)) if returns else None,
            "valid": sum(e.valid for e in self.ended),
            "ticks": self.ticks,
            "skipped": self.skipped,
            "misses": self.misses,
            "seconds": self.seconds,
            **{f"{column}_ms": self.times.milliseconds(column) for column in Times.COLUMNS},
            "compilations": self.compilations,
            "rss_mb": self.rss_mb,
            "rss_slope_mb_per_min": self.rss_slope,
            "stopped": self.stopped,
            "interrupted": bool(self.interrupted),
            "signal": self.interrupted,
            "last_command": self.last_command,
        }
