"""Values of somebody's attributes as tagged lists that msgpack can write, and back.

Values go back into an environment that is there already: objects are never made, their attributes
are set, and what cannot be kept stays as it is.
"""

import copy
import logging
import random
import types
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

import gymnasium
import numpy as np

from envs.spec import UnsavableError

MOST_DEPTH, MOST_VALUES = 12, 100_000
_STREAMS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_SEQUENCES: dict[str, Callable[[list], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_PLAIN = (bool, float, str, bytes)
_NEVER = (type, types.ModuleType, logging.Logger, Enum, gymnasium.Space, gymnasium.Env)
_LEFT = ["left"]
"""Stands for what cannot be kept."""


def is_object(value: Any) -> bool:
    """Whether it has attributes that are looked into, and set."""
    return hasattr(value, "__dict__") and not isinstance(value, _NEVER) and not callable(value)


class Packer:
    """Values as tagged lists that msgpack can write."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._count = 0

    def pack(self, value: Any, depth: int) -> list:
        """A value with its tag; _LEFT for what cannot be kept. Raises UnsavableError: too many."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise UnsavableError("its state is too large to be saved")
        if depth > MOST_DEPTH:
            return _LEFT
        if value is None or type(value) in _PLAIN:
            return ["plain", value]
        if type(value) is int:
            return ["int", str(value)]
        if isinstance(value, Enum):
            return ["enum", value.name] if value.name in type(value).__members__ else _LEFT
        if isinstance(value, np.ndarray | np.generic):
            return _packed_array(value)
        if isinstance(value, np.random.Generator):
            return ["stream", self.pack(value.bit_generator.state, depth + 1)]
        if isinstance(value, np.random.RandomState):
            return ["legacy", self.pack(value.get_state(legacy=False), depth + 1)]
        if type(value) is random.Random:
            return ["random", self.pack(value.getstate(), depth + 1)]
        return self._pack_inside(value, depth + 1)

    def _pack_inside(self, value: Any, depth: int) -> list:
        if isinstance(value, dict) and not getattr(value, "__dict__", None):
            return ["dict", [[self.pack(k, depth), self.pack(x, depth)] for k, x in value.items()]]
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return ["named", [self.pack(x, depth) for x in value]]
        if type(value) is deque:
            return ["deque", [self.pack(x, depth) for x in value], value.maxlen]
        if (name := type(value).__name__) in _SEQUENCES and type(value) is _SEQUENCES[name]:
            return [name, [self.pack(x, depth) for x in value]]
        if not is_object(value) or id(value) in self._seen:
            return _LEFT
        self._seen.add(id(value))
        return ["object", self.pack(vars(value), depth)]


def _packed_array(value: Any) -> list:
    base = value
    while isinstance(getattr(base, "base", None), np.ndarray):
        base = base.base
    inside_another = getattr(base, "base", None) is not None  # a view on MuJoCo's own memory
    if value.dtype.kind not in "biufcSU" or inside_another:
        return _LEFT
    kind = "array" if isinstance(value, np.ndarray) else "number"
    return [kind, value.dtype.str, list(value.shape), value.tobytes()]


def set_attributes(holder: Any, packed: list) -> None:
    """Set what a packed vars(holder) holds; what could not be kept stays."""
    for (_, name), value in packed[1]:
        if value != _LEFT:
            vars(holder)[name] = unpacked(value, vars(holder).get(name))


def unpacked(packed: list, there: Any) -> Any:
    """The value; what could not be kept is as in `there`."""
    tag, *rest = packed
    if tag == "left":
        return there
    if tag == "plain":
        return rest[0]
    if tag == "int":
        return int(rest[0])
    if tag == "enum":
        return type(there)[rest[0]] if isinstance(there, Enum) else there
    if tag in ("array", "number"):
        array = np.frombuffer(rest[2], np.dtype(rest[0])).reshape(rest[1]).copy()
        return array if tag == "array" else array[()]
    if tag == "object":
        if is_object(there):
            set_attributes(there, rest[0])
        return there
    if tag in ("stream", "legacy", "random"):
        return _stream(tag, unpacked(rest[0], None), there)
    if tag == "dict":
        old = there if isinstance(there, dict) else {}
        member = next((key for key in old if isinstance(key, Enum)), None)
        pairs = [(unpacked(key, member), value) for key, value in rest[0]]
        return _like({key: unpacked(value, old.get(key)) for key, value in pairs}, there)
    old = list(there) if isinstance(there, list | tuple | deque) else []
    values = [unpacked(x, old[i] if i < len(old) else None) for i, x in enumerate(rest[0])]
    if tag == "named":
        named = isinstance(there, tuple) and hasattr(there, "_fields")
        return type(there)(*values) if named else there
    return deque(values, rest[1]) if tag == "deque" else _SEQUENCES[tag](values)


def _like(table: dict, there: Any) -> dict:
    """A table of the kind of `there`, whose default for missing keys it has."""
    if not isinstance(there, dict) or type(there) is dict:
        return table
    found = copy.copy(there)  # itself may be another's as well
    found.clear()
    found.update(table)
    return found


def _stream(tag: str, state: Any, there: Any) -> Any:
    """A random stream in that state; the same object where it is of the same kind."""
    if tag == "legacy":
        found = there if isinstance(there, np.random.RandomState) else np.random.RandomState()
        found.set_state(state)
        return found
    if tag == "random":
        found = there if type(there) is random.Random else random.Random()
        found.setstate(state)
        return found
    name = _STREAMS[_STREAMS.index(state["bit_generator"])]
    if not isinstance(there, np.random.Generator) or type(there.bit_generator).__name__ != name:
        there = np.random.Generator(getattr(np.random, name)())
    there.bit_generator.state = state
    return there
