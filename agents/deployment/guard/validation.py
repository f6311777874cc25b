"""Observation validation: the schema, the age and the place in the order of what comes in.

Host numpy alone. Anything may be handed in: the answer is a list of faults, never an exception.
"""

import math
from typing import Any

import numpy as np

from agents.deployment.contract import OBS_DTYPES, Contract

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
)
Fault = tuple[str, str]
"""(one of `FAULTS`, what was wrong in words)."""


class ObsValidator:
    """Validates one stream of observations, of which it remembers the newest number (or time)."""

    def __init__(self, contract: Contract, max_age: float):
        obs, size = contract.obs, contract.obs.shape[0]
        self._shape, self._max_age = obs.shape, max_age
        self._low, self._high = bounds(obs.low, size, -np.inf), bounds(obs.high, size, np.inf)
        self.forget()

    def forget(self) -> None:
        """No observation came before."""
        self.sequence: int | None = None
        self.stamp: float | None = None

    def faults(self, obs: Any, stamp: Any, sequence: Any, now: float) -> list[Fault]:
        """All faults; empty when the observation can be used."""
        found = self._content(obs), self._age(stamp, now), self._order(sequence, stamp)
        return [fault for fault in found if fault]

    def _content(self, obs: Any) -> Fault | None:
        if obs is None:
            return "missing", "no observation came"
        try:
            obs = np.asarray(obs)
        except Exception:  # the array function of a stranger may raise anything
            return "dtype", f"{type(obs).__name__} is no array"
        if obs.dtype.name not in OBS_DTYPES or not obs.dtype.isnative:
            return "dtype", f"{obs.dtype}, expected {' or '.join(OBS_DTYPES)}"
        if obs.shape != self._shape:
            return "shape", f"{list(obs.shape)}, expected {list(self._shape)}"
        with np.errstate(over="ignore"):
            finite = np.isfinite(obs.astype(np.float32, copy=False))
        if not finite.all():
            return "finite", f"entries {np.flatnonzero(~finite).tolist()}"
        outside = (obs < self._low) | (obs > self._high)
        if outside.any():
            return "range", f"entries {np.flatnonzero(outside).tolist()}"
        return None

    def _age(self, stamp: Any, now: float) -> Fault | None:
        if stamp is None:
            return None
        if not _is_number(stamp):
            return "stamp", "no time in seconds"
        age = now - float(stamp)
        if age > self._max_age:
            return "stale", f"{1e3 * age:.1f} ms, at most {1e3 * self._max_age:.1f}"
        if age < -self._max_age:
            return "future", f"measured {-1e3 * age:.1f} ms from now"
        return None

    def _order(self, sequence: Any, stamp: Any) -> Fault | None:
        """Compare with the newest number (or time) seen; what comes late changes neither."""
        if sequence is None:
            given, previous, usable = stamp, self.stamp, _is_number(stamp)
        else:
            given, previous = sequence, self.sequence
            usable = isinstance(sequence, int | np.integer) and _is_number(sequence)
        if not usable:
            return None if sequence is None else ("reordered", "its number is none")
        if previous is not None and given == previous:
            return "duplicated", f"{given} came before"
        if previous is not None and given < previous:
            return "reordered", f"{given} after {previous}"
        if sequence is None:
            self.stamp = float(given)
        else:
            self.sequence = int(sequence)
        return None


def _is_number(value: Any) -> bool:
    """Whether it is finite as a float."""
    try:
        return isinstance(value, int | float | np.number) and math.isfinite(value)
    except (OverflowError, TypeError):
        return False


def bounds(given: tuple, size: int, otherwise: float) -> np.ndarray:
    """Bounds [size], `otherwise` where none is given."""
    if not given:
        return np.full(size, otherwise)
    return np.array([otherwise if value is None else value for value in given], float)
