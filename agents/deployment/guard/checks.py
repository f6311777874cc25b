"""What can be wrong with an observation: its schema, its age, its place in the order.

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


class Checks:
    """The checks of one stream of observations.

    Attributes:
        sequence: the newest number seen.
        stamp: the newest time seen, of observations without a number.
        detail: what was wrong with the last one, in words.
    """

    def __init__(self, contract: Contract, max_age: float):
        obs, size = contract.obs, contract.obs.shape[0]
        self._shape, self._max_age = obs.shape, max_age
        self._low, self._high = bounds(obs.low, size, -np.inf), bounds(obs.high, size, np.inf)
        self._bounded = bool(np.isfinite([self._low, self._high]).any())
        self.detail = ""
        self.forget()

    def forget(self) -> None:
        """No observation came before."""
        self.sequence: int | None = None
        self.stamp: float | None = None

    def faults(self, obs: Any, stamp: Any, sequence: Any, now: float) -> list[str]:
        """Kinds of `FAULTS`; empty when the observation can be used."""
        self.detail = ""
        return self._content(obs) + self._age(stamp, now) + self._order(sequence, stamp)

    def _content(self, obs: Any) -> list[str]:
        if obs is None:
            return self._found("missing", "no observation came")
        try:
            obs = np.asarray(obs)
        except Exception:  # the array function of a stranger may raise anything
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
            outside = (obs < self._low) | (obs > self._high)
            if outside.any():
                return self._found("range", f"entries {np.flatnonzero(outside).tolist()}")
        return []

    def _age(self, stamp: Any, now: float) -> list[str]:
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

    def _order(self, sequence: Any, stamp: Any) -> list[str]:
        """Compare with the newest number (or time) seen; what comes late changes neither."""
        if sequence is None:
            given, previous = stamp, self.stamp
        else:
            given, previous = sequence, self.sequence
        whole = sequence is None or isinstance(sequence, int | np.integer)
        if not whole or not _is_number(given):
            return [] if sequence is None else self._found("reordered", "its number is none")
        if previous is not None and given == previous:
            return self._found("duplicated", f"{given} came before")
        if previous is not None and given < previous:
            return self._found("reordered", f"{given} after {previous}")
        if sequence is None:
            self.stamp = float(given)
        else:
            self.sequence = int(sequence)
        return []

    def _found(self, kind: str, detail: str) -> list[str]:
        self.detail = f"{self.detail}; {kind}: {detail}".removeprefix("; ")
        return [kind]


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
