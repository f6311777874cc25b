"""Domain randomisation: parallel simulators that differ, so that what is learned holds for all.

`mass=0.8:1.2 action_delay=0:1` gives every simulator one world, drawn from these ranges for the
whole run. Each range is cut into as many strata as there are simulators and every stratum is met
once (Latin hypercube sampling, McKay et al. 1979): a handful of simulators covers it too.
"""

import math
from typing import Any

import numpy as np

from agents.runs.config import ConfigError
from envs.native.shift import Shift, ShiftError
from envs.tasks import native_task

OF_TASK = "task"
STREAM = 0x5817  # the draw's own random stream beside others of the same seed


def ranges_of(text: str, env_id: str) -> str:
    """The ranges that `randomize` asks for: its own, or with OF_TASK those in the task's class.

    Raises ConfigError where the class has none.
    """
    if text != OF_TASK:
        return text
    task = native_task(env_id)
    if task is None or not task.randomize:
        raise ConfigError(
            f"randomize is {OF_TASK!r}, but {env_id} has no ranges: give them here, as in "
            'mass=0.8:1.2, or in the class of the task: randomize = "mass=0.8:1.2"'
        )
    return task.randomize


def parse_ranges(text: str) -> dict[str, tuple[float, float]]:
    """{key: (low, high)} of `KEY=LOW:HIGH KEY=VALUE ...`, keys as those of a `Shift`.

    Raises ConfigError naming the key that is unknown, given twice, or has a bad range.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for part in text.replace(",", " ").split():
        key, equals, value = part.partition("=")
        low, colon, high = value.partition(":")
        ends = _shift(key, low, equals), _shift(key, high if colon else low, equals)
        if key in ranges:
            raise ConfigError(f"randomize: {key} is given twice: give it once, as LOW:HIGH")
        first, last = (float(getattr(shift, key)) for shift in ends)
        if first > last:
            raise ConfigError(f"randomize: {part}: expected the lower end first, as in LOW:HIGH")
        ranges[key] = (first, last)
    return ranges


def _shift(key: str, value: str, equals: str) -> Shift:
    """The shift at one end of a range. Raises ConfigError."""
    if key and not (equals and value):
        raise ConfigError(f"randomize: {key}: expected {key}=LOW:HIGH, as in mass=0.8:1.2")
    try:
        return Shift.parse(f"{key}={value}")
    except ShiftError as error:
        raise ConfigError(f"randomize: {error}") from error


def draw(text: str, num_envs: int, seed: int) -> list[Shift]:
    """One world a simulator: a function of the arguments alone.

    Uniform in each range; whole numbers where a `Shift` has them, both ends included. Keys are
    drawn independently of one another. Raises ConfigError as `parse_ranges`.
    """
    ranges = parse_ranges(text)
    rng = np.random.default_rng([STREAM, seed])
    columns: dict[str, list[Any]] = {}
    for key in sorted(ranges):  # the order in which they were typed does not matter
        low, high = ranges[key]
        place = (rng.permutation(num_envs) + rng.random(num_envs)) / num_envs
        if isinstance(getattr(Shift(), key), int):
            columns[key] = [math.floor(low + (high - low + 1) * p) for p in place]
        else:
            columns[key] = [float(low + (high - low) * p) for p in place]
    return [Shift(**{k: v[i] for k, v in columns.items()}) for i in range(num_envs)]
