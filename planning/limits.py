"""Bounds of settings, said in the types of their fields, and what holds settings to them.

Upper bounds are generous: what a large machine could mean. Imports no jax.
"""

from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=2**20)]
Some = Annotated[int, Meta(ge=0, le=2**20)]
Few = Annotated[int, Meta(ge=1, le=1000)]
"""Steps of a horizon, heads, layers: what programs are unrolled or repeated over."""
FewOrNone = Annotated[int, Meta(ge=0, le=1000)]
Rate = Annotated[float, Meta(gt=0, le=10)]
"""A learning rate."""
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]


def check(config: Any, block: str) -> None:
    """Raise ValueError naming the first field whose type does not hold its value; NaN never is."""
    for name, kind in _kinds(type(config)).items():
        value = getattr(config, name)
        try:
            msgspec.convert(value.item() if hasattr(value, "item") else value, kind)
        except msgspec.ValidationError as error:
            wanted = _wanted(kind, str(error))
            raise ValueError(f"{block}.{name} must {wanted}, got {value!r}") from None


@cache
def _kinds(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _wanted(kind: Any, said: str) -> str:
    """The rest of "must ..." for a value of which msgspec `said` why it is none."""
    if get_origin(kind) is Literal:
        return "be one of " + ", ".join(map(str, get_args(kind)))
    plain, *bounds = get_args(kind) or (kind,)
    if not bounds or ", got" in said:
        return f"be of the type {plain.__name__}"
    (meta,) = bounds
    low = f"[{_plain(meta.ge)}" if meta.gt is None else f"({_plain(meta.gt)}"
    high = f"{_plain(meta.le)}]" if meta.lt is None else f"{_plain(meta.lt)})"
    return f"lie in {low}, {high}"


def _plain(bound: Any) -> str:
    """A bound as people write it: 2**20 is not 1048576."""
    if bound > 2**16 and isinstance(bound, int) and bound.bit_count() == 1:
        return f"2**{bound.bit_length() - 1}"
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
