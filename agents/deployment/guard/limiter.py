"""Limits of an action and of its change. Host numpy, float32."""

from typing import Any

import numpy as np

from agents.deployment.contract import Contract, ContractError
from agents.deployment.guard.validation import bounds


class Limiter:
    """The action limits of a contract, float32 [A].

    `zero` is no action, as far as `low` and `high` allow; `safe` is the contract's safe one.
    """

    def __init__(self, contract: Contract, action_rate: float = 0.0):
        """`action_rate`, where it is given, is the most change of any entry a second.

        Raises ContractError when nothing is between the limits.
        """
        limits = contract.action
        self.low, self.high = _inward(limits.low, np.inf), _inward(limits.high, -np.inf)
        if (self.low > self.high).any():
            raise ContractError("action.low and action.high have no float32 number between them")
        self.zero = self.clip(np.zeros(limits.dim, np.float32))
        self.safe = self.clip(np.asarray(limits.safe or self.zero, np.float32))
        rate = np.minimum(bounds(limits.rate, limits.dim, np.inf), action_rate or np.inf)
        with np.errstate(over="ignore"):
            self._step = (rate * contract.period).astype(np.float32)
        self.limits_rate = bool(np.isfinite(rate).any())

    def usable(self, value: Any) -> np.ndarray | None:
        """Anything as a finite float32 array [A], or None where it is no such thing."""
        try:
            array = np.asarray(value)
        except Exception:  # the array function of a stranger may raise anything
            return None
        if array.dtype.kind not in "fiu" or array.shape != self.low.shape:
            return None
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
        return array if np.isfinite(array).all() else None

    def clip(self, action: np.ndarray) -> np.ndarray:
        """The nearest action inside the limits, a new array."""
        return np.minimum(np.maximum(action, self.low), self.high)

    def slow(self, action: np.ndarray, before: np.ndarray) -> np.ndarray:
        """As far towards `action` as may be gone from the one given `before` in a period."""
        with np.errstate(over="ignore"):
            change = action - before
        moved = before + np.clip(change, -self._step, self._step)
        return self.clip(np.where(np.abs(change) <= self._step, action, moved))


def _inward(limit: tuple[float, ...], inside: float) -> np.ndarray:
    """A limit in float32; where rounding moves it outwards, the next number towards `inside`."""
    exact = np.asarray(limit)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    outward = rounded < exact if inside > 0 else rounded > exact
    return np.where(outward, np.nextafter(rounded, np.float32(inside)), rounded)
