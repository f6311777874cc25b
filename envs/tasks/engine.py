"""The MuJoCo module, loaded on first use."""

from typing import Any


def engine() -> Any:
    """`mujoco`; untyped, as its names come from compiled modules that declare none."""
    import mujoco

    return mujoco
