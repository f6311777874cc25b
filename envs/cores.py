"""How many cores this process may use."""

import os


def usable_cores() -> int:
    """Those of its affinity, where the system knows such a thing; else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
