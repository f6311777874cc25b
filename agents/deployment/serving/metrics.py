"""Counters and histograms of a server, in the text format that Prometheus reads. No jax."""

import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np

MILLISECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0)


class Histogram:
    """Counts of values under bounds, their sum and number."""

    def __init__(self, bounds: Sequence[float] = MILLISECONDS):
        self.bounds = np.asarray(bounds, float)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Take one value."""
        self.counts[np.searchsorted(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        """Cumulative buckets, as Prometheus has them."""
        upto, labels = self.counts.cumsum(), [f"{b:g}" for b in self.bounds] + ["+Inf"]
        found = [f'{name}_bucket{{le="{b}"}} {n}' for b, n in zip(labels, upto, strict=True)]
        return [*found, f"{name}_sum {self.total:.9g}", f"{name}_count {upto[-1]}"]


class Telemetry:
    """What a server has done. Any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.milliseconds = {"compute": Histogram(), "request": Histogram()}

    def count(self, name: str, label: str = "", value: str = "", by: int = 1) -> None:
        """Add to the counter `name{label="value"}`."""
        with self._lock:
            self.counts[name, label, value] += by

    def time(self, name: str, milliseconds: float) -> None:
        """Take a duration: compute, request."""
        with self._lock:
            self.milliseconds[name].add(milliseconds)

    def total(self, name: str) -> int:
        """A counter over all its labels."""
        with self._lock:
            return sum(n for (found, _, _), n in self.counts.items() if found == name)

    def text(self, gauges: dict[str, float]) -> str:
        """The page for Prometheus; `gauges` are values of this moment."""
        lines: list[str] = []
        with self._lock:
            for name in sorted({name for name, _, _ in self.counts}):
                lines.append(f"# TYPE latentmpc_{name}_total counter")
                for (found, label, value), number in sorted(self.counts.items()):
                    if found == name:
                        labels = f'{{{label}="{value}"}}' if label else ""
                        lines.append(f"latentmpc_{name}_total{labels} {number}")
            for name, histogram in self.milliseconds.items():
                lines.append(f"# TYPE latentmpc_{name}_milliseconds histogram")
                lines += histogram.lines(f"latentmpc_{name}_milliseconds")
        for name, value in gauges.items():
            lines += [f"# TYPE latentmpc_{name} gauge", f"latentmpc_{name} {value:.9g}"]
        return "\n".join(lines) + "\n"
