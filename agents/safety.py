"""The guard between a controller and a robot: checks what comes in, bounds what goes out.

Host numpy alone, one guard a controller or client, the same on every tick: `observe`, then
`filter`. Whatever it is given, the answer is finite and inside the limits. Bad ticks are held
(the last action again), then handed to the fallback, then stop the controller until `rearm`.
"""

import logging
import math
import time
from collections import Counter, deque
from typing import Any, Literal, NamedTuple

import numpy as np

from agents.contract import OBS_DTYPES, Contract
from agents.safety_config import SafetyConfig

State = Literal["ok", "hold", "fallback", "stopped"]
FAULTS = (
    "missing",  # no observation came
    "dtype",
    "shape",
    "finite",
    "range",
    "stamp",  # a time that is no number
    "stale",
    "future",
    "duplicated",
    "reordered",
    "action",  # the controller gave none, or one that is not finite or has the wrong shape
    "surprise",
)
INTERVENTIONS = ("hold", "fallback", "stop", "clip", "rate")
LOG_SIZE = 1000
log = logging.getLogger("latentmpc.safety")


class Event(NamedTuple):
    """One tick on which something was found or done."""

    tick: int
    state: State
    faults: tuple[str, ...]
    interventions: tuple[str, ...]
    detail: str


class Guard:
    """Safety layer of one controller.

    Attributes:
        state: ok, hold, fallback or stopped; only `rearm` leaves stopped.
        counters: ticks, bad ticks, faults by kind ("fault/stale"), interventions by kind.
        events: the last `LOG_SIZE` ticks on which something was found or done.
        detail: what was wrong with the last bad tick, in words.
    """

    def __init__(self, contract: Contract, config: SafetyConfig | None = None):
        self.config = config or SafetyConfig()
        self.contract = contract
        self.state: State = "ok"
        self.counters: Counter[str] = Counter()
        self.events: deque[Event] = deque(maxlen=LOG_SIZE)
        self.detail = ""
        self._schema(contract)
        self._limits(contract)
        self._bad = self._good = 0
        self._faults: list[str] = []
        self._stop_reason = ""
        self.reset()

    def _schema(self, contract: Contract) -> None:
        obs, size = contract.obs, contract.obs.shape[0]
        self._shape = obs.shape
        self._obs_low = _bounds(obs.low, size, -np.inf)
        self._obs_high = _bounds(obs.high, size, np.inf)
        self._bounded = bool(np.isfinite([self._obs_low, self._obs_high]).any())
        self._max_age = self.config.max_obs_age_ms / 1e3 or contract.max_obs_age

    def _limits(self, contract: Contract) -> None:
        limits = contract.action
        self.low, self.high = _inward(limits.low, limits.high)
        self.zero = np.clip(np.zeros(limits.dim, np.float32), self.low, self.high)
        safe = np.asarray(limits.safe or self.zero, np.float32)
        self.safe = np.clip(safe, self.low, self.high)
        rate = _bounds(limits.rate, limits.dim, np.inf)
        if self.config.action_rate:
            rate = np.minimum(rate, self.config.action_rate)
        self._step = np.minimum(rate * contract.period, 3e38).astype(np.float32)
        self._limits_rate = bool(np.isfinite(rate).any())

    def reset(self) -> None:
        """A new episode: no observation and no action came before. A stop stays a stop."""
        self.last = self.zero.copy()
        self._sequence: int | None = None
        self._stamp: float | None = None

    def rearm(self) -> None:
        """Leave a stop (or fallback): the next tick counts as the first. A person's decision."""
        if self.state == "stopped":
            log.warning("re-armed after: %s", self._stop_reason)
            self.counters["rearm"] += 1
        self.state, self._bad, self._good, self._stop_reason = "ok", 0, 0, ""
        self._sequence = self._stamp = None

    def observe(
        self,
        obs: Any,
        stamp: float | None = None,
        sequence: int | None = None,
        now: float | None = None,
    ) -> list[str]:
        """The faults of this tick's observation, kinds of `FAULTS`; empty when it can be used.

        `stamp` is when it was measured, on the clock of `now` (default `time.monotonic()`), and
        `sequence` its number, which has to rise. Without them those checks are left out. None
        for `obs` says that nothing came.
        """
        self.counters["ticks"] += 1
        self.detail = ""
        faults = self._content(obs)
        faults += self._age(stamp, time.monotonic() if now is None else now)
        faults += self._order(sequence, stamp)
        for kind in faults:
            self.counters[f"fault/{kind}"] += 1
        self._faults = [kind for kind in faults if kind not in self.config.tolerated]
        return list(self._faults)

    def report(self, kind: str, detail: str = "") -> None:
        """Add a fault found elsewhere (a surprise) to this tick."""
        self.counters[f"fault/{kind}"] += 1
        self._faults.append(kind)
        self.detail = detail or self.detail

    def stop(self, reason: str) -> None:
        """Stop now, until `rearm`."""
        if self.state != "stopped":
            self.state, self._stop_reason = "stopped", reason
            self.counters["stops"] += 1
            log.error("stopped: %s", reason)

    def _content(self, obs: Any) -> list[str]:
        if obs is None:
            return self._found("missing", "no observation came")
        if not isinstance(obs, np.ndarray):
            try:
                obs = np.asarray(obs)
            except Exception:  # anything may be handed in, and nothing may come of it
                return self._found("dtype", f"{type(obs).__name__} is no array")
        if obs.dtype.name not in OBS_DTYPES or not obs.dtype.isnative:
            return self._found("dtype", f"{obs.dtype}, expected {' or '.join(OBS_DTYPES)}")
        if obs.shape != self._shape:
            return self._found("shape", f"{list(obs.shape)}, expected {list(self._shape)}")
        with np.errstate(over="ignore"):
            finite = np.isfinite(obs.astype(np.float32, copy=False))
        if not finite.all():
            return self._found("finite", f"entries {np.flatnonzero(~finite).tolist()}")
        if self._bounded:
            outside = (obs < self._obs_low) | (obs > self._obs_high)
            if outside.any():
                return self._found("range", f"entries {np.flatnonzero(outside).tolist()}")
        return []

    def _age(self, stamp: float | None, now: float) -> list[str]:
        if stamp is None:
            return []
        if not _is_number(stamp):
            return self._found("stamp", "no time in seconds")
        age = now - float(stamp)
        if age > self._max_age:
            return self._found("stale", f"{1e3 * age:.1f} ms, at most {1e3 * self._max_age:.1f}")
        if age < -self._max_age:
            return self._found("future", f"measured {-1e3 * age:.1f} ms from now")
        return []

    def _order(self, sequence: int | None, stamp: float | None) -> list[str]:
        """Compare with the newest number (or time) seen; what comes late changes neither."""
        given: Any = sequence
        if given is None:
            previous, given = self._stamp, stamp
        else:
            previous = self._sequence
        if not _is_number(given):
            return [] if sequence is None else self._found("reordered", "its number is no number")
        if previous is not None and given == previous:
            return self._found("duplicated", f"{given} came before")
        if previous is not None and given < previous:
            return self._found("reordered", f"{given} after {previous}")
        if sequence is None:
            self._stamp = float(given)
        else:
            self._sequence = int(given)
        return []

    def _found(self, kind: str, detail: str) -> list[str]:
        self.detail = f"{self.detail}; {kind}: {detail}".removeprefix("; ")
        return [kind]

    def filter(
        self, action: Any, fallback: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """What the robot gets on this tick [A] float32, and what was done to it.

        `action` None says that there is none; `fallback` is what `config.fallback="prior"` plays.
        """
        wanted = None if self._faults or self.state == "stopped" else self._usable(action)
        self._advance(bool(self._faults))
        done: list[str] = []
        if self.state == "ok" and wanted is not None:
            chosen = wanted
        else:
            chosen = self._instead(fallback)
            done.append({"stopped": "stop"}.get(self.state, self.state))
        bounded = np.minimum(np.maximum(chosen, self.low), self.high)
        if self.state == "ok" and (bounded != chosen).any():
            done.append("clip")
        if self._limits_rate:
            bounded, chosen = self._limit_rate(bounded), bounded
            if (bounded != chosen).any():
                done.append("rate")
        self.last = bounded
        self._record(done)
        return bounded.copy(), done

    def _usable(self, action: Any) -> np.ndarray | None:
        """The action as float32, or None (a fault) when it is none."""
        if action is None:
            self.report(*self._found("action", "the controller gave none"))
            return None
        try:
            with np.errstate(over="ignore"):
                array = np.asarray(action, np.float32)
        except (TypeError, ValueError):
            array = np.empty(0, np.float32)
        if array.shape != self.low.shape or not np.isfinite(array).all():
            self.report(*self._found("action", "not finite, or not of its shape"))
            return None
        return array

    def _advance(self, bad: bool) -> None:
        """The next state, from whether this tick was bad."""
        self._bad, self._good = (self._bad + 1, 0) if bad else (self._bad, self._good + 1)
        self.counters["bad"] += bad
        before = self.state
        if before == "stopped":
            return
        if bad and self._bad >= self.config.stop_after:
            self.stop(f"{self._bad} bad ticks in a row, the last: {self.detail}")
        elif bad:
            holding = self._bad < self.config.fallback_after and before != "fallback"
            self.state = "hold" if holding else "fallback"
        elif before != "fallback" or self._good >= self.config.recover_after:
            self.state, self._bad = "ok", 0
        if self.state not in (before, "stopped"):
            log.warning("%s -> %s: %s", before, self.state, self.detail or "recovered")

    def _instead(self, fallback: np.ndarray | None) -> np.ndarray:
        if self.state == "stopped":
            return self.safe
        if self.state == "hold":
            return self.last
        if self.config.fallback == "safe":
            return self.safe
        if self.config.fallback == "prior" and fallback is not None:
            array = np.asarray(fallback, np.float32)
            if array.shape == self.low.shape and np.isfinite(array).all():
                return array
        return self.zero

    def _limit_rate(self, action: np.ndarray) -> np.ndarray:
        change = np.clip(action - self.last, -self._step, self._step)
        moved = np.where(np.abs(action - self.last) <= self._step, action, self.last + change)
        return np.minimum(np.maximum(moved, self.low), self.high)

    def _record(self, done: list[str]) -> None:
        for kind in done:
            self.counters[kind] += 1
        if done or self._faults:
            tick = self.counters["ticks"]
            faults = tuple(self._faults)
            self.events.append(Event(tick, self.state, faults, tuple(done), self.detail))
        self._faults = []


def _is_number(value: Any) -> bool:
    """Whether it is finite as a float."""
    try:
        return isinstance(value, int | float | np.number) and math.isfinite(value)
    except (OverflowError, TypeError):
        return False


def _bounds(given: tuple, size: int, otherwise: float) -> np.ndarray:
    """Bounds [size], `otherwise` where none is given."""
    if not given:
        return np.full(size, otherwise)
    return np.array([otherwise if value is None else value for value in given], float)


def _inward(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Limits in float32 that rounding has not moved outwards."""
    low32, high32 = np.asarray(low, np.float32), np.asarray(high, np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    low32 = np.where(low32.astype(float) < np.asarray(low), np.nextafter(low32, up), low32)
    high32 = np.where(high32.astype(float) > np.asarray(high), np.nextafter(high32, down), high32)
    return low32, high32
