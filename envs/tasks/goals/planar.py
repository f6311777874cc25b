"""Flat worlds seen from above: their MJCF, and a point that is pushed through them."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from envs.tasks.goal_task import GoalTask
from envs.tasks.helpers import norm

POINT_RGBA, WALL_RGBA, FLOOR_RGBA = "0.9 0.15 0.1 1", "0.15 0.2 0.35 1", "0.85 0.85 0.8 1"


class Wall(NamedTuple):
    """A box on the floor, metres: where its middle is, and half its sides."""

    x: float
    y: float
    half_x: float
    half_y: float


def world_xml(name: str, view: float, timestep: float, nq: int, content: str) -> str:
    """MJCF of a flat world; `content` are its worldbody and other sections.

    Camera 0 looks down without perspective and sees a square of `view` metres. There is room for
    a goal of nq numbers in `userdata`. Colours are flat, without lights or shadows.
    """
    return f"""
<mujoco model="{name}">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{timestep}"/>
  <size nuserdata="{nq}"/>
  <visual>
    <headlight ambient="0.9 0.9 0.9" diffuse="0.1 0.1 0.1" specular="0 0 0"/>
    <global offwidth="640" offheight="640"/>
    <quality shadowsize="0"/>
  </visual>
  <worldbody>
    <camera name="top" pos="0 0 5" projection="orthographic" fovy="{view}"/>
    <geom name="floor" type="plane" size="{view} {view} 1" pos="0 0 0" rgba="{FLOOR_RGBA}"
          contype="0" conaffinity="0"/>
  </worldbody>
  {content}
</mujoco>"""


def point_xml(radius: float) -> str:
    """A ball of 1 kg that two motors push along x and y, with viscous and dry friction.

    It reaches 0.9 m/s in an axis, after some 0.2 s.
    """
    joint = 'type="slide" damping="5" frictionloss="0.5"'
    return f"""
  <worldbody>
    <body name="point" pos="0 0 {radius}">
      <joint name="x" axis="1 0 0" {joint}/>
      <joint name="y" axis="0 1 0" {joint}/>
      <geom name="point" type="sphere" size="{radius}" mass="1" rgba="{POINT_RGBA}"
            contype="0" conaffinity="1" condim="1"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="x" joint="x" gear="5" ctrlrange="-1 1"/>
    <motor name="y" joint="y" gear="5" ctrlrange="-1 1"/>
  </actuator>"""


def walls_xml(walls: Sequence[Wall], height: float) -> str:
    """Boxes that the point cannot enter."""
    rows = [
        f'<geom type="box" pos="{w.x} {w.y} {height / 2}" '
        f'size="{w.half_x} {w.half_y} {height / 2}" rgba="{WALL_RGBA}" '
        'contype="1" conaffinity="0" condim="1"/>'
        for w in walls
    ]
    return "<worldbody>" + "\n".join(rows) + "</worldbody>"


def border(view: float, thickness: float) -> list[Wall]:
    """Four walls around a square of `view` metres, inside it."""
    middle, half = (view - thickness) / 2, thickness / 2
    sides = [Wall(sign * middle, 0.0, half, view / 2) for sign in (-1, 1)]
    return sides + [Wall(0.0, sign * middle, view / 2, half) for sign in (-1, 1)]


class PointTask(GoalTask):
    """Bring the point of `point_xml` within `radius` metres of a place."""

    achieved_names = ("x", "y")
    radius: ClassVar[float]

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Position and velocity."""
        return {"position": data.qpos, "velocity": data.qvel}

    def achieved(self, xp: Any, data: Any) -> Any:
        """Position, metres."""
        return data.qpos

    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        """Whether the point is close enough."""
        return norm(xp, achieved - goal) <= self.radius
