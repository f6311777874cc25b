"""Texts like `planner.horizon=1,2,3` to settings and their values. Imports no jax.

Every value is checked against the type of its setting.
"""

import math

from agents.runs.bounds import check, read
from agents.runs.config import ConfigError, TrainConfig
from agents.runs.settings import flat_types, unknown

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
    "loop": "it changes no result",
    "devices": "it changes no result",
    "changed_task": "it changes no result",
}
"""Training settings that a grid cannot vary, and why."""
ALLOWED = [name for name in TYPES if name not in REFUSED]


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
            raise unknown("setting in grid:", given, ALLOWED, "see latentmpc train --help-all")
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
    return check(f"grid: {name}", read(f"grid: {name}", text, kind), kind)
