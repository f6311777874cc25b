"""Grids: texts like `planner.horizon=1,2,3` to settings that can be run. Imports no jax.

Every combination is checked by making its settings.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from agents.runs.axes import Axes, Value
from agents.runs.config import ConfigError, TrainConfig
from agents.runs.settings import overlay
from envs.task_list import task_names
from planning.config import METHODS, OPTIONS, USED_BY, PlannerConfig
from planning.config import unused as unused_by_planner
from wm.tdmpc.config import unused as unused_by_model

T = TypeVar("T")
Values = dict[str, Value]
Reasons = dict[str, str]
"""Settings without effect, and why they have none."""
AS_TRAINED = "as trained"
PLANNER = "planner."


@dataclass(frozen=True)
class Setting:
    """One combination of a grid, ready to run."""

    name: str
    """The values asked for, `horizon=1 num_samples=32`."""
    asked: Values
    """Axis to value; empty for the settings as trained."""
    training: Values
    """Training settings that differ from the base; empty means its model serves."""
    planner: Values
    """Planner settings that differ from the base."""
    config: TrainConfig
    """The base with all of it replaced."""

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
    the options of a method that the grid brings come before them. A combination that cannot be is
    refused. Of those that come to the same settings, as they do where a value has no effect
    beside the others, the first stays; a setting without effect in all of them is refused.
    """
    found: dict[str, Setting] = {}
    reasons: Reasons = {}
    used: set[str] = set()
    trained = cache(lambda *items: _training(base, dict(items)))  # checking one takes a while
    for values in itertools.product(*axes.values()):
        asked = dict(zip(axes, values, strict=True))
        wanted = {k.removeprefix(PLANNER): v for k, v in asked.items() if k.startswith(PLANNER)}
        try:
            own = (item for item in asked.items() if not item[0].startswith(PLANNER))
            config, training, idle = trained(*own)
            planner, unused = _planner(config.planner, wanted, fixed or {})
        except ValueError as error:
            raise ConfigError(f"grid: {label(asked)} is impossible: {error}") from error
        idle = idle | {PLANNER + name: reason for name, reason in unused.items()}
        reasons |= idle
        used |= asked.keys() - idle
        changed = differences(planner, config.planner)
        setting = Setting(label(asked), asked, training, changed, replace(config, planner=planner))
        found.setdefault(json.dumps([training, changed], sort_keys=True), setting)
    if without := [name for name in axes if name not in used]:
        raise ConfigError(f"grid: {without[0]} has no effect: {reasons[without[0]]}")
    return list(found.values())


def label(asked: Mapping[str, Value]) -> str:
    """Short name of a combination; planner settings without their prefix."""
    return " ".join(f"{k.removeprefix(PLANNER)}={v}" for k, v in asked.items()) or AS_TRAINED


def as_trained(base: TrainConfig) -> Setting:
    """The base itself, which every setting is compared with."""
    return Setting(AS_TRAINED, {}, {}, {}, base)


def differences(planner: PlannerConfig, base: PlannerConfig) -> Values:
    """The changes that make `planner` of `base`; with another method, all of its options."""
    was, switched = asdict(base), planner.method != base.method
    return {
        name: value
        for name, value in asdict(planner).items()
        if value != was[name] or (switched and name in OPTIONS)
    }


def _training(base: TrainConfig, changes: Values) -> tuple[TrainConfig, Values, Reasons]:
    """`base` with training settings replaced, those that differ from it, those without effect."""

    def unused(config: TrainConfig) -> Reasons:
        found = unused_by_model(config.model)
        if not task_names(config.env_id):
            found["model.task_dim"] = f"{config.env_id} is one task, not several"
        return found

    config, idle = _effective(lambda kept: overlay(base, kept), changes, unused)
    differing = {
        name: value
        for name, value in changes.items()
        if name not in idle and value != attrgetter(name)(base)
    }
    return config, differing, idle


def _planner(
    base: PlannerConfig, changes: Values, fixed: Mapping[str, Value]
) -> tuple[PlannerConfig, Reasons]:
    """`base` with settings replaced, and which of the `changes` have no effect."""
    before = fixed.get("method", base.method)
    method = changes.get("method", before)
    if method != before:  # options of the old method go
        fixed = {k: v for k, v in fixed.items() if k not in OPTIONS}

    def made(changes: Values) -> PlannerConfig:
        own: Any = {k: v for k, v in changes.items() if method in USED_BY.get(k, METHODS)}
        return base.changed(**{**fixed, **own})

    return _effective(made, changes, unused_by_planner)


def _effective(
    make: Callable[[Values], T], changes: Values, unused: Callable[[T], Reasons]
) -> tuple[T, Reasons]:
    """Settings made with the changes that have an effect, and why the others have none."""
    made = make(changes)
    idle = {name: reason for name, reason in unused(made).items() if name in changes}
    if idle:
        made = make({name: value for name, value in changes.items() if name not in idle})
    return made, idle
