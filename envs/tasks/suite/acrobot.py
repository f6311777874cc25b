"""Two links, the motor between them: swing the tip up to the target."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import XZ, ZZ, Start, Task, norm, rotation
from envs.tasks.rewards import tolerance


class Acrobot(Task):
    """Bring the tip to the target, with a smooth or an indicator reward."""

    fields = ("xmat", "site_xpos")

    def __init__(self, model: Any, sparse: bool) -> None:
        super().__init__(model)
        self.sparse = sparse
        self._arms = [model.body(name).id for name in ("upper_arm", "lower_arm")]
        self._target, self._tip = model.site("target").id, model.site("tip").id
        self._radius = float(model.site_size[self._target, 0])

    def observe(self, xp: Any, data: Any) -> Any:
        """Sines and cosines of both arms, velocities."""
        sines = rotation(xp, data, self._arms, XZ)
        cosines = rotation(xp, data, self._arms, ZZ)
        return xp.concatenate([sines, cosines, data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Closeness of the tip to the target."""
        sites = data.site_xpos
        distance = norm(xp, sites[..., self._target, :] - sites[..., self._tip, :])
        return tolerance(xp, distance, (0.0, self._radius), margin=0 if self.sparse else 1)

    def start(self, rng: np.random.Generator) -> Start:
        """Any angles, at rest."""
        return Start(rng.uniform(-math.pi, math.pi, 2), np.zeros(2))
