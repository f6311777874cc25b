"""A mass in a plane: bring it to the middle."""

from typing import Any

import numpy as np

from envs.tasks.base import Start, Task, joint_bounds, norm
from envs.tasks.rewards import tolerance


class PointMass(Task):
    """Be at the target, with little control."""

    fields = ("geom_xpos",)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._target, self._mass = model.geom("target").id, model.geom("pointmass").id
        self._size = float(model.geom_size[self._target, 0])
        self._low, self._high = joint_bounds(model)

    def observe(self, xp: Any, data: Any) -> Any:
        """Position and velocity."""
        return xp.concatenate([data.qpos, data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Closeness to the target, times smallness of control."""
        geoms = data.geom_xpos
        distance = norm(xp, geoms[..., self._target, :] - geoms[..., self._mass, :])
        near = tolerance(xp, distance, (0.0, self._size), margin=self._size)
        control = tolerance(xp, data.ctrl, margin=1, value_at_margin=0, sigmoid="quadratic")
        return near * (xp.mean(control, axis=-1) + 4) / 5

    def start(self, rng: np.random.Generator) -> Start:
        """Anywhere in the arena, at rest."""
        return Start(rng.uniform(self._low, self._high), np.zeros(self.model.nv))
