"""Two rooms and a door between them: bring a point to a place.

The success radius is that published for TwoRoom, 16 of the 224 pixels of the view; the layout and
the dynamics are our own.
"""

from typing import Any

import numpy as np

from envs.tasks.base import Start
from envs.tasks.engine import compile_model
from envs.tasks.goals.planar import PointTask, Wall, border, point_xml, walls_xml, world_xml
from envs.tasks.helpers import norm

VIEW = 2.0
"""Side of the arena, which is also what the camera sees, metres."""
TOLERANCE = 16 / 224 * VIEW
_BORDER, _RADIUS = 0.06, 0.08
_WALL_HALF = 0.05
DOOR_Y, _DOOR_HALF = 0.35, 0.22
_REACH = VIEW / 2 - _BORDER - _RADIUS
_CROSSING = 0.75  # share of episodes whose goal is in the other room


def model_xml() -> str:
    """The MJCF of the two rooms."""
    ends = ((-VIEW / 2, DOOR_Y - _DOOR_HALF), (DOOR_Y + _DOOR_HALF, VIEW / 2))
    wall = [Wall(0.0, (low + high) / 2, _WALL_HALF, (high - low) / 2) for low, high in ends]
    boxes = walls_xml([*border(VIEW, _BORDER), *wall], height=2 * _RADIUS)
    return world_xml("two-room", VIEW, 0.01, 2, boxes + point_xml(_RADIUS))


class TwoRoom(PointTask):
    """Be within 16/224 of the view of a place, often in the other room."""

    control_dt, time_limit = 0.05, 10
    radius = TOLERANCE
    script_gains = (6.0, 0.5)

    def load(self) -> Any:
        """The two rooms."""
        return compile_model(model_xml())

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """A quarter of the episodes stay in their room; no goal is near the start."""
        crosses = bool(start[0] * goal[0] < 0)
        return crosses == (rng.random() < _CROSSING) and norm(np, start - goal) > 3 * TOLERANCE

    def free_start(self, rng: np.random.Generator) -> Start:
        """Anywhere in either room, at rest."""
        clear = _WALL_HALF + _RADIUS
        x = rng.uniform(clear, _REACH) * rng.choice((-1.0, 1.0))
        return self.at_rest(np.array([x, rng.uniform(-_REACH, _REACH)]))

    def to_go(self, qpos: np.ndarray, place: np.ndarray) -> np.ndarray:
        """To the place itself, or the near side of the door, then its far side."""
        return _waypoint(qpos, place) - qpos


def _waypoint(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Where to head for on the way from one place to another, all [2]."""
    clear = _WALL_HALF + _RADIUS + 0.04
    inside = abs(here[1] - DOOR_Y) < _DOOR_HALF - _RADIUS
    if here[0] * there[0] > 0 and (abs(here[0]) > clear or not inside):
        return there
    side = np.sign(there[0])
    if inside:
        return np.array([side * 2 * clear, DOOR_Y])
    return np.array([-side * clear, DOOR_Y])
