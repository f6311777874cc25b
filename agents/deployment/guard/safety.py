"""The guard between a controller and a robot: checks what comes in, bounds what goes out.

Host numpy alone, one guard a controller or client, the same on every tick: `observe`, then
`filter`. Whatever it is given, the answer is finite and inside the limits. Bad ticks are held
(the last action again), then handed to the fallback, then stop the controller until `rearm`.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from agents.deployment.contract import Contract
from agents.deployment.guard import checks as observing
from agents.deployment.guard.checks import Checks
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.limiter import Limiter

State = Literal["ok", "hold", "fallback", "stopped"]
FAULTS = (
    *observing.FAULTS,
    "action",  # the controller gave none, or one that is not finite or has the wrong shape
    "surprise",
    "no_plan",  # the planner found no sequence of a finite value
)
"""Recordings number them in this order: a new one comes last."""
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
        faults: what was found on the last tick, what is tolerated included.
        counters: ticks, bad ticks, faults by kind ("fault/stale"), interventions by kind.
        events: the last `LOG_SIZE` ticks on which something was found or done.
        detail: what was wrong with the last bad tick, in words.
        zero: no action [A], as far as the limits allow.
        safe: the contract's safe action [A].
        last: what is held: the last action, or none after a reset.
        stop_reason: why it is stopped, in words; empty when it is not.
        known: the faults that are reacted to; fewer where a recording of before one is replayed.
    """

    def __init__(self, contract: Contract, config: SafetyConfig | None = None):
        self.config = config or SafetyConfig()
        self.contract = contract
        self.state: State = "ok"
        self.counters: Counter[str] = Counter()
        self.events: deque[Event] = deque(maxlen=LOG_SIZE)
        self.detail = ""
        max_age = self.config.max_obs_age_ms / 1e3 or contract.max_obs_age
        self._checks = Checks(contract, max_age)
        self._limiter = Limiter(contract, self.config.action_rate)
        self.zero, self.safe = self._limiter.zero, self._limiter.safe
        self._given = self.last = self.zero
        self._bad = self._good = 0
        self._faults: list[str] = []
        self._noted: list[str] = []
        self.faults: tuple[str, ...] = ()
        self.stop_reason = self._why = ""
        self.known = frozenset(FAULTS)

    def reset(self) -> None:
        """A new episode: no observation and no action came before. A stop stays a stop."""
        self.last = self.zero
        self._checks.forget()

    def rearm(self) -> None:
        """Leave a stop (or fallback): the next tick counts as the first. A person's decision."""
        if self.state == "stopped":
            log.warning("re-armed after: %s", self.stop_reason)
            self.counters["rearm"] += 1
        self.state, self._bad, self._good, self.stop_reason = "ok", 0, 0, ""
        self._checks.forget()

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
        now = time.monotonic() if now is None else now
        faults = self._checks.faults(obs, stamp, sequence, now)
        self.detail = self._checks.detail
        for kind in faults:
            self.counters[f"fault/{kind}"] += 1
        self._noted = faults
        self._faults = [kind for kind in faults if kind not in self.config.tolerated]
        return list(self._faults)

    def report(self, kind: str, detail: str = "") -> None:
        """Add a fault found elsewhere to this tick, which is then a bad one."""
        self.note(kind, detail)
        self._faults.append(kind)

    def note(self, kind: str, detail: str = "") -> None:
        """Count and log a fault found elsewhere, and no more."""
        self.counters[f"fault/{kind}"] += 1
        self._noted.append(kind)
        self.detail = f"{self.detail}; {kind}: {detail}".removeprefix("; ")

    @property
    def why(self) -> str:
        """What put it into its state, in words; empty when it is ok."""
        return {"ok": "", "stopped": self.stop_reason}.get(self.state, self._why)

    @property
    def pending(self) -> bool:
        """Whether this tick is a bad one so far."""
        return bool(self._faults)

    def stop(self, reason: str) -> None:
        """Stop now, until `rearm`."""
        if self.state != "stopped":
            self.state, self.stop_reason = "stopped", reason
            self.counters["stops"] += 1
            log.error("stopped: %s", reason)

    def get_state(self) -> dict[str, Any]:
        """What decides the answers to come, in plain values and one array."""
        return {
            "guard_state": self.state,
            "stop_reason": self.stop_reason,
            "bad": self._bad,
            "good": self._good,
            "ticks": self.counters["ticks"],
            "sequence": self._checks.sequence,
            "stamp": self._checks.stamp,
            "last": self.last,
            "given": self._given,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what `get_state` gave."""
        self.state, self.stop_reason = state["guard_state"], state["stop_reason"]
        self._bad, self._good = state["bad"], state["good"]
        self.counters["ticks"] = state["ticks"]
        self._checks.sequence, self._checks.stamp = state["sequence"], state["stamp"]
        self.last, self._given = (np.array(state[k], np.float32) for k in ("last", "given"))

    def filter(self, action: Any, fallback: Any = None) -> tuple[np.ndarray, list[str]]:
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
        bounded = self._limiter.clip(chosen)
        if self.state == "ok" and (bounded != chosen).any():
            done.append("clip")
        if self._limiter.limits_rate:
            bounded, chosen = self._limiter.slow(bounded, self._given), bounded
            if (bounded != chosen).any():
                done.append("rate")
        bounded.flags.writeable = False  # it is remembered, and handed out
        self.last = self._given = bounded
        self._record(done)
        return bounded, done

    def _usable(self, action: Any) -> np.ndarray | None:
        """The action as float32, or None (a fault) when it is none."""
        array = None if action is None else self._limiter.usable(action)
        if array is None:
            none = "the controller gave none"
            self.report("action", none if action is None else "not finite, or not of its shape")
        return array

    def _advance(self, bad: bool) -> None:
        """The next state, from whether this tick was bad."""
        self._bad, self._good = (self._bad + 1, 0) if bad else (self._bad, self._good + 1)
        self.counters["bad"] += bad
        self._why = self.detail if bad else self._why
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

    def _instead(self, fallback: Any) -> np.ndarray:
        if self.state == "stopped":
            return self.safe
        if self.state == "hold":
            return self.last
        if self.config.fallback == "safe":
            return self.safe
        array = self._limiter.usable(fallback) if self.config.fallback == "prior" else None
        return self.zero if array is None else array

    def _record(self, done: list[str]) -> None:
        for kind in done:
            self.counters[kind] += 1
        self.faults = tuple(self._noted)
        if done or self._noted:
            tick = self.counters["ticks"]
            self.events.append(Event(tick, self.state, self.faults, tuple(done), self.detail))
        self._faults, self._noted = [], []
