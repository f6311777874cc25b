"""Planar cheetah: run."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start, Task, sensor_slice
from envs.tasks.engine import engine
from envs.tasks.rewards import tolerance

_RUN_SPEED = 10.0


class Cheetah(Task):
    """Run at ten metres a second or more."""

    fields = ("sensordata",)
    settle_steps = 199

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._velocity = sensor_slice(model, "torso_subtreelinvel").start
        self._limited = model.jnt_limited.astype(bool)
        self._low, self._high = model.jnt_range[self._limited].T
        self._drift, self._qvel = _first_settling_step(model)

    def observe(self, xp: Any, data: Any) -> Any:
        """Positions but for the horizontal one, velocities."""
        return xp.concatenate([data.qpos[..., 1:], data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Forward speed, in tenths of the speed asked for."""
        return tolerance(
            xp,
            data.sensordata[..., self._velocity],
            (_RUN_SPEED, math.inf),
            margin=_RUN_SPEED,
            value_at_margin=0,
            sigmoid="linear",
        )

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
