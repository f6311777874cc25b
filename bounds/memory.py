"""What memory there is, and one line for settings that need more of it."""

import os
from collections.abc import Mapping
from pathlib import Path

from bounds import ConfigError

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""What a container may use, in the two versions of control groups."""
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0")


def available() -> int:
    """Bytes that this process could still fill: of the machine, and of its control group."""
    there = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            there.append(1024 * int(line.split()[1]))
    return min(there + [int(text) for path in LIMITS if (text := _read(path).strip()).isdigit()])


def accelerated() -> bool:
    """Whether arrays may live on a device with memory of its own, which only jax can ask."""
    asked = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
    return asked != "cpu" and any(map(os.path.exists, ACCELERATORS))


def require(needed: Mapping[str, tuple[float, str]], there: int | None = None) -> None:
    """Raise ConfigError unless the parts, name to (bytes, what to lower), fit into memory.

    `there` is what there is; by default that of this machine.
    """
    total, there = sum(size for size, _ in needed.values()), there or available()
    if total <= there:
        return
    largest = max(needed, key=lambda name: needed[name][0])
    size, lower = needed[largest]
    raise ConfigError(
        f"these settings need {_gib(total)} of memory ({_gib(size)} of it for {largest}) and "
        f"{_gib(there)} are there: lower {lower}"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii")
    except OSError:
        return ""
