"""A soft indicator on numpy or jax.numpy arrays: the building block of the suite's rewards."""

import math
from typing import Any

_ZERO_ALLOWED = ("cosine", "linear", "quadratic")


def tolerance(
    xp: Any,
    x: Any,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
) -> Any:
    """1 where `x` lies within `bounds`, falling to `value_at_margin` one `margin` outside them.

    Args:
        xp: numpy or jax.numpy.
        x: array of any shape.
        bounds: inclusive (lower, upper), either may be infinite.
        margin: distance over which the value falls, in the units of `x`; 0 makes a step.
        sigmoid: shape of the fall, one of the names in `_fall`.
        value_at_margin: value at distance `margin`.

    Returns:
        Array of the shape of `x`, in [0, 1].

    Raises:
        ValueError: bounds out of order, negative margin, unknown sigmoid or a value at the margin
            that the sigmoid cannot take.
    """
    lower, upper = bounds
    if lower > upper:
        raise ValueError(f"bounds must be in order, got {bounds}")
    if margin < 0:
        raise ValueError(f"margin must not be negative, got {margin}")
    inside = (x >= lower) & (x <= upper)
    if margin == 0:
        return xp.where(inside, 1.0, 0.0)
    distance = xp.where(x < lower, lower - x, x - upper) / margin
    return xp.where(inside, 1.0, _fall(xp, distance, sigmoid, value_at_margin))


def _fall(xp: Any, d: Any, sigmoid: str, value: float) -> Any:
    """The curve of kind `sigmoid` at distance `d` (in margins), through `value` at distance 1."""
    lowest_ok = value >= 0 if sigmoid in _ZERO_ALLOWED else value > 0
    if not (lowest_ok and value < 1):
        raise ValueError(f"value_at_margin of sigmoid {sigmoid!r} is out of range: {value}")
    if sigmoid == "gaussian":
        return xp.exp(-0.5 * (d * math.sqrt(-2 * math.log(value))) ** 2)
    if sigmoid == "hyperbolic":
        return 1 / xp.cosh(d * math.acosh(1 / value))
    if sigmoid == "long_tail":
        return 1 / ((d * math.sqrt(1 / value - 1)) ** 2 + 1)
    if sigmoid == "reciprocal":
        return 1 / (abs(d) * (1 / value - 1) + 1)
    if sigmoid == "tanh_squared":
        return 1 - xp.tanh(d * math.atanh(math.sqrt(1 - value))) ** 2
    return _compact_fall(xp, d, sigmoid, value)


def _compact_fall(xp: Any, d: Any, sigmoid: str, value: float) -> Any:
    """The curves that reach exactly zero at a finite distance."""
    if sigmoid == "linear":
        scaled = d * (1 - value)
        curve = 1 - scaled
    elif sigmoid == "quadratic":
        scaled = d * math.sqrt(1 - value)
        curve = 1 - scaled**2
    elif sigmoid == "cosine":
        scaled = d * (math.acos(2 * value - 1) / math.pi)
        finite = xp.where(abs(scaled) < 1, scaled, 1.0)
        curve = (1 + xp.cos(math.pi * finite)) / 2
    else:
        raise ValueError(f"unknown sigmoid {sigmoid!r}")
    return xp.where(abs(scaled) < 1, curve, 0.0)
