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
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from agents.deployment.controller import Controller
from agents.deployment.realtime.pacing import Pacer, Resident, quiet_memory
from agents.deployment.realtime.recorder import Recorder
from agents.deployment.realtime.simulator import Ended, Frame
from agents.deployment.realtime.timing import RunStats, Times
from agents.runs.compile import counted
from agents.runs.signals import StopSignal
from envs.spec import EnvError

LEAD_S, FIRST_OBS_S = 0.1, 10.0
STATUS_S, MEMORY_S, LEAST_SLACK_S = 5.0, 1.0, 0.004
MAX_TICKS = 1_000_000


class World(Protocol):
    """The controlled system: a simulator that lives in its own time, or a robot."""

    ended: list[Ended]

    def start(self, begin: float) -> None:
        """Time runs from `begin` on the monotonic clock."""

    def newest(self) -> Frame | None:
        """The newest observation, without waiting; None while there is none."""

    def send(self, action: np.ndarray) -> None:
        """The action from now on, [A] in [-1, 1]."""


def drive(controller: Controller, world: World, **settings: Any) -> RunStats:
    """Run the loop until a limit, a safety stop, too many misses, or SIGINT or SIGTERM.

    The controller must be warm; `settings` are fields of `Loop`. Whatever ends the loop, the world
    gets the contract's safe action last; that is in the result and in the recording. A signal
    waits for the end of its tick. Raises EnvError when the world is gone.
    """
    loop = Loop(controller, world, **settings)
    with counted() as compiled, quiet_memory(), _no_sudden_end(), StopSignal() as loop.asked:
        loop.log("the clock runs")  # from here on a signal is heard
        begin = time.monotonic() + LEAD_S
        world.start(begin)
        pacer = Pacer(controller.contract.period, begin + loop.phase, spin=loop.spin)
        try:
            loop.wait_for_observation()
            pacer.number = max(0, math.ceil(-pacer.slack() / pacer.period))
            while not loop.over(pacer):
                loop.tick(pacer)
        except KeyboardInterrupt:
            loop.stats.interrupted = loop.asked.name or "SIGINT"
        finally:
            loop.leave_safe()
    return loop.finished(pacer, compiled.count)


@contextmanager
def _no_sudden_end() -> Iterator[None]:
    """A second SIGTERM raises KeyboardInterrupt, as SIGINT does: no signal ends us at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class Loop:
    """One run: its settings and its state. Zero is no limit."""

    controller: Controller
    world: World
    seconds: float = 0.0
    episodes: int = 0
    max_misses: int = 0
    """Missed deadlines in a row."""
    phase: float = 0.0
    """Seconds after the world's time at which it is looked at."""
    spin: float = 0.0
    seed: int = 0
    """Episode i of the world is decided with seed `seed + i`."""
    recorder: Recorder = None  # pyright: ignore[reportAssignmentType]
    log: Callable[[str], None] = lambda line: None
    asked: StopSignal = field(default_factory=StopSignal)
    memory: Resident = field(default_factory=Resident)
    episode: int = -1
    misses_in_a_row: int = 0
    next_status: float = 0.0
    next_memory: float = 0.0

    def __post_init__(self):
        """Memory for all ticks is there from the beginning."""
        self.recorder = self.recorder or Recorder(self.controller.contract, 1.0)
        ticks = self.seconds / self.controller.contract.period + 2 if self.seconds else MAX_TICKS
        self.stats = RunStats(Times(int(min(ticks, MAX_TICKS))))

    def wait_for_observation(self) -> None:
        """Until the first one is there. Raises EnvError when none comes."""
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
        command = {"action": safe.tolist(), "sent": sent}
        self.stats.last_command = self.recorder.last_command = command

    def over(self, pacer: Pacer) -> bool:
        """Whether there is a reason to stop; the first is noted."""
        stats, guard = self.stats, self.controller.guard
        if guard.state == "stopped":
            stats.stopped = f"safety stop: {guard.detail or guard.stop_reason}"
        elif self.max_misses and self.misses_in_a_row >= self.max_misses:
            stats.stopped = f"deadline stop: {self.misses_in_a_row} deadlines in a row were missed"
        stats.interrupted = self.asked.name
        timed_out = self.seconds and pacer.number * pacer.period >= self.seconds
        done = self.episodes and len(self.world.ended) >= self.episodes
        return bool(stats.stopped or stats.interrupted or timed_out or done)

    def tick(self, pacer: Pacer) -> None:
        """Wait, look, decide, send; then what else there is to do."""
        skipped = pacer.skipped
        late = pacer.wait()
        if self.asked.name:
            return
        due = pacer.due - pacer.period
        frame = self.world.newest()
        self.recorder.before(self.controller)
        start = self._start_of_episode(frame)
        now = time.monotonic()
        seen = (None, None, None) if frame is None else (frame.obs, frame.stamp, frame.number)
        action = self.controller.act(*seen, now=now, deadline_ms=self._left_ms(due, now))
        self.world.send(action)
        sent = time.monotonic()
        missed, skipped = sent > due + pacer.period, pacer.skipped - skipped
        misses = self.misses_in_a_row + 1 + skipped
        self.misses_in_a_row = misses if missed or skipped else 0
        self.stats.misses += missed
        age = now - frame.stamp if frame is not None else 0.0
        self.stats.times.add(late, sent - now, sent - due, age)
        self.recorder.after(self.controller, now, seen, start, action, late)
        self._besides(pacer)

    def _start_of_episode(self, frame: Frame | None) -> int:
        """The seed with which the controller begins an episode; -1 where it does not."""
        if frame is None or frame.episode == self.episode:
            return -1
        self.episode = frame.episode
        self.controller.reset(self.seed + self.episode)
        return self.seed + self.episode

    def _left_ms(self, due: float, now: float) -> float | None:
        """Time left to an anytime planner: a tick that began late has less."""
        if self.controller.policy.anytime is None:
            return None
        return 1e3 * max(0.0, due + self.controller.deadline_s - now)

    def _besides(self, pacer: Pacer) -> None:
        """Once in a while, when there is time: memory and a line of status."""
        now = time.monotonic()
        if now >= self.next_memory and pacer.slack() > LEAST_SLACK_S:
            gc.collect()  # quick: it looks only at what came since the start
            self.memory.sample(now)
            self.next_memory = now + MEMORY_S
        if now >= self.next_status and pacer.slack() > LEAST_SLACK_S:
            self.log(self._line(now - pacer.begin))
            self.next_status = now + STATUS_S

    def _line(self, seconds: float) -> str:
        last, ended = self.controller.last, self.world.ended
        return (
            f"{seconds:6.0f} s  episodes {len(ended)}"
            + (f"  return {ended[-1].ret:.0f}" if ended else "")
            + (f"  {last.source}  {last.compute_ms:.1f} ms" if last else "")
            + f"  misses {self.stats.misses}  state {self.controller.guard.state}"
        )

    def finished(self, pacer: Pacer, compilations: int) -> RunStats:
        """The statistics, complete."""
        stats = self.stats
        stats.ended, stats.skipped = list(self.world.ended), pacer.skipped
        stats.compilations, stats.seconds = compilations, time.monotonic() - pacer.begin
        stats.rss_mb, stats.rss_slope = self.memory.megabytes, self.memory.slope()
        return stats
