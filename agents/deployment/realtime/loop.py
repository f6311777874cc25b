"""A controller in real time: look, decide, send, at absolute deadlines, and account for all of it.

Nothing is printed, written or collected inside a tick; what has to be done besides is done in
the time that is left until the next deadline.
"""

import gc
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agents.deployment.controller import SHARE, Controller
from agents.deployment.realtime.pacing import Pacer, Resident, quiet_memory
from agents.deployment.realtime.recorder import Recorder
from agents.deployment.realtime.simulator import Ended, Frame
from agents.deployment.realtime.timing import Outcome, Times
from agents.runs.compile import counted
from agents.runs.signals import StopSignal
from envs.spec import EnvError

LEAD_S, FIRST_OBS_S = 0.1, 10.0
STATUS_S, MEMORY_S, LEAST_SLACK_S = 5.0, 1.0, 0.004
MOST_TICKS = 1_000_000


class World(Protocol):
    """What is controlled: a simulator that lives in its own time, or a robot."""

    ended: list[Ended]

    def start(self, begin: float) -> None:
        """Time runs from `begin` on the monotonic clock."""
        ...

    def newest(self) -> Frame | None:
        """The newest observation, without waiting; None while there is none."""
        ...

    def send(self, action: np.ndarray) -> None:
        """The action from now on, [A] in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Limits:
    """When a run ends. Zero is no limit."""

    seconds: float = 0.0
    episodes: int = 0
    max_misses: int = 0
    """Missed deadlines in a row."""


def drive(
    controller: Controller,
    world: World,
    limits: Limits,
    *,
    phase: float = 0.0,
    spin: float = 0.0,
    seed: int = 0,
    recorder: Recorder | None = None,
    status: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run the loop until a limit, a safety stop, too many misses, or SIGINT or SIGTERM.

    The controller must be warm. Episode i of the world is decided with seed `seed + i`. Whatever
    ends the loop, the world gets the contract's safe action last; that is in the outcome and in
    the recording. A signal waits for the end of its tick. Raises EnvError when the world is gone.
    """
    period = controller.contract.period
    room = int(limits.seconds / period) + 2 if limits.seconds else MOST_TICKS
    times = Times(min(room, MOST_TICKS))
    loop = _Loop(controller, world, limits, times, seed, recorder, status)
    with counted() as compiled, quiet_memory(), _impatience(), StopSignal() as loop.asked:
        status("the clock runs")  # from here on a signal is heard
        begin = time.monotonic() + LEAD_S
        world.start(begin)
        pacer = Pacer(period, begin + phase, spin=spin)
        try:
            loop.look_up()
            pacer.number = max(0, math.ceil(-pacer.slack() / period))
            while not loop.over(pacer):
                loop.tick(pacer)
        except KeyboardInterrupt:
            loop.outcome.interrupted = loop.asked.name or "SIGINT"
        finally:
            loop.leave_safe()
    return loop.finished(pacer, compiled.count)


