"""A finger of two links and a spinner: spin it, or turn its tip to a target."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start, Task, joint_bounds, norm, sensor_slice

_SPIN_SPEED = 15.0
_SPIN_DAMPING = 0.03
_ANGLES = ("proximal", "distal")
_SPEEDS = ("proximal_velocity", "distal_velocity", "hinge_velocity")
_TOUCHES = ("touchtop", "touchbottom")


class Finger(Task):
    """What spinning and turning share: starts, and observations made of sensors alone."""

    fields = ("sensordata",)
    collision_free = True

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._low, self._high = joint_bounds(model)
        self._angles, self._speeds, self._touches = (
            [sensor_slice(model, name).start for name in names]
            for names in (_ANGLES, _SPEEDS, _TOUCHES)
        )
        self._tip, self._target, self._spinner = (
            [sensor_slice(model, name).start + axis for axis in (0, 2)]
            for name in ("tip", "target", "spinner")
        )

    def observe(self, xp: Any, data: Any) -> Any:
        """Finger angles, spinner's tip (x, z), three velocities, two touch signals."""
        sensors = data.sensordata
        tip = sensors[..., self._tip] - sensors[..., self._spinner]
        touch = xp.log1p(sensors[..., self._touches])
        parts = [sensors[..., self._angles], tip, sensors[..., self._speeds], touch]
        return xp.concatenate(parts, axis=-1)

    def start(self, rng: np.random.Generator) -> Start:
        """A random pose at rest, touching nothing."""
        return Start(rng.uniform(self._low, self._high), np.zeros(self.model.nv))


class Spin(Finger):
    """Spin the spinner backwards at fifteen radians a second or more."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        for name in ("target", "tip"):
            model.site(name).rgba[3] = 0.0
        model.dof_damping[model.joint("hinge").dofadr[0]] = _SPIN_DAMPING

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of spinning fast enough."""
        return xp.where(data.sensordata[..., self._speeds[2]] <= -_SPIN_SPEED, 1.0, 0.0)


class Turn(Finger):
    """Turn the spinner's tip into a target of radius `target_size` metres."""

    model_fields = ("site_pos",)

    def __init__(self, model: Any, target_size: float) -> None:
        super().__init__(model)
        self._site = model.site("target").id
        model.site_size[self._site, 0] = target_size
        self._size = target_size
        self._hinge = model.body("spinner").pos + model.joint("hinge").pos
        self._reach = float(model.geom("cap1").size.sum())

    def observe(self, xp: Any, data: Any) -> Any:
        """As for spinning, then the target (x, z) and the distance to its surface."""
        sensors = data.sensordata
        target = sensors[..., self._target] - sensors[..., self._spinner]
        distance = self._distance(xp, data)[..., None]
        return xp.concatenate([super().observe(xp, data), target, distance], axis=-1)

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of the tip being inside the target."""
        return xp.where(self._distance(xp, data) <= 0, 1.0, 0.0)

    def _distance(self, xp: Any, data: Any) -> Any:
        """Distance from the tip to the target's surface [...], negative inside."""
        sensors = data.sensordata
        target = sensors[..., self._target] - sensors[..., self._spinner]
        tip = sensors[..., self._tip] - sensors[..., self._spinner]
        return norm(xp, target - tip) - self._size

    def start(self, rng: np.random.Generator) -> Start:
        """As for spinning, with the target at any angle about the hinge."""
        angle = rng.uniform(-math.pi, math.pi)
        places = self.model.site_pos.copy()
        places[self._site, 0] = self._hinge[0] + self._reach * math.sin(angle)
        places[self._site, 2] = self._hinge[2] + self._reach * math.cos(angle)
        pose = super().start(rng)
        return Start(pose.qpos, pose.qvel, {"site_pos": places})
