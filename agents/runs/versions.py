"""Versions of what a result depends on."""

from importlib.metadata import PackageNotFoundError, version

STACK = (
    "latentmpc",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "mujoco",
    "gymnasium",
    "dm-control",
    "numpy",
)


def installed() -> dict[str, str]:
    """Installed versions of the stack; "not installed" where a package is missing."""
    found = {}
    for name in STACK:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
