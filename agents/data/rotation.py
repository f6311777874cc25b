"""Recorded episodes turned by random angles: a world without a north is learned from all sides.

Where a task looks the same however the scene is turned, each recorded moment stands for a circle of
them. Pictures, seen from above, are turned about their middle.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from agents.data.changed import Changed
from agents.data.dataset import Dataset
from agents.data.rotation_pictures import TurnedPictures, turn_pictures
from agents.runs.config import ConfigError
from envs.registry import native_task
from envs.spec import EnvSpec

TURNS = 0x7E
Turn = Callable[..., Any]
"""(observations [..., O], actions [..., A], angles [...]) -> both, turned."""


def task_of(env_id: str) -> Any:
    """The task of native simulators; None for others."""
    found = native_task(env_id)
    return found and found()


def turn_of(spec: EnvSpec) -> Turn:
    """How moments of a task are turned. Raises ConfigError where it differs from side to side."""
    turn: Turn | None = getattr(task_of(spec.env_id), "rotated", None)
    if turn is None or turn(np, *_nothing(spec)) is None:
        raise ConfigError(
            f"{spec.env_id} does not look the same from all sides: its episodes cannot be turned"
        )
    return partial(turn, np)


def _nothing(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(spec.obs_dim), np.zeros(spec.action_dim), np.zeros(())


class Turned(Changed):
    """A dataset whose stretches are each seen from a random side; pictures, every other one.

    Raises ConfigError where the task differs from side to side.
    """

    needs = ("obs", "action")

    def __init__(self, data: Dataset):
        super().__init__(data)
        self._turn = turn_of(data.spec)

    def _change(
        self, rng: np.random.Generator, drawn: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        batch, changed = len(drawn["obs"]), {}
        angle = rng.uniform(-np.pi, np.pi, (batch, 1)).astype(np.float32)
        if "pixels" in drawn:
            # Interpolation blurs, and what acts sees sharp pictures: every other stretch stays.
            angle[::2], changed["pixels"] = 0, drawn["pixels"].copy()
            changed["pixels"][1::2] = turn_pictures(drawn["pixels"][1::2], angle[1::2, 0])
        obs, action = self._turn(drawn["obs"], drawn["action"], angle)
        return changed | {"obs": obs, "action": action}


def turned_rows(
    turn: Turn, data: Dataset, number: int, pixels: bool
) -> tuple[np.ndarray | TurnedPictures, np.ndarray]:
    """Observations or pictures, and actions, of all rows of a dataset, in turn number `number`.

    Every episode by a random angle of its own.
    """
    rng = np.random.default_rng([number, TURNS])
    each = rng.uniform(-np.pi, np.pi, len(data.episodes)).astype(np.float32)
    angles = np.repeat(each, [episode.length + 1 for episode in data.episodes])
    obs, action = turn(data.arrays["obs"], data.arrays["action"], angles)
    return TurnedPictures(data.arrays["pixels"], angles) if pixels else obs, action
