"""The MuJoCo module, loaded on first use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def engine() -> Any:
    """`mujoco`; untyped, as its names come from compiled modules that declare none."""
    import mujoco

    return mujoco


@contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Drop MuJoCo's warnings, which it would write to a file in the working directory.

    They are deprecation notes about XML that other packages ship, and unstable simulations,
    which its counters report as well.
    """
    mujoco = engine()
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_ignore)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(handler)


def _ignore(message: str) -> None:
    del message