@contextmanager
def _impatience() -> Iterator[None]:
    """A second SIGTERM raises KeyboardInterrupt, as SIGINT does: no signal ends us at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _why(controller: Controller) -> str:
    """What stopped the guard, in words."""
    last = controller.guard.events[-1] if controller.guard.events else None
    return "asked for" if last is None else last.detail or ", ".join(last.faults)


class _Loop:
    """One run's state."""

    def __init__(self, controller, world, limits, times, seed, recorder, status):
        self.controller, self.world, self.limits = controller, world, limits
        self.recorder, self.seed, self.status = recorder, seed, status
        self.outcome, self.asked = Outcome(times), StopSignal()
        self.memory = Resident()
        self.episode = -1
        self.in_a_row = 0
        self.next_status = self.next_memory = 0.0

    def look_up(self) -> None:
        """Wait for the first observation. Raises EnvError when none comes."""
        patience = time.monotonic() + FIRST_OBS_S
        while self.world.newest() is None and not self.asked.name:
            if time.monotonic() > patience:
                raise EnvError(f"no observation came within {FIRST_OBS_S:.0f} s")
            time.sleep(0.001)

    def leave_safe(self) -> None:
        """The last command, whatever happened: the contract's safe action."""
        safe, sent = self.controller.guard.safe, True
        try:
            self.world.send(safe)
        except EnvError:  # of a world that is gone, the first word counts
            sent = False
        self.outcome.last_command = {"action": safe.tolist(), "sent": sent}
        if self.recorder is not None:
            self.recorder.last_command = self.outcome.last_command

    def over(self, pacer: Pacer) -> bool:
        """Whether there is a reason to stop; the first is noted."""
        limits, out = self.limits, self.outcome
        if self.controller.guard.state == "stopped":
            out.stopped = f"safety stop: {_why(self.controller)}"
        elif limits.max_misses and self.in_a_row >= limits.max_misses:
            out.stopped = f"deadline stop: {self.in_a_row} deadlines in a row were missed"
        out.interrupted = self.asked.name
        timed_out = limits.seconds and pacer.number * pacer.period >= limits.seconds
        done = limits.episodes and len(self.world.ended) >= limits.episodes
        return bool(out.stopped or out.interrupted or timed_out or done)

    def tick(self, pacer: Pacer) -> None:
        """Wait, look, decide, send; then what else there is to do."""
        skipped = pacer.skipped
        late = pacer.wait()
        if self.asked.name:
            return
        due = pacer.due - pacer.period
        frame = self.world.newest()
        if self.recorder is not None:
            self.recorder.before(self.controller)
        reset = False
        if frame is not None and frame.episode != self.episode:
            reset = True
            self.episode = frame.episode
            self.controller.reset(self.seed + frame.episode)
        now = time.monotonic()
        seen = (None, None, None) if frame is None else (frame.obs, frame.stamp, frame.number)
        action = self.controller.act(*seen, now=now, deadline_ms=self._left_ms(due, now))
        self.world.send(action)
        sent = time.monotonic()
        missed = sent > due + pacer.period
        skipped = pacer.skipped - skipped
        self.in_a_row = self.in_a_row + 1 + skipped if missed or skipped else 0
        self.outcome.misses += missed
        age = now - frame.stamp if frame is not None else 0.0
        self.outcome.times.add(late, sent - now, sent - due, age)
        if self.recorder is not None:
            start = self.seed + self.episode if reset else -1
            self.recorder.after(self.controller, now, seen, start, action, late)
        self._besides(pacer)

    def _left_ms(self, due: float, now: float) -> float | None:
        """What an anytime planner may still take: a tick that began late has less."""
        controller = self.controller
        if controller.mode != "auto":
            return None
        given = controller.deadline_ms / 1e3 or SHARE * controller.contract.period
        return 1e3 * max(0.0, due + given - now)

    def _besides(self, pacer: Pacer) -> None:
        """Once in a while, when there is time: memory and a line of status."""
        now = time.monotonic()
        if now >= self.next_memory and pacer.slack() > LEAST_SLACK_S:
            gc.collect()  # quick: it looks only at what came since the start
            self.memory.sample(now)
            self.next_memory = now + MEMORY_S
        if now >= self.next_status and pacer.slack() > LEAST_SLACK_S:
            self.status(self._line(now - pacer.begin))
            self.next_status = now + STATUS_S

    def _line(self, seconds: float) -> str:
        last, ended = self.controller.last, self.world.ended
        return (
            f"{seconds:6.0f} s  episodes {len(ended)}"
            + (f"  return {ended[-1].ret:.0f}" if ended else "")
            + (f"  {last.source}  {last.compute_ms:.1f} ms" if last else "")
            + f"  misses {self.outcome.misses}  state {self.controller.guard.state}"
        )

    def finished(self, pacer: Pacer, compilations: int) -> Outcome:
        """The outcome, complete."""
        out = self.outcome
        out.ended, out.ticks = list(self.world.ended), out.times.count
        out.skipped, out.compilations = pacer.skipped, compilations
        out.seconds = time.monotonic() - pacer.begin
        out.rss_mb, out.rss_slope = self.memory.megabytes, self.memory.slope()
        self.memory.close()
        return out
