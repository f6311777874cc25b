"""Watching an array function of a task: its calls of numpy become a `Graph`.

The function runs once on stand-ins for arrays of real simulators; what it does with them, by
operators, by `xp` or by numpy itself, is noted. What depends on the numbers otherwise (a branch, a
loop, a value taken out) cannot be noted and says so.
"""

from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from envs.tasks.graph import FUNCTIONS, KEYWORDS, Call, Graph, array, name_of, named

_METHODS = set(
    "all any argmax argmin astype clip copy max mean min prod ravel squeeze std sum".split()
)
_MAKING = ("zeros", "ones", "full")


class UnrecordableError(ValueError):
    """A function that does what no graph can; one line that says what."""


class _Size(int):
    """How many simulators there are, wherever it came from a shape."""


class _Tape:
    """What has been done so far, with the values that it gave."""

    def __init__(self) -> None:
        self.inputs: list[tuple[str, list[int]]] = []
        self.calls: list[Call] = []
        self.size = 0

    def given(self, name: str, value: np.ndarray) -> "_Array":
        """The stand-in for a field; all of them come before the first call."""
        self.size = len(value)
        self.inputs.append((name, list(value.shape[1:])))
        return _Array(self, ["input", len(self.inputs) - 1], value)

    def call(self, name: str, args: Any, kwargs: Mapping[str, Any]) -> "_Array":
        """Note a call. Raises UnrecordableError."""
        if name not in FUNCTIONS:
            raise UnrecordableError(f"it calls numpy.{name} on what it is given")
        if unknown := kwargs.keys() - KEYWORDS:
            raise UnrecordableError(f"it calls numpy.{name} with {min(unknown)}=")
        plain = [_value(arg) for arg in args]
        if name == "getitem":
            made = plain[0][plain[1]]
        else:
            made = named(np, name)(*plain, **{k: _value(v) for k, v in kwargs.items()})
        if not isinstance(made, np.ndarray | np.generic):
            raise UnrecordableError(f"numpy.{name} gives several arrays")
        noted = {key: self.encode(value) for key, value in kwargs.items()}
        self.calls.append(Call(name, [self.encode(arg) for arg in args], noted))
        return _Array(self, ["call", len(self.calls) - 1], np.asarray(made))

    def encode(self, value: Any) -> Any:
        """An argument as `graph.decode` reads it. Raises UnrecordableError."""
        if isinstance(value, _Array):
            return value.place
        if isinstance(value, _Size):
            return ["size"]
        if value is None or type(value) in (bool, int, float):
            return value
        if isinstance(value, np.ndarray | np.generic):
            return array(np.asarray(value))
        if isinstance(value, slice):
            return ["slice", value.start, value.stop, value.step]
        if isinstance(value, EllipsisType):
            return ["dots"]
        if isinstance(value, tuple | list | range):
            return ["tuple", *(self.encode(item) for item in value)]
        if isinstance(value, type | np.dtype):
            return ["dtype", np.dtype(value).str]
        raise UnrecordableError(f"it uses a {type(value).__name__}")

    def graph(self, outputs: Mapping[str, Any]) -> Graph:
        """What leads to the outputs."""
        for name, made in outputs.items():
            if not isinstance(made, _Array):
                raise UnrecordableError(f"{name} does not depend on the simulation")
        count = len(self.inputs)
        calls = [
            Call(
                c.name, _placed(c.args, count), {k: _placed(v, count) for k, v in c.kwargs.items()}
            )
            for c in self.calls
        ]
        found = [(name, _placed(made.place, count)[1]) for name, made in outputs.items()]
        return Graph(self.inputs, calls, found)


def _placed(value: Any, inputs: int) -> Any:
    """Arguments with the inputs counted before the calls."""
    if not isinstance(value, list):
        return value
    match value:
        case ["input", int(at)]:
            return ["ref", at]
        case ["call", int(at)]:
            return ["ref", inputs + at]
    return [_placed(item, inputs) for item in value]


def _value(arg: Any) -> Any:
    """An argument with the arrays in place of their stand-ins."""
    if isinstance(arg, _Array):
        return arg.value
    if isinstance(arg, tuple | list):
        return type(arg)(_value(item) for item in arg)
    return arg


