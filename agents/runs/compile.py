"""How our programs are compiled, and what compiling costs."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from envs.cores import usable_cores

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


@dataclass
class Compilations:
    """Running totals."""

    count: int = 0
    seconds: float = 0.0


@contextmanager
def counted() -> Iterator[Compilations]:
    """Count the compilations of a block."""
    totals = Compilations()

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILE_EVENT:
            totals.count += 1
            totals.seconds += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield totals
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def cores_as_devices(members: int) -> None:
    """Let as many cores of a CPU as share the members evenly be devices.

    Does nothing once jax has begun to compute, or where XLA_FLAGS says how many there are.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", even_shares(members, usable_cores()))


def even_shares(members: int, most: int) -> int:
    """Into how many equal parts, at most `most`, members can be split."""
    return max(n for n in range(1, most + 1) if members % n == 0)


def cpu_options(*, many_reductions: bool = False) -> dict[str, str] | None:
    """Compiler options for CPU programs of many small layers; None on other devices.

    Vectors of full width are 8 to 12 % faster here. The library that XLA fuses small dots into
    helps planning but slows learning, whose gradients are full of reductions, by a tenth.
    """
    if jax.default_backend() != "cpu":
        return None
    options = {"xla_cpu_prefer_vector_width": "512"}
    if many_reductions:
        options["xla_cpu_experimental_ynn_fusion_type"] = ""
    return options
