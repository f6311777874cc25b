"""The guard between a controller and a robot: checks what comes in, bounds what goes out.

Host numpy alone, one guard a controller or client, the same on every tick: `observe`, then
`filter`. Whatever it is given, the answer is finite and inside the limits. Bad ticks are held
(the last action again), then handed to the fallback, then stop the controller until `rearm`.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from agents.deployment.contract import Contract
from agents.deployment.guard import validation
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.limiter import Limiter

State = Literal["ok", "hold", "fallback", "stopped"]
FAULTS = (
    *validation.FAULTS,
    "action",  # the controller gave none, or one that is not finite or has the wrong shape
    "surprise",
    "no_plan",  # the planner found no sequence of a finite value
)
"""Recordings number them in this order: a new one comes last."""
INTERVENTIONS = ("hold", "fallback", "stop", "clip", "rate")
log = logging.getLogger("latentmpc.safety")


class Guard:
    """Safety layer of one controller.

    Attributes:
        state: ok, hold, fallback or stopped; only `rearm` leaves stopped.
        faults: what was found on the last tick, what is tolerated included; `detail` in words.
        pending: whether this tick is a bad one so far.
        counters: ticks, bad ticks, faults by kind ("fault/stale"), interventions by kind.
        zero: no action [A], as far as the limits allow; `safe` is the contract's safe one.
        last: what is held: the last action, or none after a reset.
        known: the faults that are reacted to; fewer where a recording of before one is replayed.
    """

    def __init__(self, contract: Contract, config: SafetyConfig | None = None):
        self.config = config or SafetyConfig()
        self.state: State = "ok"
        self.counters: Counter[str] = Counter()
        max_age = self.config.max_obs_age_ms / 1e3 or contract.max_obs_age
        self._validator = validation.ObsValidator(contract, max_age)
        self.limiter = Limiter(contract, self.config.action_rate)
        self.zero, self.safe = self.limiter.zero, self.limiter.safe
        self._given = self.last = self.zero
        self._bad = self._good = 0
        self._found: list[str] = []
        self.pending = False
        self.faults: tuple[str, ...] = ()
        self.detail = self.stop_reason = self._why = ""
        self.known = frozenset(FAULTS)

    def reset(self) -> None:
        """A new episode: no observation and no action came before. A stop stays a stop."""
        self.last = self.zero
        self._validator.forget()

    def rearm(self) -> None:
        """Leave a stop (or fallback): the next tick counts as the first. A person's decision."""
        if self.state == "stopped":
            log.warning("re-armed after: %s", self.stop_reason)
            self.counters["rearm"] += 1
        self.state, self._bad, self._good, self.stop_reason = "ok", 0, 0, ""
        self._validator.forget()

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
        self._found, self.pending, self.detail = [], False, ""
        for kind, detail in self._validator.faults(obs, stamp, sequence, now):
            self.note(kind, detail)
        bad = [kind for kind in self._found if kind not in self.config.tolerated]
        self.pending = bool(bad)
        return bad

    def report(self, kind: str, detail: str = "") -> None:
        """Add a fault found elsewhere to this tick, which is then a bad one."""
        self.note(kind, detail)
        self.pending = True

    def note(self, kind: str, detail: str = "") -> None:
        """Count and log a fault, and no more."""
        self.counters[f"fault/{kind}"] += 1
        self._found.append(kind)
        self.detail = f"{self.detail}; {kind}: {detail}".removeprefix("; ")

    @property
    def why(self) -> str:
        """Why it is in its state, in words; empty when it is ok."""
        return {"ok": "", "stopped": self.stop_reason}.get(self.state, self._why)

    def stop(self, reason: str) -> None:
        """Stop now, until `rearm`."""
        if self.state != "stopped":
            self.state, self.stop_reason = "stopped", reason
            self.counters["stops"] += 1
            log.error("stopped: %s", reason)

    def get_state(self) -> dict[str, Any]:
        """Everything that decides the answers to come, in plain values and arrays."""
        return {
            "guard_state": self.state,
            "stop_reason": self.stop_reason,
            "bad": self._bad,
            "good": self._good,
            "ticks": self.counters["ticks"],
            "sequence": self._validator.sequence,
            "stamp": self._validator.stamp,
            "last": self.last,
            "given": self._given,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what `get_state` gave."""
        self.state, self.stop_reason = state["guard_state"], state["stop_reason"]
        self._bad, self._good = state["bad"], state["good"]
        self.counters["ticks"] = state["ticks"]
        self._validator.sequence, self._validator.stamp = state["sequence"], state["stamp"]
        self.last, self._given = (np.array(state[k], np.float32) for k in ("last", "given"))

    def filter(self, action: Any, fallback: Any = None) -> tuple[np.ndarray, list[str]]:
        """The action of this tick [A] float32, and the interventions in it.

        `action` None says that there is none; `fallback` is what `config.fallback="prior"` plays.
        """
        wanted = None
        if not self.pending and self.state != "stopped":
            wanted = self.limiter.usable(action)
            if wanted is None:
                none = "the controller gave none"
                self.report("action", none if action is None else "not finite, or not of its shape")
        self._advance(self.pending)
        done: list[str] = []
        if self.state == "ok" and wanted is not None:
            chosen = wanted
        else:
            chosen = self._instead(fallback)
            done.append("stop" if self.state == "stopped" else self.state)
        bounded = self.limiter.clip(chosen)
        if self.state == "ok" and (bounded != chosen).any():
            done.append("clip")
        if self.limiter.limits_rate:
            bounded, chosen = self.limiter.slow(bounded, self._given), bounded
            if (bounded != chosen).any():
                done.append("rate")
        bounded.flags.writeable = False  # it is remembered, and handed out
        self.last = self._given = bounded
        self.counters.update(done)
        self.faults, self.pending = tuple(self._found), False
        return bounded, done

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
        """The action in place of the controller's."""
        if self.state == "hold":
            return self.last
        if self.state == "stopped" or self.config.fallback == "safe":
            return self.safe
        array = self.limiter.usable(fallback) if self.config.fallback == "prior" else None
        return self.zero if array is None else array
