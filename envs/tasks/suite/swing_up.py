"""Poles to be held up, or swung up first: pendulum, cartpole, acrobot."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start, Task
from envs.tasks.helpers import between, norm, rotation, small_control, tolerance, upright


class Pendulum(Task):
    """Hold a pole with a weak motor within eight degrees of upright."""

    domain, control_dt, time_limit = "pendulum", 0.02, 20

    def __init__(self) -> None:
        super().__init__()
        self._pole = self.model.body("pole").id

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Cosine and sine of the pole, angular velocity."""
        axes = [rotation(xp, data, [self._pole], entry) for entry in ("zz", "xz")]
        return {"orientation": xp.concatenate(axes, axis=-1), "velocity": data.qvel}

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of being upright."""
        return tolerance(xp, upright(xp, data, self._pole), (math.cos(math.radians(8)), 1.0))


class Cartpole(Task):
    """Balance a pole on a cart or swing it up, with a smooth or an indicator reward."""

    domain, control_dt, time_limit = "cartpole", 0.01, 10
    swing_up = False
    sparse = False

    def __init__(self) -> None:
        super().__init__()
        self._pole = self.model.body("pole_1").id

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Cart position, cosine and sine of the pole, velocities."""
        axes = [rotation(xp, data, [self._pole], entry) for entry in ("zz", "xz")]
        position = xp.concatenate([data.qpos[..., :1], *axes], axis=-1)
        return {"position": position, "velocity": data.qvel}

    def reward(self, xp: Any, data: Any) -> Any:
        """Upright, centred, slow and with little control; or the indicator of the first two."""
        cart, cosine = data.qpos[..., 0], upright(xp, data, self._pole)
        if self.sparse:
            return tolerance(xp, cart, (-0.25, 0.25)) * tolerance(xp, cosine, (0.995, 1.0))
        centered = (1 + tolerance(xp, cart, margin=2)) / 2
        slow = (1 + tolerance(xp, data.qvel[..., 1], margin=5)) / 2
        return (cosine + 1) / 2 * small_control(xp, data) * slow * centered

    def start(self, rng: np.random.Generator) -> Start:
        """Pole hanging (swing up) or nearly upright, with small velocities."""
        if self.swing_up:
            qpos = np.array([0.0, math.pi]) + 0.01 * rng.standard_normal(2)
        else:
            qpos = rng.uniform((-0.1, -0.034), (0.1, 0.034))
        return Start(qpos, 0.01 * rng.standard_normal(2))


class Acrobot(Task):
    """Two links, the motor between them: bring the tip up to the target."""

    domain, control_dt, time_limit = "acrobot", 0.01, 10
    sparse = False

    def __init__(self) -> None:
        super().__init__()
        self._arms = [self.model.body(name).id for name in ("upper_arm", "lower_arm")]
        self._target, self._tip = (self.model.site(name).id for name in ("target", "tip"))
        self._radius = float(self.model.site_size[self._target, 0])

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Sines and cosines of both arms, velocities."""
        axes = [rotation(xp, data, self._arms, entry) for entry in ("xz", "zz")]
        return {"orientations": xp.concatenate(axes, axis=-1), "velocity": data.qvel}

    def reward(self, xp: Any, data: Any) -> Any:
        """Closeness of the tip to the target, smooth or as an indicator."""
        distance = norm(xp, between(data.site_xpos, self._tip, self._target))
        return tolerance(xp, distance, (0.0, self._radius), margin=0 if self.sparse else 1)