class _Array(NDArrayOperatorsMixin):
    """A stand-in for an array [E, ...]."""

    def __init__(self, tape: _Tape, place: list[Any], value: np.ndarray) -> None:
        self.tape, self.place, self.value = tape, place, value

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, with the number of simulators marked."""
        sizes = self.value.shape
        batched = sizes and sizes[0] == self.tape.size
        return (_Size(sizes[0]), *sizes[1:]) if batched else sizes

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    @property
    def T(self) -> "_Array":
        return self.tape.call("transpose", (self,), {})

    def reshape(self, *shape: Any) -> "_Array":
        return self.tape.call("reshape", (self, shape[0] if len(shape) == 1 else shape), {})

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(f"{name} of an array is not kept with a task")
        return lambda *args, **kwargs: self.tape.call(name, (self, *args), kwargs)

    def __getitem__(self, index: Any) -> "_Array":
        parts = index if isinstance(index, tuple) else (index,)
        chosen = tuple(
            np.asarray(p, None if len(p) else int) if isinstance(p, list | range) else p
            for p in parts
        )
        return self.tape.call("getitem", (self, chosen), {})

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> "_Array":
        if method != "__call__":
            raise UnrecordableError(f"it calls numpy.{ufunc.__name__}.{method}")
        kwargs.pop("out", None)  # `x += y` gives x another array
        return self.tape.call(ufunc.__name__, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> "_Array":
        return self.tape.call(name_of(function), args, kwargs)

    def _refuse(self, *_: Any) -> Any:
        raise UnrecordableError(
            "it takes single numbers out of an array, writes into one, or branches on one: "
            "xp.where chooses by simulator"
        )

    __bool__ = __float__ = __int__ = __index__ = __len__ = __iter__ = __setitem__ = _refuse
    __array__ = __contains__ = _refuse


class _Numpy:
    """numpy, which also notes arrays made in the size of the batch."""

    def __init__(self, tape: _Tape) -> None:
        self._tape = tape

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if name in ("array", "asarray"):
            return lambda x, *rest, **more: self._array(found, x, *rest, **more)
        if name not in _MAKING:
            return found

        def make(shape: Any, *rest: Any, **more: Any) -> Any:
            sizes = shape if isinstance(shape, tuple | list) else (shape,)
            batched = any(isinstance(n, _Size) for n in sizes)
            return (
                self._tape.call(name, (shape, *rest), more)
                if batched
                else found(shape, *rest, **more)
            )

        return make

    def _array(self, found: Any, x: Any, *rest: Any, **more: Any) -> Any:
        if isinstance(x, _Array):
            return x.astype(*rest, **more) if rest or more else x
        if isinstance(x, list | tuple) and any(isinstance(item, _Array) for item in x):
            return self._tape.call("stack", (x,), {})
        return found(x, *rest, **more)


class _Fields:
    """Stand-ins for the fields of the simulators, made when they are first asked for."""

    def __init__(self, tape: _Tape, field: Callable[[str], Any]) -> None:
        self._tape, self._field = tape, field

    def __getattr__(self, name: str) -> _Array:
        if name.startswith("_"):
            raise AttributeError(name)
        found = self._field(name)
        if not isinstance(found, np.ndarray):
            raise UnrecordableError(f"it reads data.{name}, which is no array")
        setattr(self, name, made := self._tape.given(name, found))
        return made


def record(
    function: Callable[[Any, Any], Any], field: Callable[[str], Any], first: str = "qpos"
) -> Graph:
    """What `function(xp, data)` does with `field(name)` [E, ...]; a mapping or one array.

    `first` is the field whose leading axes count. Raises UnrecordableError.
    """
    tape = _Tape()
    data = _Fields(tape, field)
    getattr(data, first)
    try:
        made = function(_Numpy(tape), data)
    except UnrecordableError:
        raise
    except Exception as error:  # the function is the user's, the stand-ins are ours
        raise UnrecordableError(
            " ".join(f"{type(error).__name__}: {error}".split())[:200]
        ) from None
    return tape.graph(made if isinstance(made, Mapping) else {"": made})
