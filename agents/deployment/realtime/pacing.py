"""When a tick is due: absolute deadlines, so that lateness never adds up. Imports no jax."""

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psutil


class Pacer:
    """Deadlines `begin + k * period` on the monotonic clock.

    A tick that is late is issued at once. Deadlines whose whole period has passed meanwhile are
    `skipped` and counted: an action for a time that is over helps nobody. `number` is that of the
    next deadline, from 0.
    """

    def __init__(
        self,
        period: float,
        begin: float,
        *,
        spin: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """`spin`: seconds before a deadline that are spent looking at the clock, not sleeping."""
        self.period, self.begin, self.number, self.skipped = period, begin, 0, 0
        self._spin, self._clock, self._sleep = spin, clock, sleep

    @property
    def due(self) -> float:
        """The next deadline."""
        return self.begin + self.number * self.period

    def slack(self) -> float:
        """Seconds left until the next deadline; negative when it has passed."""
        return self.due - self._clock()

    def wait(self) -> float:
        """Sleep until the next deadline; how many seconds after it this returns."""
        late = -self.slack()
        if late > self.period:
            passed = int(late / self.period)
            self.number += passed
            self.skipped += passed
        while (left := self.slack()) > 0:
            if left > self._spin:
                self._sleep(left - self._spin)
        late = -left
        self.number += 1
        return late


@contextmanager
def quiet_memory() -> Iterator[None]:
    """No garbage collection while it lasts: what exists is frozen, what comes is counted alone."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def ask_for_priority(priority: int = 10) -> str:
    """Real-time scheduling for every thread of this process; "" or why there is none.

    The kernel lets ordinary processes have a part of every second all the same.
    """
    try:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, OSError) as error:
        return f"no real-time scheduling: {getattr(error, 'strerror', None) or error}"
    return ""


class Resident:
    """Resident memory of this process over time."""

    def __init__(self):
        self._process = psutil.Process()
        self._samples: deque[tuple[float, float]] = deque(maxlen=10_000)

    def sample(self, now: float) -> None:
        """Note the memory at a time in seconds."""
        self._samples.append((now, self._process.memory_info().rss / 1e6))

    @property
    def megabytes(self) -> float:
        """At the last sample; 0 before the first."""
        return self._samples[-1][1] if self._samples else 0.0

    def slope(self) -> float:
        """MB a minute, by least squares over the last three quarters of the samples."""
        rows = np.array(self._samples)[len(self._samples) // 4 :]
        if len(rows) < 3:
            return 0.0
        seconds, megabytes = (rows - rows[0]).T
        return float(60 * np.polyfit(seconds, megabytes, 1)[0])
