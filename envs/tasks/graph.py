"""An array function as data: which functions of numpy are called on which numbers, in order.

`envs.tasks.recording` writes a `Graph` by watching a function of a task. A `Function` makes the
same calls, so that its values are equal to the last bit. Whoever wrote it, it can call FUNCTIONS
alone and makes no array of more than MOST numbers.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

MOST, MOST_CALLS = 1 << 24, 20_000
UFUNCS = set(
    "absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or "
    "bitwise_xor cbrt ceil copysign cos cosh deg2rad divide equal exp exp2 expm1 fabs floor "
    "floor_divide fmax fmin fmod greater greater_equal hypot invert isfinite isinf isnan less "
    "less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor "
    "maximum minimum multiply negative not_equal positive power rad2deg reciprocal remainder rint "
    "sign signbit sin sinh sqrt square subtract tan tanh trunc".split()
)
FUNCTIONS = UFUNCS | set(
    "all any argmax argmin argsort astype atleast_1d broadcast_to clip concatenate copy cross "
    "cumsum diff expand_dims flip full full_like linalg.norm matmul max mean median min moveaxis "
    "nan_to_num ones ones_like prod ravel reshape roll round sort split squeeze stack std sum "
    "swapaxes take take_along_axis transpose var where zeros zeros_like getitem".split()
)
"""What a graph may call: by their names in numpy, and `getitem`, an array's `[...]`."""
KEYWORDS = {"axis", "keepdims", "dtype", "ord", "min", "max", "a_min", "a_max", "fill_value"}
_ALIASES = {"amax": "max", "amin": "min", "hstack": "concatenate"}
_KINDS = "biuf"


class Call(msgspec.Struct, array_like=True):
    """One call; `args` and `kwargs` are as `encode` writes them."""

    name: str
    args: list[Any]
    kwargs: dict[str, Any]


class Graph(msgspec.Struct):
    """A function of fields [..., *trailing] with any leading batch axes, to arrays by name."""

    inputs: list[tuple[str, list[int]]]
    """(field, trailing shape); the first has one trailing axis."""
    calls: list[Call]
    outputs: list[tuple[str, int]]
    """(name, which of the inputs and calls it is)."""


class Function:
    """A graph that can be called."""

    def __init__(self, graph: Graph) -> None:
        """Raises ValueError for calls that no graph makes."""
        if len(graph.calls) > MOST_CALLS:
            raise ValueError(f"more than {MOST_CALLS} calls")
        self._inputs, self._outputs, self._checked = graph.inputs, graph.outputs, set()
        self._calls, before = [], len(graph.inputs)
        for at, call in enumerate(graph.calls, before):
            if call.name not in FUNCTIONS or not call.kwargs.keys() <= KEYWORDS:
                raise ValueError(f"{call.name[:40]!r} is no call of a task's function")
            args = [_argument(arg, at) for arg in call.args]
            kwargs = {key: _argument(value, at) for key, value in call.kwargs.items()}
            self._calls.append((call.name, args, kwargs))
        if any(not 0 <= at < before + len(self._calls) for _, at in self._outputs):
            raise ValueError("an output that is none of its calls")

    def __call__(self, xp: Any, field: Callable[[str], Any]) -> dict[str, Any]:
        """The outputs of `field(name)`, arrays of numpy or jax.numpy. Raises ValueError."""
        given = [field(name) for name, _ in self._inputs]
        lead = tuple(np.shape(given[0])[:-1])
        size = math.prod(lead)
        values = [
            xp.reshape(x, (size, *trailing))
            for x, (_, trailing) in zip(given, self._inputs, strict=True)
        ]
        known = size in self._checked  # shapes follow from it
        for name, plain, named_ones in self._calls:
            args = [arg(values, size) for arg in plain]
            kwargs = {key: arg(values, size) for key, arg in named_ones.items()}
            if not known and name in UFUNCS:
                _check(name, np.broadcast_shapes(*map(np.shape, args)))
            values.append(
                args[0][args[1]] if name == "getitem" else named(xp, name)(*args, **kwargs)
            )
            if not known:
                _check(name, np.shape(values[-1]))
        self._checked.add(size)
        return {
            name: xp.reshape(values[at], (*lead, *np.shape(values[at])[1:]))
            for name, at in self._outputs
        }


def _check(name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError for an array that is too large."""
    if math.prod(shape) > MOST:
        raise ValueError(f"{name} makes more than {MOST} numbers")


def named(xp: Any, name: str) -> Any:
    """The function of that name in numpy or jax.numpy."""
    folder, _, last = name.rpartition(".")
    return getattr(getattr(xp, folder) if folder else xp, last)


def name_of(function: Any) -> str:
    """The name under which a graph calls a function of numpy."""
    folder = function.__module__.removeprefix("numpy").lstrip(".")
    name = f"{folder}.{function.__name__}" if folder == "linalg" else function.__name__
    return _ALIASES.get(name, name)


def array(value: np.ndarray) -> list[Any]:
    """A constant as a graph holds it. Raises ValueError for one that is not of numbers."""
    if value.dtype.kind not in _KINDS:
        raise ValueError(f"an array of {value.dtype}")
    return ["array", value.dtype.str, list(value.shape), np.ascontiguousarray(value).tobytes()]


def _argument(value: Any, before: int) -> Callable[[list[Any], int], Any]:
    """(values so far, size of the batch) -> an argument; of a call that `before` values precede.

    Raises ValueError for what `recording` does not write.
    """
    match value:
        case ["ref", int(at)] if 0 <= at < before:
            return lambda values, size: values[at]
        case ["size"]:
            return lambda values, size: size
        case ["tuple", *items]:
            parts = [_argument(item, before) for item in items]
            sizes = [item for item in items if type(item) is int and item > 0]
            if math.prod(sizes) <= MOST:
                return lambda values, size: tuple([part(values, size) for part in parts])
        case list():
            constant = decode(value)
            return lambda values, size: constant
        case _ if not isinstance(value, int) or abs(value) <= MOST:
            return lambda values, size: value
    raise ValueError("an argument that no graph has")


def decode(value: list[Any]) -> Any:
    """["dots"], ["slice", start, stop, step], ["dtype", name] or what `array` gave."""
    match value:
        case ["dots"]:
            return Ellipsis
        case ["slice", *ends] if len(ends) == 3 and all(isinstance(x, int | None) for x in ends):
            return slice(*ends)
        case ["dtype", str(name)]:
            return _dtype(name)
        case ["array", str(name), list(shape), bytes(data)]:
            return np.frombuffer(data, _dtype(name)).reshape(shape)
    raise ValueError("an argument that no graph has")


def _dtype(name: str) -> np.dtype:
    """A plain numeric type. Raises ValueError."""
    found = np.dtype(name) if len(name) <= 4 and name.isprintable() else None
    if found is None or found.kind not in _KINDS or found.itemsize > 8:
        raise ValueError(f"type {name[:20]!r}")
    return found
