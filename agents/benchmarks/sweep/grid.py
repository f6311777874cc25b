"""Grids: texts like `planner.horizon=1,2,3` to settings that can be run. Imports no jax.

Every combination is checked by making its settings.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from agents.runs.axes import Axes, Value
from agents.runs.config import ConfigError, TrainConfig
from envs.task_list import task_names
from planning.config import METHODS, OPTIONS, USED_BY, PlannerConfig
from planning.config import unused as unused_by_planner
from wm.tdmpc.config import unused as unused_by_model

Why = dict[str, str]
"""Settings without effect, and why they have none."""
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


def combinations(
    axes: Axes, base: TrainConfig, fixed: Mapping[str, Value] | None = None
) -> list[Setting]:
    """All settings of a grid in its order, each once. Raises ConfigError naming the key.

    `fixed` are planner settings of every combination, in place of the base's; the grid's own and
    the options of a method that the grid brings come before them. Combinations that come to the
    same settings, as they do where a value had to be lowered or is of no effect beside the
    others, are the first of them; a setting without effect in all of them is refused.
    """
    found: dict[str, Setting] = {}
    bases: dict[tuple, tuple[TrainConfig, dict[str, Value], Why]] = {}
    why: Why = {}
    used: set[str] = set()
    for values in itertools.product(*axes.values()):
        asked = dict(zip(axes, values, strict=True))
        trained = {k: v for k, v in asked.items() if not k.startswith("planner.")}
        key = tuple(trained.values())
        if key not in bases:
            bases[key] = _training(base, trained)
        config, training, without = bases[key]
        wanted = {k.removeprefix("planner."): v for k, v in asked.items() if k not in trained}
        planner, lowered, beside = _planner(config.planner, wanted, fixed or {}, asked)
        changed = differences(planner, config.planner)
        why |= without | {f"planner.{name}": reason for name, reason in beside.items()}
        used |= asked.keys() - without.keys() - {f"planner.{name}" for name in beside}
        setting = Setting(
            label(asked), asked, training, changed, replace(config, planner=planner), lowered
        )
        found.setdefault(json.dumps([training, changed], sort_keys=True), setting)
    if idle := [name for name in axes if name not in used]:
        raise ConfigError(f"grid: {idle[0]} has no effect: {why[idle[0]]}")
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
) -> tuple[TrainConfig, dict[str, Value], Why]:
    """`base` with training settings replaced, those that differ from it, those without effect."""
    config = _trained_with(base, changes)
    idle = {k: why for k, why in _unused_in_training(config).items() if k in changes}
    changes = {k: v for k, v in changes.items() if k not in idle}
    if idle:
        config = _trained_with(base, changes)
    differing = {}
    for name, value in changes.items():
        block, _, field = name.rpartition(".")
        if value != getattr(getattr(base, block) if block else base, field):
            differing[name] = value
    return config, differing, idle


def _unused_in_training(config: TrainConfig) -> Why:
    unused = unused_by_model(config.model)
    if not task_names(config.env_id):
        unused["model.task_dim"] = f"{config.env_id} is one task, not several"
    return unused


def _trained_with(base: TrainConfig, changes: Mapping[str, Value]) -> TrainConfig:
    """`base` with training settings replaced. Raises ConfigError."""
    config = base
    try:
        for block in ("model", "learner"):
            inner = _block(changes, f"{block}.")
            config = replace(config, **{block: replace(getattr(config, block), **inner)})
        config = replace(config, **{k: v for k, v in changes.items() if "." not in k})
    except ValueError as error:
        raise _impossible(error, changes) from error
    return config


def _block(changes: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {k.removeprefix(prefix): v for k, v in changes.items() if k.startswith(prefix)}


def _planner(
    base: PlannerConfig,
    changes: Mapping[str, Value],
    fixed: Mapping[str, Value],
    asked: Mapping[str, Value],
) -> tuple[PlannerConfig, tuple[str, ...], Why]:
    """`base` with settings replaced, lowered where they exceed what the others allow.

    Also what was lowered, and which of the `changes` have no effect: those are left out.
    """
    before = fixed.get("method", base.method)
    method = changes.get("method", before)
    if method in METHODS:
        base = base.changed(method=method)
    if method != before:  # options of the old method go
        fixed = {k: v for k, v in fixed.items() if k not in OPTIONS}
    foreign = {k for k in changes if method not in USED_BY.get(k, (method,))}
    kept = {k: v for k, v in changes.items() if k not in foreign}
    planner, lowered = _made({**asdict(base), **fixed, **kept}, asked)
    idle = {k: why for k, why in unused_by_planner(planner).items() if k in changes}
    if idle.keys() - foreign:
        kept = {k: v for k, v in kept.items() if k not in idle}
        planner, lowered = _made({**asdict(base), **fixed, **kept}, asked)
    return planner, lowered, idle


def _made(
    wanted: dict[str, Any], asked: Mapping[str, Value]
) -> tuple[PlannerConfig, tuple[str, ...]]:
    """The planner with the settings `wanted`, and what was lowered to make it possible."""
    lowered = []
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
