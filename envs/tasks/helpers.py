"""What tasks say again and again, on numpy or jax.numpy arrays with any leading axes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def rotation(xp: Any, data: Any, bodies: list[int] | slice, entry: str) -> Any:
    """Entry `xz` or the like of the rotation matrices of some bodies, [..., number of bodies].

    Takes matrices stored as nine numbers (MuJoCo) and as 3 x 3 (MJX).
    """
    flat = xp.reshape(data.xmat, (*data.qpos.shape[:-1], -1, 9))
    return flat[..., bodies, 3 * "xyz".index(entry[0]) + "xyz".index(entry[1])]


def upright(xp: Any, data: Any, body: int) -> Any:
    """Cosine [...] of the angle between a body's z axis and the vertical."""
    return rotation(xp, data, [body], "zz")[..., 0]


def in_body(xp: Any, data: Any, body: int, vector: Any) -> Any:
    """A vector [..., 3] of the world as a body sees it: forward, left, up."""
    axes = xp.reshape(data.xmat, (*data.qpos.shape[:-1], -1, 3, 3))[..., body, :, :]
    return xp.sum(axes * vector[..., None], axis=-2)


def up_seen(xp: Any, data: Any, body: int) -> Any:
    """Where up is as a body sees it, [..., 3]: (0, 0, 1) upright."""
    return xp.concatenate(
        [rotation(xp, data, [body], entry) for entry in ("zx", "zy", "zz")], axis=-1
    )


def cos_sin(xp: Any, angles: Any) -> Any:
    """Cosines, then sines, of angles [..., n] that may turn without limit: [..., 2n]."""
    return xp.concatenate([xp.cos(angles), xp.sin(angles)], axis=-1)


def angle_difference(xp: Any, left: Any, right: Any) -> Any:
    """`left - right` of angles in radians, wrapped to [-pi, pi)."""
    return (left - right + np.pi) % (2 * np.pi) - np.pi


def norm(xp: Any, x: Any) -> Any:
    """Euclidean length over the last axis."""
    return xp.sqrt(xp.sum(x * x, axis=-1))


def between(positions: Any, origin: int, end: int) -> Any:
    """Vector [..., 3] from one site, geom or body to another of `positions` [..., n, 3]."""
    return positions[..., end, :] - positions[..., origin, :]


def sensor_index(model: Any, *names: str) -> list[int]:
    """Where the numbers of some sensors lie in `sensordata`."""
    sensors = [model.sensor(name) for name in names]
    return [int(s.adr[0]) + i for s in sensors for i in range(int(s.dim[0]))]


def at_least(xp: Any, x: Any, bound: float, margin: float, value_at_margin: float) -> Any:
    """1 where `x` reaches `bound`, falling linearly to `value_at_margin` one `margin` below it."""
    return tolerance(xp, x, (bound, math.inf), margin, "linear", value_at_margin)


def small_control(xp: Any, data: Any) -> Any:
    """1 for no control at all, 0.8 for full controls (of range [-1, 1]), [...]."""
    small = tolerance(xp, data.ctrl, margin=1, value_at_margin=0, sigmoid="quadratic")
    return (xp.sum(small, axis=-1) / data.ctrl.shape[-1] + 4) / 5


def indicator(xp: Any, condition: Any) -> Any:
    """1 where it holds, else 0."""
    return xp.where(condition, 1.0, 0.0)


def tolerance(
    xp: Any,
    x: Any,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
) -> Any:
    """1 where `x` lies within `bounds`, falling to `value_at_margin` one `margin` outside them.

    `x` has any shape, `bounds` are inclusive and may be infinite, and a `margin` (in the units of
    `x`) of 0 makes a step. `sigmoid`, the shape of the fall, is gaussian, hyperbolic, long_tail,
    reciprocal, tanh_squared, or linear, quadratic, cosine, which reach zero at a finite distance.

    Raises ValueError for bounds out of order, a negative margin, an unknown sigmoid or a value at
    the margin that the sigmoid cannot take.
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
    lowest_ok = value >= 0 if sigmoid in _COMPACT else value > 0
    if not (lowest_ok and value < 1):
        raise ValueError(f"value_at_margin of sigmoid {sigmoid!r} is out of range: {value}")
    if sigmoid in _ENDLESS:
        return _ENDLESS[sigmoid](xp, d, value)
    if sigmoid not in _COMPACT:
        raise ValueError(f"unknown sigmoid {sigmoid!r}")
    scale, curve = _COMPACT[sigmoid]
    scaled = d * scale(value)
    return xp.where(abs(scaled) < 1, curve(xp, scaled), 0.0)


_ENDLESS: dict[str, Callable[[Any, Any, float], Any]] = {
    "gaussian": lambda xp, d, v: xp.exp(-0.5 * (d * math.sqrt(-2 * math.log(v))) ** 2),
    "hyperbolic": lambda xp, d, v: 1 / xp.cosh(d * math.acosh(1 / v)),
    "long_tail": lambda xp, d, v: 1 / ((d * math.sqrt(1 / v - 1)) ** 2 + 1),
    "reciprocal": lambda xp, d, v: 1 / (abs(d) * (1 / v - 1) + 1),
    "tanh_squared": lambda xp, d, v: 1 - xp.tanh(d * math.atanh(math.sqrt(1 - v))) ** 2,
}
_COMPACT: dict[str, tuple[Callable[[float], float], Callable[[Any, Any], Any]]] = {
    "linear": (lambda v: 1 - v, lambda xp, x: 1 - x),
    "quadratic": (lambda v: math.sqrt(1 - v), lambda xp, x: 1 - x**2),
    "cosine": (
        lambda v: math.acos(2 * v - 1) / math.pi,
        lambda xp, x: (1 + xp.cos(math.pi * xp.clip(x, -1, 1))) / 2,
    ),
}
"""How the distance is scaled, so that zero is reached at 1; and the curve until there."""
