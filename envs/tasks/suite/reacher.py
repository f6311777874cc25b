"""Two-link arm in a plane: reach a target that moves between episodes."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start, Task, joint_bounds, norm
from envs.tasks.rewards import tolerance


class Reacher(Task):
    """Touch a target of radius `target_size` metres with the finger."""

    fields = ("geom_xpos",)
    model_fields = ("geom_pos",)

    def __init__(self, model: Any, target_size: float) -> None:
        super().__init__(model)
        self._target, self._finger = model.geom("target").id, model.geom("finger").id
        model.geom_size[self._target, 0] = target_size
        self._radii = float(target_size + model.geom_size[self._finger, 0])
        self._low, self._high = joint_bounds(model)

    def observe(self, xp: Any, data: Any) -> Any:
        """Joint angles, vector from finger to target, velocities."""
        return xp.concatenate([data.qpos, self._to_target(data), data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of the finger touching the target."""
        return tolerance(xp, norm(xp, self._to_target(data)), (0.0, self._radii))

    def _to_target(self, data: Any) -> Any:
        geoms = data.geom_xpos
        return geoms[..., self._target, :2] - geoms[..., self._finger, :2]

    def start(self, rng: np.random.Generator) -> Start:
        """A random pose at rest, and a target within the arm's reach."""
        qpos = rng.uniform(self._low, self._high)
        angle, radius = rng.uniform((0.0, 0.05), (2 * math.pi, 0.20))
        places = self.model.geom_pos.copy()
        places[self._target, :2] = radius * math.sin(angle), radius * math.cos(angle)
        return Start(qpos, np.zeros(self.model.nv), {"geom_pos": places})
