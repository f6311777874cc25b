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
_TAKES = {
    1: "atleast_1d copy nan_to_num ravel",
    2: "all any argmax argmin argsort astype broadcast_to concatenate cross expand_dims flip "
    "getitem matmul max median min ones ones_like reshape round sort squeeze stack transpose "
    "zeros zeros_like",
    3: "clip cumsum diff full full_like mean moveaxis prod roll split std sum swapaxes take "
    "take_along_axis var where",
    4: "linalg.norm",
}
_MOST_ARGS = {name: getattr(np, name).nin for name in UFUNCS} | {
    name: count for count, names in _TAKES.items() for name in names.split()
}
"""How many positional arguments each takes before its `out`, or any other array it writes to."""
FUNCTIONS = set(_MOST_ARGS)
"""What a graph may call: by their names in numpy, and `getitem`, an array's `[...]`."""
KEYWORDS = {"axis", "keepdims", "dtype", "ord", "min", "max", "a_min", "a_max", "fill_value"}
_ALIASES = {"amax": "max", "amin": "min", "hstack": "concatenate"}
_SHAPED = {"zeros": 0, "ones": 0, "full": 0, "broadcast_to": 1, "reshape": 1}
"""Which argument is a shape."""
_KINDS = "biuf"
_TYPES = {
    np.dtype(name).str
    for name in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 "
    "float64".split()
}


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
        """Raises ValueError for fields that no task has and calls that no graph makes."""
        names = [name for name, _ in graph.inputs]
        if not names or any(name.startswith("_") or not name.isidentifier() for name in names):
            raise ValueError("an input that is no field of a simulation")
        if len(graph.calls) > MOST_CALLS:
            raise ValueError(f"more than {MOST_CALLS} calls")
        self._inputs, self._outputs = graph.inputs, graph.outputs
        self._calls, before = [], len(graph.inputs)
        for at, call in enumerate(graph.calls, before):
            if call.name not in FUNCTIONS or not call.kwargs.keys() <= KEYWORDS:
                raise ValueError(f"{call.name[:40]!r} is no call of a task's function")
            _check_arguments(call)
            args = [_argument(arg, at) for arg in call.args]
            kwargs = {key: _argument(value, at) for key, value in call.kwargs.items()}
            self._calls.append((call.name, args, kwargs))
        if any(not 0 <= at < before + len(self._calls) for _, at in self._outputs):
            raise ValueError("an output that is none of its calls")

    def __call__(self, xp: Any, field: Callable[[str], Any]) -> dict[str, Any]:
        """The outputs of `field(name)`, arrays of numpy or jax.numpy. Raises ValueError."""
        given = [_numbers(xp, name, field(name)) for name, _ in self._inputs]
        lead = tuple(np.shape(given[0])[:-1])
        size = math.prod(lead)
        values = [
            xp.reshape(x, (size, *trailing))
            for x, (_, trailing) in zip(given, self._inputs, strict=True)
        ]
        for name, plain, named_ones in self._calls:
            args = [arg(values, size) for arg in plain]
            kwargs = {key: arg(values, size) for key, arg in named_ones.items()}
            if name in UFUNCS:
                _check(name, np.broadcast_shapes(*map(np.shape, args)))
            elif name in _SHAPED and name != "reshape":
                _check(name, np.broadcast_shapes(args[_SHAPED[name]]))
            made = args[0][args[1]] if name == "getitem" else named(xp, name)(*args, **kwargs)
            values.append(_numbers(xp, name, made))
            _check(name, made.shape)
        return {
            name: xp.reshape(values[at], (*lead, *np.shape(values[at])[1:]))
            for name, at in self._outputs
        }


def _check_arguments(call: Call) -> None:
    """Raise ValueError for more arguments than it takes, or a type or shape that is none."""
    if len(call.args) > _MOST_ARGS[call.name]:
        raise ValueError(f"{call.name} takes no more than {_MOST_ARGS[call.name]} arguments")
    match call.kwargs.get("dtype"):
        case None | ["dtype", _]:
            pass
        case _:
            raise ValueError(f"{call.name} with a type that is none")
    if call.name in _SHAPED:
        at = _SHAPED[call.name]
        for shape in call.args[at : at + 1]:
            sizes = shape[1:] if isinstance(shape, list) and shape[:1] == ["tuple"] else [shape]
            batches = [size for size in sizes if type(size) is not int]
            if batches not in ([], [["size"]]):
                raise ValueError(f"{call.name} with a shape that no graph has")


def _numbers(xp: Any, name: str, value: Any) -> Any:
    """The value. Raises ValueError unless it is an array of numbers."""
    if not isinstance(value, (np.ndarray, np.generic, xp.ndarray)) or (
        value.dtype.kind not in _KINDS
    ):
        raise ValueError(f"{name} is no array of numbers")
    return value


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
        case float() if not math.isnan(value):  # an open bound is infinite
            return lambda values, size: value
        case None | int() if value is None or abs(value) <= MOST:
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
    if name not in _TYPES:
        raise ValueError(f"type {name[:20]!r}")
    return np.dtype(name)
