"""Which members a population has, from a seed count and settings to vary. Imports no jax."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from agents.runs.axes import parse_grid
from agents.runs.bounds import Meta, Seed, check, config_errors
from agents.runs.config import ConfigError, TrainConfig

MAX_MEMBERS = 256
Members = Annotated[int, Meta(ge=1, le=MAX_MEMBERS)]
VARIABLE = (
    "learning_rate",
    "encoder_lr_scale",
    "reward_coef",
    "value_coef",
    "termination_coef",
    "target_rate",
    "average_rate",
    "td_lambda",
    "entropy_coef",
)
"""Settings of the learner that enter its arithmetic alone: members may differ in them."""


def members(config: TrainConfig, seeds: int, vary: str) -> list[TrainConfig]:
    """Settings of every member, each with a run directory of its own inside the given one.

    Seeds count from `config.seed`; `vary` is NAME=V1,V2 ... over learner settings. Raises
    ConfigError.
    """
    check("seeds", seeds, Members)
    check("seed + seeds - 1", config.seed + seeds - 1, Seed)
    if config.loop == "fused" or config.backend not in ("auto", "native"):
        raise ConfigError(
            "a population runs in the host loop over native simulators: leave out "
            f"--loop {config.loop} --backend {config.backend}, or --seeds and --vary"
        )
    axes = _axes(vary)
    root = Path(config.run_dir or f"runs/{config.folder_name}-population")
    found = []
    for values in itertools.product(*axes.values()):
        asked = dict(zip(axes, values, strict=True))
        for seed in range(config.seed, config.seed + seeds):
            name = ".".join([f"seed-{seed}", *(f"{k}={_short(v)}" for k, v in asked.items())])
            found.append(_member(config, seed, asked, str(root / name)))
    if len(found) > MAX_MEMBERS:
        raise ConfigError(f"{len(found)} members are too many: at most {MAX_MEMBERS}")
    return found


def _short(value: float) -> str:
    """Six digits where they say it all."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _axes(vary: str) -> dict[str, list[float]]:
    """Learner setting to its values. Raises ConfigError naming one that cannot vary."""
    axes: dict[str, list[float]] = {}
    for token in vary.split():
        name = token.partition("=")[0].replace("-", "_")
        if name.removeprefix("learner.") not in VARIABLE or not name.startswith("learner."):
            allowed = ", ".join(f"learner.{f}" for f in VARIABLE)
            raise ConfigError(
                f"--vary: {name} cannot vary inside one program: expected {allowed} (sweep trains "
                "one program for each setting)"
            )
    for name, values in (parse_grid(vary) if vary.strip() else {}).items():
        field = name.removeprefix("learner.")
        axes[field] = [float(v) for v in values]
    return axes


def _member(config: TrainConfig, seed: int, asked: dict[str, float], path: str) -> TrainConfig:
    with config_errors():
        learner = replace(config.learner, **asked)
    return replace(config, seed=seed, learner=learner, run_dir=path)
