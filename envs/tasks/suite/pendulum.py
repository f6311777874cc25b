"""Pendulum with a weak motor: swing it up."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import XZ, ZZ, Start, Task, rotation
from envs.tasks.rewards import tolerance

_UPRIGHT_COSINE = math.cos(math.radians(8))


class Pendulum(Task):
    """Hold the pole within eight degrees of upright."""

    fields = ("xmat",)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._pole = model.body("pole").id

    def observe(self, xp: Any, data: Any) -> Any:
        """Cosine and sine of the pole, angular velocity."""
        cosine = rotation(xp, data, [self._pole], ZZ)
        sine = rotation(xp, data, [self._pole], XZ)
        return xp.concatenate([cosine, sine, data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of being upright."""
        cosine = rotation(xp, data, [self._pole], ZZ)[..., 0]
        return tolerance(xp, cosine, (_UPRIGHT_COSINE, 1.0))

    def start(self, rng: np.random.Generator) -> Start:
        """Any angle, at rest."""
        return Start(rng.uniform(-math.pi, math.pi, 1), np.zeros(1))
