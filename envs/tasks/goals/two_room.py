"""Two rooms and a door between them: bring a point to a place.

The success radius is that published for TwoRoom, 16 of the 224 pixels of the view; the layout and
the dynamics are our own.
"""

from typing import Any

import numpy as np

from envs.tasks.base import Start, norm
from envs.tasks.goal_task import GoalTask
from envs.tasks.goals.planar import Wall, border, point_xml, steer, walls_xml, world_xml

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


class TwoRoom(GoalTask):
    """Be within 16/224 of the view of a place, often in the other room."""

    achieved_names = ("x", "y")
    success_text = f"the point is within {TOLERANCE:.3f} m of the goal (16/224 of the view)"

    def observe(self, xp: Any, data: Any) -> Any:
        """Position and velocity."""
        return xp.concatenate([data.qpos, data.qvel], axis=-1)

    def achieved(self, xp: Any, data: Any) -> Any:
        """Position, metres."""
        return data.qpos[..., :2]

    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        """Whether the point is close enough."""
        return norm(xp, achieved - goal) <= TOLERANCE

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """A quarter of the episodes stay in their room; no goal is near the start."""
        crosses = bool(start[0] * goal[0] < 0)
        return crosses == (rng.random() < _CROSSING) and norm(np, start - goal) > 3 * TOLERANCE

    def free_start(self, rng: np.random.Generator) -> Start:
        """Anywhere in either room, at rest."""
        clear = _WALL_HALF + _RADIUS
        x = rng.uniform(clear, _REACH) * rng.choice((-1.0, 1.0))
        return Start(np.array([x, rng.uniform(-_REACH, _REACH)]), np.zeros(2))

    def scripted(
        self,
        rng: np.random.Generator,
        qpos: np.ndarray,
        qvel: np.ndarray,
        goal: np.ndarray | None,
        memory: Any,
    ) -> tuple[np.ndarray, Any]:
        """To a place, through the door when it is in the other room; memory is that place."""
        place = goal if goal is not None else memory
        if place is None or (goal is None and norm(np, place - qpos) < TOLERANCE):
            place = self.free_start(rng).qpos
        noise = 0.2 if goal is not None else 0.6
        return steer(rng, _waypoint(qpos, place) - qpos, qvel, 6.0, 0.5, noise), place


def _waypoint(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Where to head for: the place itself, or the near side of the door, then its far side."""
    clear = _WALL_HALF + _RADIUS + 0.04
    inside = abs(here[1] - DOOR_Y) < _DOOR_HALF - _RADIUS
    if here[0] * there[0] > 0 and (abs(here[0]) > clear or not inside):
        return there
    side = np.sign(there[0])
    if inside:
        return np.array([side * 2 * clear, DOOR_Y])
    return np.array([-side * clear, DOOR_Y])
