"""What a controller says of its ticks, and how it notices that one of them compiled."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from agents.deployment.anytime import NO_REPORT, NOTHING, Made
from agents.deployment.guard.safety import Guard
from agents.runs.compile import COMPILE_EVENT
from planning.types import PlanInfo


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened on one tick."""

    number: int
    source: str
    """Who acted: plan, prior, shifted (the rest of the last plan), hold, fallback, stop."""
    state: str
    """Of the guard, after the tick."""
    faults: tuple[str, ...]
    interventions: tuple[str, ...]
    surprise: float
    """Latent surprise; 0 where there was nothing to compare."""
    compute_ms: float
    late: bool
    """Whether the tick took longer than its deadline (mode auto, or where one was given)."""
    work: int
    """Iterations; 0 where the prior alone ran, -1 where nothing did: `act(work=...)` replays it."""
    report: np.ndarray
    """[8] the fields of `PlanInfo` (zeros where no plan was made)."""

    @property
    def info(self) -> PlanInfo:
        """What the planner reports."""
        return PlanInfo(*self.report)

    @property
    def iterations(self) -> int:
        """Refinements of the plan."""
        return int(self.report[-1])


def tick_of(
    guard: Guard, made: Made | None, done: Sequence[str], compute_ms: float, late: bool
) -> Tick:
    """The account of a tick: what was computed (None: nothing), and what the guard did to it."""
    source = next((kind for kind in done if kind in ("hold", "fallback", "stop")), None)
    return Tick(
        number=guard.counters["ticks"],
        source=source or (made.source if made else "hold"),
        state=guard.state,
        faults=guard.faults,
        interventions=tuple(done),
        surprise=float(made.report[0]) if made else 0.0,
        compute_ms=compute_ms,
        late=late,
        work=made.work if made else NOTHING,
        report=(made.report if made else NO_REPORT)[1:],
    )


class CompileCounter:
    """Counts the compilations of `with` blocks, in the thread that runs them alone.

    Cheap to enter, as that happens on every tick: one listener serves all counters.
    """

    def __init__(self) -> None:
        self.count = 0
        if _listening.acquire(blocking=False):  # once a process
            jax.monitoring.register_event_duration_secs_listener(_compiled)

    def __enter__(self) -> None:
        self._outer, _counting.now = getattr(_counting, "now", None), self

    def __exit__(self, *_: object) -> None:
        _counting.now = self._outer


_counting = threading.local()
_listening = threading.Lock()


def _compiled(event: str, duration_secs: float, **_: str | int) -> None:
    counter = getattr(_counting, "now", None)
    if event == COMPILE_EVENT and counter is not None:
        counter.count += 1
