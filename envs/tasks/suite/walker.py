"""Planar walker: stand, walk or run."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import XX, XZ, ZZ, Start, Task, joint_bounds, rotation, sensor_slice
from envs.tasks.rewards import tolerance

_STAND_HEIGHT = 1.2


class Walker(Task):
    """Stay upright at `speed` metres a second; 0 asks for standing alone."""

    fields = ("xmat", "xpos", "sensordata")

    def __init__(self, model: Any, speed: float) -> None:
        super().__init__(model)
        self.speed = speed
        self._torso = model.body("torso").id
        self._velocity = sensor_slice(model, "torso_subtreelinvel").start
        self._low, self._high = joint_bounds(model)

    def observe(self, xp: Any, data: Any) -> Any:
        """Planar orientation of each body, height of the torso, velocities."""
        lead = data.qpos.shape[:-1]
        axes = xp.stack([rotation(xp, data, slice(1, None), entry) for entry in (XX, XZ)], axis=-1)
        height = data.xpos[..., self._torso : self._torso + 1, 2]
        return xp.concatenate([xp.reshape(axes, (*lead, -1)), height, data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Height and uprightness, times progress when a speed is asked for."""
        height = data.xpos[..., self._torso, 2]
        standing = tolerance(xp, height, (_STAND_HEIGHT, math.inf), margin=_STAND_HEIGHT / 2)
        upright = (1 + rotation(xp, data, [self._torso], ZZ)[..., 0]) / 2
        stand = (3 * standing + upright) / 4
        if self.speed == 0:
            return stand
        move = tolerance(
            xp,
            data.sensordata[..., self._velocity],
            (self.speed, math.inf),
            margin=self.speed / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return stand * (5 * move + 1) / 6

    def start(self, rng: np.random.Generator) -> Start:
        """A random pose at rest."""
        return Start(rng.uniform(self._low, self._high), np.zeros(self.model.nv))
