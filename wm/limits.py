"""Bounds of settings, said in the types of their fields, and what holds settings to them.

Upper bounds are generous: what a large machine could mean. Imports no jax.
"""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}

Count = Annotated[int, Meta(ge=1, le=2**20)]
Period = Annotated[int, Meta(ge=0, lt=2**31)]
"""Updates, counted in 32 bits; 0 is none."""
Width = Annotated[int, Meta(ge=1, le=2**14)]
"""Of a layer or a latent."""
Few = Annotated[int, Meta(ge=1, le=1000)]
"""Steps of a horizon, heads, layers: what programs are unrolled or repeated over."""
Rate = Annotated[float, Meta(gt=0, le=10)]
"""A learning rate."""
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]
PositiveShare = Annotated[float, Meta(gt=0, le=1)]


def check(config: Any, block: str) -> None:
    """Raise ValueError naming the first field whose type does not hold its value; NaN never is."""
    for name, kind in _kinds(type(config)).items():
        value = getattr(config, name)
        try:
            convert(value, kind)
        except msgspec.ValidationError as error:
            raise ValueError(
                f"{block}.{name} must {wanted(kind, str(error))}, got {value!r}"
            ) from None


def convert(value: Any, kind: Any) -> Any:
    """A value, which may be numpy's, as a type holds it. Raises msgspec.ValidationError."""
    return msgspec.convert(value.item() if hasattr(value, "item") else value, kind)


def parts(kind: Any) -> tuple[Any, Meta | None]:
    """A type without None and without its bounds, and these."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(option for option in get_args(kind) if option is not NoneType)
    plain, *more = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    return plain, next((meta for meta in more if isinstance(meta, Meta)), None)


def wanted(kind: Any, said: str) -> str:
    """The rest of "must ..." for a value of which msgspec `said` why it is none."""
    plain, meta = parts(kind)
    if get_origin(plain) is Literal:
        return "be one of " + ", ".join(filter(None, map(str, get_args(plain))))
    if meta is None or ", got" in said:
        return f"be {KINDS.get(plain, plain)}"
    if meta.description:
        return meta.description
    low = f"[{_plain(meta.ge)}" if meta.gt is None else f"({_plain(meta.gt)}"
    high = f"{_plain(meta.le)}]" if meta.lt is None else f"{_plain(meta.lt)})"
    return f"lie in {low}, {high}"


@cache
def _kinds(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _plain(bound: Any) -> str:
    """A bound as people write it: 2**20 is not 1048576."""
    if bound > 2**16 and isinstance(bound, int) and bound.bit_count() == 1:
        return f"2**{bound.bit_length() - 1}"
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
