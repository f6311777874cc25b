"""A round pusher and a T-shaped block on a table: bring the block to a pose.

Sizes, in units of a 512th of the view, and success (the block within 20 units and 20 degrees) are
those of the published PushT. The action is the velocity of the pusher, which a stiff servo of
limited force follows: unlike a moving position target it hides no state from an observation. The
block slides and turns with dry and viscous friction; wherever it is pushed, the pusher can still
reach every side of it.
"""

import math
from typing import Any

import numpy as np

from envs.tasks.base import Start
from envs.tasks.engine import compile_model
from envs.tasks.goal_task import GoalTask, steer
from envs.tasks.goals.planar import POINT_RGBA, border, walls_xml, world_xml
from envs.tasks.goals.push_script import advance, heading, plan
from envs.tasks.helpers import angle_difference, cos_sin, norm

VIEW = 1.0
"""Side of the table, which is also what the camera sees, metres."""
UNIT = VIEW / 512
TOLERANCE, ANGLE_TOLERANCE = 20 * UNIT, math.radians(20)
_RADIUS = 15 * UNIT
_BAR, _STEM = (120 * UNIT, 30 * UNIT), (30 * UNIT, 90 * UNIT)  # width, length
_MASS_X_DISTANCE = _STEM[0] * _STEM[1] * (_BAR[1] + _STEM[1]) / 2
_BAR_Y = _MASS_X_DISTANCE / (_BAR[0] * _BAR[1] + _STEM[0] * _STEM[1])  # the body is at its middle
_STEM_Y = _BAR_Y - (_BAR[1] + _STEM[1]) / 2
_AROUND = math.hypot(_STEM[0] / 2, _STEM[1] / 2 - _STEM_Y) + _RADIUS  # clear of the block
_PUSHER_REACH = VIEW / 2 - _RADIUS
_BLOCK_REACH = _PUSHER_REACH - _AROUND
_BORDER = 0.01  # only to be seen
_SPEED = 0.5
_DECISION = 0.1  # seconds for which the script plans an action
_MAX_SHIFT, _MAX_TURN = 0.15, math.radians(60)  # from start to goal
_GIVE_UP = 0.1  # chance a push that a wandering script turns to another pose
_BLOCK_RGBA = "0.1 0.45 0.75 1"
_HEIGHT = 2 * _RADIUS


def model_xml() -> str:
    """The MJCF of the table, the block and the pusher."""
    limit = f'limited="true" range="{-_PUSHER_REACH} {_PUSHER_REACH}"'
    block = f'limited="true" range="{-_BLOCK_REACH} {_BLOCK_REACH}" damping="2" frictionloss="0.4"'
    part = f'type="box" rgba="{_BLOCK_RGBA}" density="900" contype="0" conaffinity="1"'
    servo = f'kv="25" ctrlrange="{-_SPEED} {_SPEED}" forcerange="-6 6"'
    return world_xml(
        "push-t",
        VIEW,
        0.005,
        5,
        f"""
  <worldbody>
    <body name="pusher" pos="0 0 {_RADIUS}">
      <joint name="x" type="slide" axis="1 0 0" {limit}/>
      <joint name="y" type="slide" axis="0 1 0" {limit}/>
      <geom name="pusher" type="sphere" size="{_RADIUS}" mass="0.5" rgba="{POINT_RGBA}"
            contype="1" conaffinity="0" friction="0.3"/>
    </body>
    <body name="block" pos="0 0 {_RADIUS}">
      <joint name="block_x" type="slide" axis="1 0 0" {block}/>
      <joint name="block_y" type="slide" axis="0 1 0" {block}/>
      <joint name="block_angle" type="hinge" axis="0 0 1" damping="0.01" frictionloss="0.02"/>
      <geom name="bar" {part} pos="0 {_BAR_Y} 0" friction="0.3"
            size="{_BAR[0] / 2} {_BAR[1] / 2} {_HEIGHT / 2}"/>
      <geom name="stem" {part} pos="0 {_STEM_Y} 0" friction="0.3"
            size="{_STEM[0] / 2} {_STEM[1] / 2} {_HEIGHT / 2}"/>
    </body>
  </worldbody>
  {walls_xml(border(VIEW, _BORDER), _HEIGHT)}
  <actuator>
    <velocity name="x" joint="x" {servo}/>
    <velocity name="y" joint="y" {servo}/>
  </actuator>""",
    )


