"""Deadlines are absolute, late ticks are issued, and what has passed is skipped and counted."""

import gc
import time

import numpy as np
import pytest

from agents.deployment.realtime.pacing import Pacer, Resident, quiet_memory


class FakeTime:
    """A clock that moves when someone sleeps or works."""

    def __init__(self, oversleep=0.0):
        self.now, self.oversleep, self.slept = 100.0, oversleep, []

    def clock(self):
        self.now += 1e-6  # looking takes time, or spinning would not end
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds + self.oversleep

    def pacer(self, **options):
        return Pacer(0.02, 100.0, clock=self.clock, sleep=self.sleep, **options)


def test_lateness_never_adds_up():
    """A hundred sleeps of 1 ms too long end 1 ms after the hundredth deadline."""
    fake = FakeTime(oversleep=0.001)
    pacer = fake.pacer()
    late = []
    for _ in range(101):
        late.append(pacer.wait())
        fake.now += 0.005  # the tick
    assert max(late) < 0.0011
    assert fake.now == pytest.approx(100.0 + 100 * 0.02 + 0.001 + 0.005, abs=1e-4)
    assert (pacer.number, pacer.skipped) == (101, 0)


def test_a_late_tick_is_issued_at_once_and_a_lost_one_is_skipped():
    """1.5 periods of work: the next tick is half a period late. 3.5: two are lost besides."""
    fake = FakeTime()
    pacer = fake.pacer()
    pacer.wait()
    fake.now = 100.0 + 0.03
    assert pacer.wait() == pytest.approx(0.01, abs=1e-4)
    assert (pacer.number, pacer.skipped) == (2, 0)
    fake.now = 100.0 + 0.09
    assert pacer.wait() == pytest.approx(0.01, abs=1e-4)
    assert (pacer.number, pacer.skipped) == (5, 2)
    assert pacer.wait() == pytest.approx(0.0, abs=1e-4)
    assert pacer.due == pytest.approx(100.12)


def test_spinning_hides_the_sleeps_error():
    """The last part of the wait is spent at the clock."""
    fake = FakeTime(oversleep=0.001)
    pacer = fake.pacer(spin=0.002)
    pacer.wait()
    assert pacer.wait() < 1e-5
    assert max(fake.slept) < 0.0181


def test_real_deadlines_are_kept():
    """On the real clock: never early, and the last deadline is not later than the first."""
    pacer = Pacer(0.002, time.monotonic() + 0.01)
    begin = pacer.begin
    for tick in range(50):
        assert pacer.wait() >= 0.0
        assert time.monotonic() >= begin + tick * pacer.period
    assert pacer.number - 1 >= 49


def test_no_collection_while_it_is_quiet():
    """Garbage collection is off inside and as before outside, also after an error."""
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), quiet_memory():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        _ = 1 / 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_growth_of_memory_is_measured():
    """A slope of 6 MB a minute is found in its samples; this process has some memory."""
    memory = Resident()
    memory.sample(0.0)
    assert 10 < memory.megabytes < 1e5
    assert memory.slope() == 0.0
    memory._samples.clear()
    memory._samples.extend((second, 500 + 0.1 * second) for second in np.arange(100.0))
    assert memory.slope() == pytest.approx(6.0)
