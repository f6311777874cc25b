"""Simulators: native batches of MuJoCo tasks and adapters, behind one vectorised contract."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envs.registry import list_tasks as list_tasks
    from envs.registry import make_spec as make_spec
    from envs.registry import make_vec as make_vec
    from envs.registry import register as register


def __getattr__(name: str):
    """Load the registry on first use: importing the package imports no simulator."""
    if name in ("list_tasks", "make_spec", "make_vec", "register"):
        from envs import registry

        return getattr(registry, name)
    raise AttributeError(f"module 'envs' has no attribute {name!r}")
