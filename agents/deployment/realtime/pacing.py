"""When a tick is due: absolute deadlines, so that lateness never adds up. Imports no jax."""

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np


class Pacer:
    """Deadlines `begin + k * period` on the monotonic clock.

    A tick that is late is issued at once. Deadlines whose whole period has passed meanwhile are
    skipped and counted: an action for a time that is over helps nobody.

    Attributes:
        number: of the next deadline, from 0.
        skipped: deadlines passed over so far.
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

    def __init__(self, most: int = 10_000):
        self._rows = np.zeros((most, 2))
        self._count = 0
        self._page_mb = os.sysconf("SC_PAGE_SIZE") / 1e6
        try:
            self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no such file here: nothing is known
            self._file = -1

    def sample(self, now: float) -> None:
        """Note the memory at a time in seconds."""
        if self._file >= 0 and self._count < len(self._rows):
            pages = int(os.pread(self._file, 128, 0).split()[1])
            self._rows[self._count] = now, pages * self._page_mb
            self._count += 1

    @property
    def megabytes(self) -> float:
        """At the last sample; 0 where nothing is known."""
        return float(self._rows[self._count - 1, 1]) if self._count else 0.0

    def slope(self) -> float:
        """MB a minute, by least squares over the last three quarters of the samples."""
        rows = self._rows[self._count // 4 : self._count]
        if len(rows) < 3:
            return 0.0
        time_, memory = rows.T - rows.T.mean(axis=1, keepdims=True)
        return float(60 * (time_ @ memory) / max(float(time_ @ time_), 1e-12))

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
