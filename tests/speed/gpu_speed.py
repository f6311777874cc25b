"""The speeds of a machine, meant for one with an accelerator, within minutes.

Each part's figures are written as soon as they are there; no part begins when the time is over, so
that something comes of a machine that is lent for minutes. Without an accelerator it runs all the
same, with what that machine has.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

from agents.evaluation.evaluate import in_training
from agents.machine import speed
from agents.runs import compile as compiling
from agents.runs.config import preset_config
from agents.runs.versions import installed
from agents.storage.files import write_atomically
from agents.training.trainer import Trainer
from planning.config import PlannerConfig
from tests.speed import loop_speed, single_parts

Part = Callable[[], dict[str, Any]]
RESULT = "headline.json"
LEARNING = {"num_envs": 64, "utd": 0.25, "env_steps": 50_000}
"""An update for four decisions; the rest as preset_config has it."""
MINIMUM_S = 20.0
"""The least a part may need: none begins with less time left."""


def parts(small: bool = False) -> dict[str, Part]:
    """The parts in the order in which they are measured; `small` for trying the script itself."""
    repeats, cycles = (3, 2) if small else (50, 256)
    planner = PlannerConfig() if small else PlannerConfig.full()
    presets, sizes = (("tiny",), (8,)) if small else (("1M", "5M"), (256, 1024))
    learning = {"num_envs": 4, "env_steps": 60, "seed_steps": 40} if small else LEARNING
    made: dict[str, Part] = {
        "product": lambda: {"gflops": speed.matmul_gflops(512 if small else 4096)}
    }
    made |= {f"plan {p}": partial(single_parts.plan, p, planner, repeats) for p in presets}
    made |= {f"update {p}": partial(single_parts.update, p, 256, repeats) for p in presets}
    made |= {f"simulators {n}": partial(simulators, n, cycles) for n in sizes}
    made["learning"] = partial(learn, presets[0], **learning)
    made["together"] = lambda: loop_speed.together_over_alone(1 if small else 7)
    return made


def simulators(count: int, cycles: int) -> dict[str, Any]:
    """Decisions a second of planning, MJX and one update a cycle, as one program; tiny preset."""
    settings = loop_speed.config(
        backend="mjx", loop="fused", num_envs=count, utd=1 / count, seed_steps=count
    )
    trainer = loop_speed.warm(Trainer(settings), 8 * count)
    loop_speed.spent(loop_speed.cycles(trainer, cycles // 2))  # calls grow to their full length
    clock, _ = loop_speed.spent(loop_speed.cycles(trainer, cycles))
    return {"decisions_per_s": count * cycles / clock, "cycle_ms": 1e3 * clock / cycles}


def learn(preset: str, most_s: float = 150.0, **changes: Any) -> dict[str, Any]:
    """A training on MJX and what its episodes then return on native simulators.

    Ends after `most_s` seconds if need be: `env_steps` says how many decisions were made.
    """
    settings = preset_config(preset, backend="mjx", loop="fused", eval_every=0, **changes)
    trainer, begin = Trainer(settings), time.perf_counter()
    while trainer.counters.env_steps < settings.env_steps and time.perf_counter() - begin < most_s:
        trainer.advance(settings.env_steps)
    jax.block_until_ready(trainer.loop.train)
    done, spent = trainer.counters, time.perf_counter() - begin
    now, repeat = trainer, trainer.spec.action_repeat
    returns = in_training(now.eval_agents, now.deployed, now.net, settings, repeat)
    return {
        "task": settings.env_id,
        "env_steps": done.env_steps,
        "updates": done.updates,
        "train_s": spent,
        **{name: returns[name] for name in ("return_mean", "return_std", "prior_return_mean")},
    }


def measure(
    measured: Mapping[str, Part],
    minutes: float,
    out: Path,
    log: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Run the parts until the minutes are over; `out`/headline.json after each of them.

    A part that fails is reported with its error, and the next one begins. `seconds` are all of a
    part's, `compile_s` those of them that XLA compiled for. Raises StorageError.
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
        with compiling.counted() as compiled:
            try:
                found[name] = part()
            except Exception as error:  # the others are measured all the same
                found[name] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        found[name] |= {"seconds": clock() - started, "compile_s": compiled.seconds}
        log(f"{name}: {found[name]}")
        write_atomically(out / RESULT, json.dumps(found, indent=2).encode())
    return found
