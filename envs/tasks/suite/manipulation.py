"""Things to be brought to a place: reacher, finger, ball in cup, point mass."""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start, Task
from envs.tasks.helpers import between, indicator, norm, sensor_index, small_control, tolerance


class Reacher(Task):
    """Touch a target of radius `target_size` metres with the end of a two-link arm."""

    domain, control_dt, time_limit = "reacher", 0.02, 20
    model_fields = ("geom_pos",)
    target_size = 0.05

    def __init__(self) -> None:
        super().__init__()
        self._target, self._finger = (self.model.geom(name).id for name in ("target", "finger"))
        self.model.geom_size[self._target, 0] = self.target_size
        self._radii = float(self.target_size + self.model.geom_size[self._finger, 0])

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Joint angles, vector from finger to target, velocities."""
        return {"position": data.qpos, "to_target": self._to_target(data), "velocity": data.qvel}

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of the finger touching the target."""
        return tolerance(xp, norm(xp, self._to_target(data)), (0.0, self._radii))

    def _to_target(self, data: Any) -> Any:
        return between(data.geom_xpos, self._finger, self._target)[..., :2]

    def start(self, rng: np.random.Generator) -> Start:
        """A random pose at rest, and a target within the arm's reach."""
        pose = super().start(rng)
        angle, radius = rng.uniform((0.0, 0.05), (2 * math.pi, 0.20))
        places = self.model.geom_pos.copy()
        places[self._target, :2] = radius * math.sin(angle), radius * math.cos(angle)
        return Start(pose.qpos, pose.qvel, {"geom_pos": places})


class Finger(Task):
    """A finger of two links and a spinner; observations are made of sensors alone."""

    domain, control_dt, time_limit = "finger", 0.02, 20
    collision_free = True

    def __init__(self) -> None:
        super().__init__()
        self._angles = sensor_index(self.model, "proximal", "distal")
        speeds = ("proximal_velocity", "distal_velocity", "hinge_velocity")
        self._speeds = sensor_index(self.model, *speeds)
        self._touches = sensor_index(self.model, "touchtop", "touchbottom")
        places = [sensor_index(self.model, name)[::2] for name in ("tip", "target", "spinner")]
        self._tip, self._target, self._spinner = places  # (x, z) each

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Finger angles, spinner's tip (x, z), three velocities, two touch signals."""
        sensors = data.sensordata
        position = [sensors[..., self._angles], self._from_spinner(data, self._tip)]
        return {
            "position": xp.concatenate(position, axis=-1),
            "velocity": sensors[..., self._speeds],
            "touch": xp.log1p(sensors[..., self._touches]),
        }

    def _from_spinner(self, data: Any, place: list[int]) -> Any:
        return data.sensordata[..., place] - data.sensordata[..., self._spinner]


class Spin(Finger):
    """Spin the spinner backwards at fifteen radians a second or more."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("target", "tip"):
            self.model.site(name).rgba[3] = 0.0
        self.model.dof_damping[self.model.joint("hinge").dofadr[0]] = 0.03

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of spinning fast enough."""
        return indicator(xp, data.sensordata[..., self._speeds[2]] <= -15.0)


class Turn(Finger):
    """Turn the spinner's tip into a target of radius `target_size` metres."""

    model_fields = ("site_pos",)
    target_size = 0.07

    def __init__(self) -> None:
        super().__init__()
        model, self._site = self.model, self.model.site("target").id
        model.site_size[self._site, 0] = self.target_size
        self._hinge = model.body("spinner").pos + model.joint("hinge").pos
        self._reach = float(model.geom("cap1").size.sum())

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """As for spinning, then the target (x, z) and the distance to its surface."""
        target = self._from_spinner(data, self._target)
        distance = self._distance(xp, data)[..., None]
        more = {"target_position": target, "dist_to_target": distance}
        return super().observe(xp, data) | more

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of the tip being inside the target."""
        return indicator(xp, self._distance(xp, data) <= 0)

    def _distance(self, xp: Any, data: Any) -> Any:
        """Distance from the tip to the target's surface [...], negative inside."""
        target, tip = (self._from_spinner(data, place) for place in (self._target, self._tip))
        return norm(xp, target - tip) - self.target_size

    def start(self, rng: np.random.Generator) -> Start:
        """A random pose at rest, with the target at any angle about the hinge."""
        angle = rng.uniform(-math.pi, math.pi)
        places = self.model.site_pos.copy()
        places[self._site, 0] = self._hinge[0] + self._reach * math.sin(angle)
        places[self._site, 2] = self._hinge[2] + self._reach * math.cos(angle)
        pose = super().start(rng)
        return Start(pose.qpos, pose.qvel, {"site_pos": places})


class BallInCup(Task):
    """A cup that moves in a plane and a ball on a string: have the ball inside the cup."""

    domain, control_dt, time_limit = "ball_in_cup", 0.02, 20
    collision_free = True

    def __init__(self) -> None:
        super().__init__()
        model = self.model
        self._target, self._ball = model.site("target").id, model.body("ball").id
        radius = float(model.geom("ball").size[0])
        self._room = tuple(float(size) - radius for size in model.site("target").size[[0, 2]])
        self._joints = [int(model.joint(name).qposadr[0]) for name in ("ball_x", "ball_z")]

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Positions and velocities of cup and ball."""
        return {"position": data.qpos, "velocity": data.qvel}

    def reward(self, xp: Any, data: Any) -> Any:
        """Indicator of the ball being wholly inside the target box."""
        offset = abs(data.site_xpos[..., self._target, :] - data.xpos[..., self._ball, :])
        inside = (offset[..., 0] < self._room[0]) & (offset[..., 2] < self._room[1])
        return indicator(xp, inside)

    def start(self, rng: np.random.Generator) -> Start:
        """The ball somewhere about the cup, touching nothing."""
        qpos = self.model.qpos0.copy()
        qpos[self._joints] = rng.uniform((-0.2, 0.2), (0.2, 0.5))
        return self.at_rest(qpos)


class PointMass(Task):
    """Bring a mass in a plane to the middle, with little control."""

    domain, control_dt, time_limit = "point_mass", 0.02, 20

    def __init__(self) -> None:
        super().__init__()
        self._target, self._mass = (self.model.geom(name).id for name in ("target", "pointmass"))
        self._size = float(self.model.geom_size[self._target, 0])

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Position and velocity."""
        return {"position": data.qpos, "velocity": data.qvel}

    def reward(self, xp: Any, data: Any) -> Any:
        """Closeness to the target, times smallness of control."""
        distance = norm(xp, between(data.geom_xpos, self._mass, self._target))
        near = tolerance(xp, distance, (0.0, self._size), margin=self._size)
        return near * small_control(xp, data)
