"""Metrics of a server for Prometheus. Any thread may count. Imports no jax."""

from collections.abc import Callable

import prometheus_client as prometheus

MILLISECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0)
COUNTERS = {
    "connections": (),
    "refused": ("reason",),
    "bad_frames": (),
    "errors": (),
    "ticks": ("source",),
    "faults": ("kind",),
    "interventions": ("kind",),
    "stops": (),
    "rearms": ("by",),
}
"""Counters by name, each with its label if it has one."""
TIMES = ("compute", "request")


class Metrics:
    """Counters, durations and gauges of one server."""

    def __init__(self) -> None:
        prometheus.disable_created_metrics()
        self._registry = prometheus.CollectorRegistry()
        self._counters = {
            name: prometheus.Counter(f"latentmpc_{name}", name, label, registry=self._registry)
            for name, label in COUNTERS.items()
        }
        of = {"buckets": MILLISECONDS, "registry": self._registry}
        self._times = {
            name: prometheus.Histogram(f"latentmpc_{name}_milliseconds", name, **of)
            for name in TIMES
        }

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Show what `read` gives whenever the page is asked for."""
        gauge = prometheus.Gauge(f"latentmpc_{name}", name, registry=self._registry)
        gauge.set_function(read)

    def count(self, name: str, *label: str) -> None:
        """Add one to a counter, under its label if it has one."""
        counter = self._counters[name]
        (counter.labels(*label) if label else counter).inc()

    def time(self, name: str, milliseconds: float) -> None:
        """Take a duration: compute, request."""
        self._times[name].observe(milliseconds)

    def total(self, name: str) -> int:
        """A counter over all its labels."""
        (found,) = self._counters[name].collect()
        return int(sum(sample.value for sample in found.samples))

    def text(self) -> str:
        """The page for Prometheus."""
        return prometheus.generate_latest(self._registry).decode()