class PushT(GoalTask):
    """Bring the block within 20/512 of the view and 20 degrees of a pose."""

    control_dt, time_limit = 0.05, 20
    achieved_names = ("x", "y", "angle")
    open_parts = ("pusher",)

    def load(self) -> Any:
        """The table, the block and the pusher."""
        return compile_model(model_xml())

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Pusher (x, y), block (x, y, cosine, sine), and the five velocities."""
        turn = cos_sin(xp, data.qpos[..., 4:5])
        block = xp.concatenate([data.qpos[..., 2:4], turn], axis=-1)
        return {"pusher": data.qpos[..., :2], "block": block, "velocity": data.qvel}

    def achieved(self, xp: Any, data: Any) -> Any:
        """Pose of the block: metres, metres, radians (any number of turns)."""
        return data.qpos[..., 2:5]

    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        """Whether the block is close enough in place and in angle."""
        near = norm(xp, achieved[..., :2] - goal[..., :2]) <= TOLERANCE
        turn = xp.abs(angle_difference(xp, achieved[..., 2], goal[..., 2]))
        return near & (turn <= ANGLE_TOLERANCE)

    def rotated(self, xp: Any, obs: Any, action: Any, angle: Any) -> tuple[Any, Any]:
        """Everything turned about the middle of the table.

        The border stays, and the axes along which dry friction and the servos' limits work.
        """
        cos, sin = xp.cos(angle)[..., None], xp.sin(angle)[..., None]

        def turn(pair: Any) -> Any:
            x, y = pair[..., :1], pair[..., 1:]
            return xp.concatenate([cos * x - sin * y, sin * x + cos * y], axis=-1)

        # Pusher, block, (cosine, sine) of its angle, and velocities of the first two.
        pairs = [turn(obs[..., i : i + 2]) for i in (0, 2, 4, 6, 8)]
        return xp.concatenate([*pairs, obs[..., 10:]], axis=-1), turn(action)

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """Out of tolerance by half as much again, and not further than a few pushes."""
        shift = norm(np, start[:2] - goal[:2])
        turn = abs(angle_difference(np, start[2], goal[2]))
        away = shift > 1.5 * TOLERANCE or turn > 1.5 * ANGLE_TOLERANCE
        return bool(away and shift <= _MAX_SHIFT and turn <= _MAX_TURN)

    def free_start(self, rng: np.random.Generator) -> Start:
        """The block anywhere, the pusher beside it, at rest."""
        block = rng.uniform(-_BLOCK_REACH, _BLOCK_REACH, 2)
        pusher = self._beside(rng, block)
        if pusher is None:
            return self.free_start(rng)
        return self.at_rest(np.array([*pusher, *block, rng.uniform(-np.pi, np.pi)]))

    def redraw_open(self, rng: np.random.Generator, qpos: np.ndarray) -> np.ndarray:
        """The pusher somewhere else beside the block."""
        pusher = None
        while pusher is None:
            pusher = self._beside(rng, qpos[2:4])
        return np.array([*pusher, *qpos[2:]])

    def _beside(self, rng: np.random.Generator, block: np.ndarray) -> np.ndarray | None:
        """A place for the pusher clear of the block; None where the table ends too soon."""
        direction = rng.uniform(-np.pi, np.pi)
        distance = _AROUND + rng.uniform(0.01, 0.1)
        pusher = block + distance * np.array([np.cos(direction), np.sin(direction)])
        pusher = np.clip(pusher, -_PUSHER_REACH, _PUSHER_REACH)
        return None if norm(np, pusher - block) < _AROUND else pusher

    def scripted(
        self,
        rng: np.random.Generator,
        qpos: np.ndarray,
        qvel: np.ndarray,
        goal: np.ndarray | None,
        memory: Any,
    ) -> tuple[np.ndarray, Any]:
        """Pushes towards a pose, one push after another; memory is the push under way."""
        pusher, block = qpos[:2], qpos[2:5]
        push = None if memory is None else advance(memory, pusher, block)
        if push is None:
            pose = goal[2:5] if goal is not None else self._errand(rng, block, memory)
            push = plan(rng, block, pose, _AROUND + 0.02)
            reach = np.clip(push.origin, -_PUSHER_REACH, _PUSHER_REACH)
            push = push._replace(origin=reach)
        if goal is not None and self.success(np, block, goal[2:5]):
            return np.zeros(2), None
        target = heading(push, pusher, block, _AROUND)
        noise = 0.05 if goal is not None else 0.2
        return steer(rng, target - pusher, qvel[:2], 1 / (_SPEED * _DECISION), 0.0, noise), push

    def _errand(self, rng: np.random.Generator, block: np.ndarray, memory: Any) -> np.ndarray:
        """The pose under way, until it is reached or given up; then another nearby."""
        if memory is None or self.success(np, block, memory.pose) or rng.random() < _GIVE_UP:
            return self._nearby(rng, block)
        return memory.pose

    def _nearby(self, rng: np.random.Generator, block: np.ndarray) -> np.ndarray:
        """A pose that a few pushes may reach."""
        place = block[:2] + rng.uniform(-_MAX_SHIFT, _MAX_SHIFT, 2)
        place = np.clip(place, -_BLOCK_REACH, _BLOCK_REACH)
        return np.array([*place, block[2] + rng.uniform(-_MAX_TURN, _MAX_TURN)])
