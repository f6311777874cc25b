"""What a robot may be sent: limits of an action and of its change. Host numpy, float32."""

from typing import Any

import numpy as np

from agents.deployment.contract import Contract, ContractError
from agents.deployment.guard.checks import bounds


class Limiter:
    """The action limits of a contract.

    Attributes:
        low: least action [A] float32; rounding has not moved it outwards.
        high: greatest action.
        zero: no action, as far as the limits allow.
        safe: the contract's safe action.
        limits_rate: whether the change of an action is limited.
    """

    def __init__(self, contract: Contract, action_rate: float = 0.0):
        """`action_rate`, where it is given, is the most change of any entry a second.

        Raises ContractError when nothing is between the limits.
        """
        limits = contract.action
        self.low, self.high = _inward(limits.low, limits.high)
        self.zero = self.clip(np.zeros(limits.dim, np.float32))
        self.safe = self.clip(np.asarray(limits.safe or self.zero, np.float32))
        rate = bounds(limits.rate, limits.dim, np.inf)
        if action_rate:
            rate = np.minimum(rate, action_rate)
        self._step = np.minimum(rate * contract.period, 3e38).astype(np.float32)
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


def _inward(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Limits in float32 that rounding has not moved outwards. Raises ContractError."""
    with np.errstate(over="ignore"):
        low32, high32 = np.asarray(low, np.float32), np.asarray(high, np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    low32 = np.where(low32.astype(float) < np.asarray(low), np.nextafter(low32, up), low32)
    high32 = np.where(high32.astype(float) > np.asarray(high), np.nextafter(high32, down), high32)
    if (low32 > high32).any():
        raise ContractError("action.low and action.high have no float32 number between them")
    return low32, high32
