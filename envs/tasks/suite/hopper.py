"""Planar one-legged hopper: stand or hop."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start, Task, joint_bounds, sensor_slice
from envs.tasks.rewards import tolerance

_STAND_HEIGHT = 0.6
_HOP_SPEED = 2.0


class Hopper(Task):
    """Stand with little control, or hop forwards."""

    fields = ("sensordata", "xipos")

    def __init__(self, model: Any, hopping: bool) -> None:
        super().__init__(model)
        self.hopping = hopping
        self._torso, self._foot = model.body("torso").id, model.body("foot").id
        self._velocity = sensor_slice(model, "torso_subtreelinvel").start
        self._touches = [sensor_slice(model, name).start for name in ("touch_toe", "touch_heel")]
        self._low, self._high = joint_bounds(model)

    def observe(self, xp: Any, data: Any) -> Any:
        """Positions but for the horizontal one, velocities, two touch signals."""
        touch = xp.log1p(data.sensordata[..., self._touches])
        return xp.concatenate([data.qpos[..., 1:], data.qvel, touch], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Height of the torso over the foot, times speed or smallness of control."""
        height = data.xipos[..., self._torso, 2] - data.xipos[..., self._foot, 2]
        standing = tolerance(xp, height, (_STAND_HEIGHT, 2.0))
        if self.hopping:
            speed = data.sensordata[..., self._velocity]
            return standing * tolerance(
                xp,
                speed,
                (_HOP_SPEED, math.inf),
                margin=_HOP_SPEED / 2,
                value_at_margin=0.5,
                sigmoid="linear",
            )
        control = tolerance(xp, data.ctrl, margin=1, value_at_margin=0, sigmoid="quadratic")
        return standing * (xp.mean(control, axis=-1) + 4) / 5

    def start(self, rng: np.random.Generator) -> Start:
        """A random pose at rest."""
        return Start(rng.uniform(self._low, self._high), np.zeros(self.model.nv))
