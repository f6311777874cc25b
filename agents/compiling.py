"""How our programs are compiled, and what compiling costs."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

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


def cores_as_devices(most: int) -> None:
    """Let each core of a CPU, up to `most`, be a device; too late once jax has begun to compute."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", max(1, min(most, os.cpu_count() or 1)))


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
