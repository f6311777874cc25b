"""Rotation augmentation: recorded episodes seen from random sides.

Where a task looks the same however the scene is turned, each recorded moment stands for a circle of
them. Pictures, seen from above, are turned about their middle.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from agents.data.augment import Augmentation, Rows
from agents.data.dataset import Dataset
from agents.data.rotate_pictures import RotatedPictures, rotate_pictures
from agents.runs.config import ConfigError
from envs.spec import EnvSpec
from envs.tasks import native_task

STREAM = 0x7E
Rotation = Callable[..., Any]
"""(observations [..., O], actions [..., A], angles [...] in radians) -> both, rotated."""


def task_of(env_id: str) -> Any:
    """The task of native simulators; None for others."""
    found = native_task(env_id)
    return found and found()


def rotation_of(spec: EnvSpec) -> Rotation:
    """How moments of a task are rotated. Raises ConfigError where it differs from side to side."""
    rotate: Rotation | None = getattr(task_of(spec.env_id), "rotated", None)
    nothing = np.zeros(spec.obs_dim), np.zeros(spec.action_dim), np.zeros(())
    if rotate is None or rotate(np, *nothing) is None:
        raise ConfigError(
            f"{spec.env_id} does not look the same from all sides: its episodes cannot be turned"
        )
    return partial(rotate, np)


def random_rotation(spec: EnvSpec) -> Augmentation:
    """Each stretch is seen from a random side; of pictures, every other one.

    Raises ConfigError where the task differs from side to side.
    """
    rotate = rotation_of(spec)

    def change(rng: np.random.Generator, drawn: Rows) -> Rows:
        batch, changed = len(drawn["obs"]), {}
        angle = rng.uniform(-np.pi, np.pi, (batch, 1)).astype(np.float32)
        if "pixels" in drawn:
            # Interpolation blurs, and what acts sees sharp pictures: every other stretch stays.
            angle[::2], changed["pixels"] = 0, drawn["pixels"].copy()
            changed["pixels"][1::2] = rotate_pictures(drawn["pixels"][1::2], angle[1::2, 0])
        obs, action = rotate(drawn["obs"], drawn["action"], angle)
        return changed | {"obs": obs, "action": action}

    return Augmentation(change, needs=("obs", "action"))


def rotated_rows(
    rotate: Rotation, data: Dataset, number: int, pixels: bool
) -> tuple[np.ndarray | RotatedPictures, np.ndarray]:
    """Observations or pictures, and actions, of all rows of a dataset; rotation `number` of it.

    Every episode by a random angle of its own.
    """
    rng = np.random.default_rng([number, STREAM])
    each = rng.uniform(-np.pi, np.pi, len(data.episodes)).astype(np.float32)
    angles = np.repeat(each, [episode.length + 1 for episode in data.episodes])
    obs, action = rotate(data.arrays["obs"], data.arrays["action"], angles)
    return RotatedPictures(data.arrays["pixels"], angles) if pixels else obs, action
