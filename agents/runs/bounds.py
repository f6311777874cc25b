"""Bounds of settings, said once in the type of each field, and the one function that checks them.

    @dataclass(frozen=True)
    class SearchConfig(Settings, block="search"):
        num_samples: Count = 128
        decay: Annotated[float, Meta(gt=0, le=1)] = 0.5

Flags, files, stored settings and settings made by a program are all held to these types. Upper
bounds are generous: what a large machine could mean. The settings of `wm` and `planning` hold
themselves to theirs; their types are read here alike. Imports no jax.
"""

import contextlib
import difflib
import functools
import numbers
import re
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from operator import ge, gt, le, lt
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
NUMBERS = {int: numbers.Integral, float: numbers.Real}

Seed = Annotated[int, Meta(ge=0, lt=2**31)]
"""What random streams can begin from."""
Total = Annotated[int, Meta(ge=1, lt=2**31)]
"""Steps, rows or updates of a whole run, which are counted in 32 bits."""
Period = Annotated[int, Meta(ge=0, lt=2**31)]
"""The same, where 0 says that there is none or that the default is taken."""
Count = Annotated[int, Meta(ge=1, le=2**20)]
Some = Annotated[int, Meta(ge=0, le=2**20)]
Width = Annotated[int, Meta(ge=1, le=2**14)]
"""Of a layer or a latent."""
Few = Annotated[int, Meta(ge=1, le=1000)]
"""Steps of a horizon, heads, layers: what programs are unrolled or repeated over."""
FewOrNone = Annotated[int, Meta(ge=0, le=1000)]
Episodes = Annotated[int, Meta(ge=1, le=10_000)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]
PositiveShare = Annotated[float, Meta(gt=0, le=1)]
InnerShare = Annotated[float, Meta(gt=0, lt=1)]


TaskId = Annotated[
    str,
    Meta(
        pattern=r"(?=.{0,2000}\Z)(?:[./]*\w+(?:[./:@,+ -]+\w+)*,?)?",
        description="be the id of a task (`latentmpc tasks` lists them)",
    ),
]
MOST_TEXT = 2**16


class ConfigError(ValueError):
    """A setting the user can fix; shown as one line."""

    exit_code = 2


class Settings:
    """Base of all dataclasses of settings; `block` is their name in front of a field's."""

    block = ""

    def __init_subclass__(cls, block: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.block = f"{block}." if block else cls.block

    def __post_init__(self):
        """Raise ConfigError naming the first field whose value its type does not hold."""
        check_all(self, self.block)


def check_all(config: Any, block: str = "") -> None:
    """Raise ConfigError naming the first field, or one of settings inside, that is not held."""
    for name, kind in kinds(type(config)).items():
        value = getattr(config, name)
        check(f"{block}{name}", value, kind)
        if is_dataclass(kind) and not isinstance(value, Settings):
            check_all(value, f"{block}{name}.")


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Make a ConfigError of the ValueError with which settings of `wm` or `planning` refuse."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


@functools.cache
def kinds(cls: type) -> dict[str, Any]:
    """Type of every field that can be given, with its bounds and without what others annotate."""
    plain, full = get_type_hints(cls), get_type_hints(cls, include_extras=True)
    bounded = {name for name, kind in full.items() if any(map(_meta, options(kind)))}
    return {f.name: (full if f.name in bounded else plain)[f.name] for f in fields(cls) if f.init}


def check(name: str, value: Any, kind: Any, where: str = "") -> None:
    """Raise ConfigError unless `value` is of the type `kind` and in its bounds."""
    if any(_fits(value, option) for option in options(kind)):
        return
    wanted = dict.fromkeys(_wanted(o, value) for o in options(kind) if o is not type(None))
    raise ConfigError(
        f"{where}{name} must {' or '.join(wanted)}, got {shown(value)}{_hint(value, kind)}"
    )


def shown(value: Any) -> str:
    """A value in a message: text in quotes, and never longer than a line has room for."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def read(name: str, text: str, kind: Any) -> Any:
    """The value that a text spells. Raises ConfigError unless it is of the type `kind`."""
    for option in map(base, options(kind)):
        if option in (int, float):
            with contextlib.suppress(ValueError):
                return option(text)
        elif option is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        elif chosen := [c for c in get_args(option) if str(c) == text]:
            return chosen[0]
    check(name, text, kind)
    return text


@functools.cache
def options(kind: Any) -> tuple[Any, ...]:
    """The types of which a value may have any."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def base(option: Any) -> Any:
    """A type without its bounds."""
    return get_args(option)[0] if get_origin(option) is Annotated else option


def holds(kind: Any, wanted: type) -> bool:
    """Whether a value of the type `kind` may be a `wanted`."""
    return wanted in map(base, options(kind))


@functools.cache
def _meta(option: Any) -> Meta | None:
    """The bounds that a type states."""
    given = get_args(option)[1:] if get_origin(option) is Annotated else ()
    return next((meta for meta in given if isinstance(meta, Meta)), None)


def _has_type(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(type(value) is type(known) and value == known for known in get_args(kind))
    if not isinstance(kind, type):
        return True
    right = isinstance(value, NUMBERS.get(kind, kind))
    return right and (kind is bool or not isinstance(value, bool))


def _fits(value: Any, option: Any) -> bool:
    """Whether a value has a type and lies in its bounds; NaN lies in none."""
    meta = _meta(option)
    if not _has_type(value, base(option)):
        return False
    if isinstance(value, str):
        plain = len(value) <= MOST_TEXT and "\0" not in value
        return plain and (not meta or bool(re.fullmatch(meta.pattern or "", value, re.ASCII)))
    return not meta or all(
        bound is None or lies(value, bound)
        for lies, bound in ((ge, meta.ge), (gt, meta.gt), (le, meta.le), (lt, meta.lt))
    )


def _wanted(option: Any, value: Any) -> str:
    """The rest of "must ..." for a value that does not fit."""
    kind, meta = base(option), _meta(option)
    if get_origin(kind) is Literal:
        return "be one of " + ", ".join(filter(None, map(str, get_args(kind))))
    if not _has_type(value, kind):
        return f"be {KINDS.get(kind, kind)}"
    if meta and meta.description:
        return meta.description
    if not meta:
        return f"be text of at most {MOST_TEXT} characters, without NUL"
    low = f"[{_number(meta.ge)}" if meta.gt is None else f"({_number(meta.gt)}"
    high = f"{_number(meta.le)}]" if meta.lt is None else f"{_number(meta.lt)})"
    return f"lie in {low}, {high}"


def _number(bound: float | None) -> str:
    """A bound as people write it: 2**20 is not 1048576."""
    if isinstance(bound, int) and bound > 2**16 and bound & (bound - 1) == 0:
        return f"2**{bound.bit_length() - 1}"
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _hint(value: Any, kind: Any) -> str:
    known = [c for option in options(kind) for c in get_args(base(option)) if isinstance(c, str)]
    close = difflib.get_close_matches(value, known, 1, 0.4) if isinstance(value, str) else []
    return f"; did you mean {close[0]}?" if close else ""
