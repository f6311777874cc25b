"""Bounds of settings, said once in the type of each field, and the one function that checks them.

    @dataclass(frozen=True)
    class SearchConfig(Settings, block="search"):
        num_samples: Count = 128
        decay: Annotated[float, Meta(gt=0, le=1)] = 0.5

Flags, files, stored settings and settings made by a program are all held to these types, and so
are the settings of `wm` and `planning`. Imports no jax.
"""

import contextlib
import difflib
import functools
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from wm.limits import Count as Count
from wm.limits import Few as Few
from wm.limits import Period as Period
from wm.limits import PositiveShare as PositiveShare
from wm.limits import Share as Share
from wm.limits import Weight as Weight
from wm.limits import Width as Width
from wm.limits import convert, parts, wanted

Seed = Annotated[int, Meta(ge=0, lt=2**31)]
"""Seeds of random streams."""
Total = Annotated[int, Meta(ge=1, lt=2**31)]
"""Steps, rows or updates of a whole run, which are counted in 32 bits."""
Some = Annotated[int, Meta(ge=0, le=2**20)]
FewOrNone = Annotated[int, Meta(ge=0, le=1000)]
Episodes = Annotated[int, Meta(ge=1, le=10_000)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
InnerShare = Annotated[float, Meta(gt=0, lt=1)]
TaskId = Annotated[
    str,
    Meta(
        pattern=r"(?a)\A(?=.{0,2000}\Z)(?:[./]*\w+(?:[./:@,+ ?=&#%~-]+\w+)*,?)?\Z",
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
        if not is_dataclass(kind):
            check(f"{block}{name}", value, kind)
        elif not isinstance(value, kind):  # type: ignore[arg-type]
            raise ConfigError(f"{block}{name} must be {kind}, got {shown(value)}")
        elif not isinstance(value, Settings):
            check_all(value, f"{block}{name}.")


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
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
    names = [f.name for f in fields(cls) if f.init]
    return {name: (full if parts(full[name])[1] else plain)[name] for name in names}


def check(name: str, value: Any, kind: Any, where: str = "") -> Any:
    """A value as the type `kind` holds it. Raises ConfigError unless it does; NaN has no bounds."""
    try:
        found, said = convert(value, kind), ""
    except msgspec.ValidationError as error:
        found, said = None, wanted(kind, str(error))
    if isinstance(found, str) and (len(found) > MOST_TEXT or "\0" in found):
        said = f"be text of at most {MOST_TEXT} characters, without NUL"
    if said:
        raise ConfigError(f"{where}{name} must {said}, got {shown(value)}{_hint(value, kind)}")
    return found


def shown(value: Any) -> str:
    """A value in a message: text in quotes, and never longer than a line has room for."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def read(name: str, text: str, kind: Any) -> Any:
    """The value that a text spells; bounds of numbers are unchecked. Raises ConfigError."""
    plain, _ = parts(kind)
    with contextlib.suppress(msgspec.ValidationError):
        if plain is not str:
            return msgspec.convert(text, plain, strict=False)
    return check(name, text, kind)


def _hint(value: Any, kind: Any) -> str:
    known = [choice for choice in get_args(parts(kind)[0]) if isinstance(choice, str)]
    close = difflib.get_close_matches(value, known, 1, 0.4) if isinstance(value, str) else []
    return f"; did you mean {close[0]}?" if close else ""
