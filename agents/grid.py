"""Grids: texts like `planner.horizon=1,2,3` to settings that can be run. Imports no jax.

Every value is checked against the settings dataclasses, every combination by making them.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_origin

from agents.config import ConfigError, TrainConfig
from agents.schema import check_finite, check_text, flat_types, unknown
from planning.config import METHODS, OPTIONS, PlannerConfig

Value = int | float | bool | str
Axes = dict[str, list[Value]]
MOST_SETTINGS = 2_000
EXAMPLE = "as in planner.horizon=1,2,3"
TYPES = flat_types(TrainConfig)
REFUSED = {
    "run_dir": "every training has a directory of its own",
    "env_id": "a sweep compares settings on one task (bench compares over tasks)",
    "preset": "vary model.* and learner.* instead",
    "action_repeat": "it changes the control period that the settings are compared at",
    "video": "it changes no result",
    "save_every": "it changes no result",
    "eval_every": "it changes no result",
    "eval_episodes": "it changes no result",
}
"""Training settings that a grid cannot vary, and why."""
ALLOWED = [name for name in TYPES if name not in REFUSED]
AS_TRAINED = "as trained"


@dataclass(frozen=True)
class Setting:
    """One combination of a grid, ready to run."""

    name: str
    """The values asked for, `horizon=1 num_samples=32`."""
    asked: dict[str, Value]
    """Axis to value; empty for the settings as trained."""
    training: dict[str, Value]
    """Training settings that differ from the base; empty means its model serves."""
    planner: dict[str, Value]
    """Planner settings that differ from the base."""
    config: TrainConfig
    """The base with all of it replaced."""
    lowered: tuple[str, ...] = ()
    """What was lowered to make the combination possible."""

    @property
    def model(self) -> str:
        """Name of the training it needs, safe in a path; "" for the base itself."""
        if not self.training:
            return ""
        text = json.dumps(self.training, sort_keys=True)
        readable = ",".join(f"{name}={value}" for name, value in self.training.items())
        readable = re.sub(r"[^A-Za-z0-9._=,-]+", "-", readable)[:80]
        return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def parse_grid(text: str) -> Axes:
    """{"planner.horizon": [1, 2], ...} from tokens NAME=V1,V2. Raises ConfigError naming the key.

    Values given twice count once.
    """
    axes: Axes = {}
    for token in text.split():
        given, equals, values = token.partition("=")
        name = given.replace("-", "_")
        if not equals or not name:
            raise ConfigError(f"grid: {token!r} is not NAME=V1,V2 ({EXAMPLE})")
        if name in REFUSED:
            raise ConfigError(f"grid: {name} cannot be varied: {REFUSED[name]}")
        if name not in ALLOWED:
            raise unknown("setting in grid:", given, ALLOWED, "see latentmpc train --help")
        if name in axes:
            raise ConfigError(f"grid: {name} is given twice; write its values as {name}=V1,V2")
        axes[name] = list(dict.fromkeys(_value(name, item) for item in values.split(",")))
    if not axes:
        raise ConfigError(f"grid is empty: give --grid NAME=V1,V2 ... ({EXAMPLE})")
    count = math.prod(map(len, axes.values()))
    if count > MOST_SETTINGS:
        longest = max(axes, key=lambda name: len(axes[name]))
        raise ConfigError(
            f"grid has {count:,} combinations, at most {MOST_SETTINGS:,} can be swept: "
            f"shorten {longest} ({len(axes[longest])} values)"
        )
    return axes


def _value(name: str, text: str) -> Value:
    """A value of the type its setting has. Raises ConfigError."""
    kind = TYPES[name]
    if not text:
        raise ConfigError(f"grid: {name} has an empty value; write {name}=V1,V2")
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"grid: {name} must be true or false, got {text!r}")
        return text.lower() == "true"
    check_text(f"grid: {name}", text, kind)
    if get_origin(kind) is Literal or kind is str:
        return text
    value = kind(text)
    if not math.isfinite(value) or abs(value) >= 2**63:
        raise ConfigError(f"grid: {name} must be finite and below 2**63, got {text}")
    return value


def combinations(axes: Mapping[str, list[Value]], base: TrainConfig) -> list[Setting]:
    """All settings of a grid in its order, each once. Raises ConfigError naming the key.

    Combinations that come to the same settings, as they do where a value had to be lowered, are
    the first of them.
    """
    found: dict[str, Setting] = {}
    bases: dict[tuple, tuple[TrainConfig, dict[str, Value]]] = {}
    for values in itertools.product(*axes.values()):
        asked = dict(zip(axes, values, strict=True))
        trained = {k: v for k, v in asked.items() if not k.startswith("planner.")}
        key = tuple(trained.values())
        if key not in bases:
            bases[key] = _training(base, trained)
        config, training = bases[key]
        wanted = {k.removeprefix("planner."): v for k, v in asked.items() if k not in trained}
        planner, lowered = _planner(config.planner, wanted, asked)
        changed = differences(planner, config.planner)
        setting = Setting(
            label(asked), asked, training, changed, replace(config, planner=planner), lowered
        )
        found.setdefault(json.dumps([training, changed], sort_keys=True), setting)
    return list(found.values())


def label(asked: Mapping[str, Value]) -> str:
    """Short name of a combination; planner settings without their prefix."""
    if not asked:
        return AS_TRAINED
    return " ".join(f"{name.removeprefix('planner.')}={value}" for name, value in asked.items())


def as_trained(base: TrainConfig) -> Setting:
    """The base itself, which every setting is compared with."""
    return Setting(AS_TRAINED, {}, {}, {}, base)


def differences(planner: PlannerConfig, base: PlannerConfig) -> dict[str, Value]:
    """The changes that make `planner` of `base`; with another method, all of its options."""
    was, switched = asdict(base), planner.method != base.method
    return {
        name: value
        for name, value in asdict(planner).items()
        if value != was[name] or (switched and name in OPTIONS)
    }


def _training(
    base: TrainConfig, changes: Mapping[str, Value]
) -> tuple[TrainConfig, dict[str, Value]]:
    """`base` with training settings replaced, and those that differ from it."""
    config, differing = base, {}
    try:
        for block in ("model", "learner"):
            inner = _block(changes, f"{block}.")
            config = replace(config, **{block: replace(getattr(config, block), **inner)})
        config = replace(config, **{k: v for k, v in changes.items() if "." not in k})
    except ValueError as error:
        raise _impossible(error, changes) from error
    check_finite(config)
    for name, value in changes.items():
        block, _, field = name.rpartition(".")
        if value != getattr(getattr(base, block) if block else base, field):
            differing[name] = value
    return config, differing


def _block(changes: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {k.removeprefix(prefix): v for k, v in changes.items() if k.startswith(prefix)}


def _planner(
    base: PlannerConfig, changes: Mapping[str, Value], asked: Mapping[str, Value]
) -> tuple[PlannerConfig, tuple[str, ...]]:
    """`base` with settings replaced, lowered where they exceed what the others allow."""
    if changes.get("method") in METHODS:
        base = base.changed(method=changes["method"])
    wanted, lowered = {**asdict(base), **changes}, []
    limits = (
        ("num_elites", lambda: wanted["num_samples"]),
        ("num_prior_samples", lambda: wanted["num_samples"] - 1),
        ("num_knots", lambda: wanted["horizon"]),
        ("target_ess", lambda: wanted["num_elites"]),
    )
    for name, limit in limits:
        most: Any = limit()
        if wanted[name] > most >= 0 and min(wanted["num_samples"], wanted["horizon"]) > 0:
            lowered.append(f"{name} {wanted[name]} -> {most}")
            wanted[name] = type(wanted[name])(most)
    try:
        return PlannerConfig(**wanted), tuple(lowered)
    except ValueError as error:
        raise _impossible(error, asked) from error


def _impossible(error: ValueError, asked: Mapping[str, Value]) -> ConfigError:
    return ConfigError(f"grid: {label(asked)} is impossible: {error}")


def lowered_note(settings: Iterable[Setting]) -> str:
    """One sentence on what was lowered; "" if nothing was."""
    said = [f"{s.name}: {', '.join(s.lowered)}" for s in settings if s.lowered]
    if not said:
        return ""
    more = f"; and {len(said) - 6} more" if len(said) > 6 else ""
    return "Lowered to what the other settings allow: " + "; ".join(said[:6]) + more + "."
