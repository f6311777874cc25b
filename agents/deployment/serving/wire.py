"""The wire of the controller server: msgpack messages with numpy arrays, as openpi's client speaks.

An array travels as the map {b"__ndarray__": true, b"data": bytes, b"dtype": "<f4", b"shape":
[...]}, a numpy scalar as {b"__npgeneric__": true, b"data": number, b"dtype": "<f4"}. Everything
that arrives is untrusted: only plain numeric types are made, sizes are checked before they are
believed, and whatever is wrong is one WireError. Imports no jax.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from agents.runs.bounds import shown

ARRAY, SCALAR = b"__ndarray__", b"__npgeneric__"
NUMERIC = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")
MAX_DIMS = 8
MAX_DEPTH = 8
KEYS = ("obs", "reset", "sequence", "age_s", "rearm", "robot")
STATED, MOST_NAMES = ("actuators", "units", "joints"), 1000


class WireError(ValueError):
    """A message that cannot be understood; `str(e)` is one line for its sender."""


class Request(NamedTuple):
    """A client's message, checked for form; whether the numbers make sense is the guard's."""

    obs: np.ndarray | None
    """The observation as it was sent; None for a message that only resets."""
    reset: bool
    """Begin an episode: forget the plan."""
    sequence: int | None
    """The client's number of this observation, to find repeated and reordered ones."""
    age_s: float
    """Seconds since the observation was taken, by the client's clock."""
    rearm: bool
    """Leave a latched stop."""
    robot: dict[str, Any] | None = None
    """What the robot states of itself, as `Contract.mismatch` has it."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes; arrays and numpy scalars at any depth. Raises WireError."""
    try:
        return msgspec.msgpack.encode(message, enc_hook=_encoded)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"cannot be sent: {error}") from error


def unpack(data: bytes) -> dict[Any, Any]:
    """The message in the bytes. Raises WireError: not msgpack, no map, or a bad array in it."""
    try:
        message = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise WireError(f"not a msgpack message: {error}") from None
    message = _decoded(message, 0)
    if not isinstance(message, dict):
        raise WireError(f"expected a map with {', '.join(KEYS)}, got {type(message).__name__}")
    return message


def parse_request(data: bytes) -> Request:
    """A client's message. Raises WireError naming the key and what was expected."""
    message = unpack(data)
    if unknown := [key for key in message if key not in KEYS]:
        raise WireError(f"unknown key {shown(unknown[0])}: expected {', '.join(KEYS)}")
    for name in ("reset", "rearm"):
        if not isinstance(flag := message.get(name, False), bool | np.bool_):
            raise WireError(f"{name} must be true or false, got {shown(flag)}")
    reset, rearm = bool(message.get("reset")), bool(message.get("rearm"))
    sequence, age = message.get("sequence"), message.get("age_s", 0.0)
    if sequence is not None and not (_is_integer(sequence) and 0 <= sequence < 2**63):
        raise WireError(f"sequence must be an integer from 0, got {shown(sequence)}")
    if not _is_number(age) or not 0.0 <= float(age) < math.inf:
        raise WireError(f"age_s must be a number of seconds from 0, got {shown(age)}")
    robot = _robot(message.get("robot"))
    if message.get("obs") is None:
        if not (reset or rearm or robot):
            raise WireError("no obs: send {'obs': array}, or {'reset': true}")
        return Request(None, reset, None, 0.0, rearm, robot)
    sequence = None if sequence is None else int(sequence)
    return Request(_observation(message["obs"]), reset, sequence, float(age), rearm, robot)


def _robot(stated: Any) -> dict[str, Any] | None:
    """What a robot states of itself. Raises WireError."""
    if stated is None:
        return None
    if not isinstance(stated, dict) or not stated.keys() <= {*STATED, "rate_hz"}:
        raise WireError(f"robot must be a map of {', '.join(STATED)}, rate_hz, got {shown(stated)}")
    for name in STATED:
        names = stated.get(name, [])
        plain = isinstance(names, list) and all(isinstance(text, str) for text in names)
        if not plain or len(names) > MOST_NAMES:
            raise WireError(f"robot.{name} must be a list of text, got {shown(names)}")
    rate = stated.get("rate_hz", 1.0)
    if not _is_number(rate) or not 0.0 < float(rate) < math.inf:
        raise WireError(f"robot.rate_hz must be a positive number, got {shown(rate)}")
    return stated


def _observation(obs: Any) -> np.ndarray:
    """An array, or a plain list of numbers."""
    if isinstance(obs, list) and obs and all(map(_is_number, obs)):
        try:
            return np.array([float(x) for x in obs], np.float32)
        except OverflowError:
            raise WireError("obs holds an integer too large for a number") from None
    if not isinstance(obs, np.ndarray):
        raise WireError(f"obs must be an array or a list of numbers, got {shown(obs)}")
    return obs


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        dtype, data = _dtype(value.dtype.str).str, np.ascontiguousarray(value).tobytes()
        return {ARRAY: True, b"data": data, b"dtype": dtype, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {SCALAR: True, b"data": value.item(), b"dtype": _dtype(value.dtype.str).str}
    raise TypeError(f"{type(value).__name__} is no plain value")


def _decoded(value: Any, depth: int) -> Any:
    """`value` with the arrays in it made."""
    if depth > MAX_DEPTH:
        raise WireError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_decoded(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if ARRAY in value or SCALAR in value:
        make = _array if ARRAY in value else _scalar
        return make(_dtype(value.get(b"dtype")), value.get(b"data"), value.get(b"shape"))
    return {key: _decoded(item, depth + 1) for key, item in value.items()}


def _array(dtype: np.dtype, data: Any, shape: Any) -> np.ndarray:
    if not isinstance(data, bytes):
        raise WireError("an array's data must be bytes")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMS
        or not all(_is_integer(n) and 0 <= n <= max(1, len(data)) for n in shape)
    ):
        raise WireError(f"an array's shape must be up to {MAX_DIMS} sizes, got {shown(shape)}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"an array of {dtype.str}{shape} does not have {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def _scalar(dtype: np.dtype, data: Any, shape: Any) -> np.generic:
    if not _is_number(data) and not isinstance(data, bool):
        raise WireError(f"a scalar's data must be a number, got {shown(data)}")
    try:
        return dtype.type(data)
    except (OverflowError, ValueError, TypeError) as error:
        raise WireError(f"a scalar of {dtype.str}: {error}") from None


def _dtype(name: Any) -> np.dtype:
    if not isinstance(name, str) or not NUMERIC.fullmatch(name):
        raise WireError(f"dtype must be a plain numeric one, as <f4, got {shown(name)}")
    return np.dtype(name)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float | np.floating)
