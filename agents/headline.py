"""The headline figures of a machine, meant for one with an accelerator, within minutes.

Each part's figures are written as soon as they are there; no part begins when the time is over, so
that something comes of a machine that is lent for minutes. Without an accelerator it runs all the
same, with what that machine has.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from agents import cycle_speed, speed
from agents.versions import installed
from planning.config import PlannerConfig
from wm.durable import write_atomically

Part = Callable[[], dict[str, float]]
RESULT = "headline.json"
SIMULATORS, SIDE = 256, 4096  # of a training; of the matrices whose product is timed
MINIMUM_S = 20.0
"""What a part may need at least: none begins with less time left."""


def parts(small: bool = False) -> dict[str, Part]:
    """The parts in the order in which they are measured; `small` for trying the script itself."""
    repeats, sims = (3, 8) if small else (50, SIMULATORS)
    planner = PlannerConfig() if small else PlannerConfig.full()
    preset = "tiny" if small else "1M"
    return {
        "product": lambda: {"gflops": speed.matmul_gflops(512 if small else SIDE)},
        "plan": lambda: speed.plan(preset, planner, repeats),
        "update": lambda: speed.update(preset, 256, repeats),
        "together": lambda: cycle_speed.together_over_alone(1 if small else 7),
        "training": lambda: training(sims, 2 if small else 50),
    }


def training(simulators: int, cycles: int) -> dict[str, float]:
    """Decisions a second of planning, MJX and one call of updates a cycle, as one program."""
    from agents.trainer import Trainer

    settings = cycle_speed.config(
        backend="mjx", loop="fused", num_envs=simulators, utd=1 / simulators, seed_steps=simulators
    )
    trainer = cycle_speed.warm(Trainer(settings), 8 * simulators)
    clock, _ = cycle_speed.spent(cycle_speed.cycles(trainer, cycles))
    return {"simulators": simulators, "decisions_per_s": simulators * cycles / clock}


def measure(
    measured: Mapping[str, Part],
    minutes: float,
    out: Path,
    tell: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Run the parts until the minutes are over; `out`/headline.json after each of them.

    A part that fails is reported with its error, and the next one begins. Raises StorageError.
    """
    begin = clock()
    found: dict[str, Any] = {
        "devices": [str(device) for device in jax.devices()],
        "kind": jax.devices()[0].device_kind,
        "versions": installed(),
        "left_out": [],
    }
    for name, part in measured.items():
        started = clock()
        if 60 * minutes - (started - begin) < MINIMUM_S:
            found["left_out"].append(name)
            continue
        try:
            found[name] = {k: float(v) for k, v in part().items()}
        except Exception as error:  # the others are measured all the same
            found[name] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        found[name]["seconds"] = clock() - started
        tell(f"{name}: {found[name]}")
        write_atomically(out / RESULT, json.dumps(found, indent=2).encode())
    return found
