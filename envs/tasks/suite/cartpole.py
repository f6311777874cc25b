"""Cart and pole: keep the pole up, or swing it up first."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import XZ, ZZ, Start, Task, rotation
from envs.tasks.rewards import tolerance

_CART_RANGE = (-0.25, 0.25)
_COSINE_RANGE = (0.995, 1.0)
_POLE = 2


class Cartpole(Task):
    """Balance (`swing_up=False`) or swing up, with a smooth or an indicator reward."""

    fields = ("xmat",)

    def __init__(self, model: Any, swing_up: bool, sparse: bool) -> None:
        super().__init__(model)
        self.swing_up = swing_up
        self.sparse = sparse

    def observe(self, xp: Any, data: Any) -> Any:
        """Cart position, cosine and sine of the pole, velocities."""
        cosine = rotation(xp, data, [_POLE], ZZ)
        sine = rotation(xp, data, [_POLE], XZ)
        return xp.concatenate([data.qpos[..., :1], cosine, sine, data.qvel], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Upright, centred, slow and with little control; or the indicator of the first two."""
        cart = data.qpos[..., 0]
        cosine = rotation(xp, data, [_POLE], ZZ)[..., 0]
        if self.sparse:
            return tolerance(xp, cart, _CART_RANGE) * tolerance(xp, cosine, _COSINE_RANGE)
        upright = (cosine + 1) / 2
        centered = (1 + tolerance(xp, cart, margin=2)) / 2
        control = tolerance(xp, data.ctrl[..., 0], margin=1, value_at_margin=0, sigmoid="quadratic")
        slow = (1 + tolerance(xp, data.qvel[..., 1], margin=5)) / 2
        return upright * ((4 + control) / 5) * slow * centered

    def start(self, rng: np.random.Generator) -> Start:
        """Pole hanging (swing up) or nearly upright, with small velocities."""
        if self.swing_up:
            qpos = np.array([0.0, math.pi]) + 0.01 * rng.standard_normal(2)
        else:
            qpos = rng.uniform((-0.1, -0.034), (0.1, 0.034))
        return Start(qpos, 0.01 * rng.standard_normal(2))
