"""A cup that moves in a plane and a ball on a string: catch the ball."""

from typing import Any

import numpy as np

from envs.tasks.base import Start, Task


class BallInCup(Task):
    """Have the ball inside the cup."""

    fields = ("site_xpos", "xpos")
    collision_free = True

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._target = model.site("target").id
        self._ball = model.body("ball").id
        radius = float(model.geom("ball").size[0])
        self._room = tuple(float(size) - radius for size in model.site("target").size[[0, 2]])
        self._joints = [int(model.joint(name).qposadr[0]) for name in ("ball_x", "ball_z")]

    def observe(self, xp: Any, data: Any) -> Any:
        """Positions and velocities of cup and ball."""
        return xp.concatenate([data.qpos, data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of the ball being wholly inside the target box."""
        offset = abs(data.site_xpos[..., self._target, :] - data.xpos[..., self._ball, :])
        inside = (offset[..., 0] < self._room[0]) & (offset[..., 2] < self._room[1])
        return xp.where(inside, 1.0, 0.0)

    def start(self, rng: np.random.Generator) -> Start:
        """The ball somewhere about the cup, touching nothing."""
        qpos = self.model.qpos0.copy()
        qpos[self._joints] = rng.uniform((-0.2, 0.2), (0.2, 0.5))
        return Start(qpos, np.zeros(self.model.nv))
