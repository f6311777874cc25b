"""Planar robots on legs: cheetah, hopper, walker."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start, Task
from envs.tasks.engine import engine
from envs.tasks.helpers import at_least, rotation, sensor_index, small_control, tolerance, upright


class Cheetah(Task):
    """Run at ten metres a second or more."""

    domain, control_dt, time_limit = "cheetah", 0.01, 10
    settle_steps = 199

    def __init__(self) -> None:
        super().__init__()
        self._speed = sensor_index(self.model, "torso_subtreelinvel")[0]
        self._limited = self.model.jnt_limited.astype(bool)
        self._low, self._high = self.model.jnt_range[self._limited].T
        self._drift, self._qvel = _first_settling_step(self.model)

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Positions but for the horizontal one, velocities."""
        return {"position": data.qpos[..., 1:], "velocity": data.qvel}

    def reward(self, xp: Any, data: Any) -> Any:
        """Forward speed, in tenths of the speed asked for."""
        return at_least(xp, data.sensordata[..., self._speed], 10.0, margin=10.0, value_at_margin=0)

    def start(self, rng: np.random.Generator) -> Start:
        """Random joint angles, to be settled on the ground without control."""
        qpos = self.model.qpos0.copy()
        qpos[self._limited] = rng.uniform(self._low, self._high)
        return Start(qpos + self._drift, self._qvel)


def _first_settling_step(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Displacement [nq] and velocity [nv] that the first settling step adds to any pose.

    The suite computes forces at the default pose, sets the random pose, and only then integrates;
    so its first step of 200 does not depend on the pose drawn.
    """
    mujoco = engine()
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    return data.qpos - model.qpos0, data.qvel.copy()


class Hopper(Task):
    """On one leg: stand with little control, or hop forwards at two metres a second."""

    domain, control_dt, time_limit = "hopper", 0.02, 20
    hopping = False

    def __init__(self) -> None:
        super().__init__()
        self._torso, self._foot = (self.model.body(name).id for name in ("torso", "foot"))
        self._speed = sensor_index(self.model, "torso_subtreelinvel")[0]
        self._touches = sensor_index(self.model, "touch_toe", "touch_heel")

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Positions but for the horizontal one, velocities, two touch signals."""
        touch = xp.log1p(data.sensordata[..., self._touches])
        return {"position": data.qpos[..., 1:], "velocity": data.qvel, "touch": touch}

    def reward(self, xp: Any, data: Any) -> Any:
        """Height of the torso over the foot, times speed or smallness of control."""
        height = data.xipos[..., self._torso, 2] - data.xipos[..., self._foot, 2]
        standing = tolerance(xp, height, (0.6, 2.0))
        if self.hopping:
            return standing * at_least(xp, data.sensordata[..., self._speed], 2.0, 1.0, 0.5)
        return standing * small_control(xp, data)


class Walker(Task):
    """Stay upright on two legs at `speed` metres a second; 0 asks for standing alone."""

    domain, control_dt, time_limit = "walker", 0.025, 25
    speed = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._torso = self.model.body("torso").id
        self._speed = sensor_index(self.model, "torso_subtreelinvel")[0]

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Planar orientation of each body, height of the torso, velocities."""
        axes = xp.stack(
            [rotation(xp, data, slice(1, None), entry) for entry in ("xx", "xz")], axis=-1
        )
        return {
            "orientations": xp.reshape(axes, (*data.qpos.shape[:-1], -1)),
            "height": data.xpos[..., [self._torso], 2],
            "velocity": data.qvel,
        }

    def reward(self, xp: Any, data: Any) -> Any:
        """Height and uprightness, times progress when a speed is asked for."""
        height = data.xpos[..., self._torso, 2]
        standing = tolerance(xp, height, (1.2, math.inf), margin=0.6)
        stand = (3 * standing + (1 + upright(xp, data, self._torso)) / 2) / 4
        if self.speed == 0:
            return stand
        move = at_least(xp, data.sensordata[..., self._speed], self.speed, self.speed / 2, 0.5)
        return stand * (5 * move + 1) / 6
