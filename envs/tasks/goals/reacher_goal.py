"""The two-link arm of dm_control's reacher: bring its joints to given angles.

The dynamics are dm_control's to the last bit; the target of its tasks is hidden, and the camera a
little nearer. Success as published for goal-conditioned reaching: each joint within 0.05 rad.
"""

from typing import Any

import numpy as np

from envs.tasks.engine import suite_model
from envs.tasks.goal_task import GoalTask
from envs.tasks.helpers import angle_difference, cos_sin

TOLERANCE = 0.05
_CAMERA_HEIGHT = 0.66
_MIDDLE = '<statistic center="0 0 0.0907124458635112"/>'  # by which camera shifts are measured


class ReacherGoal(GoalTask):
    """Bring both joints within 0.05 rad of given angles."""

    control_dt, time_limit = 0.04, 8
    achieved_names = ("shoulder", "wrist")
    script_gains, script_noise = (1.0, 0.15), (0.05, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.model.geom("target").rgba[3] = 0.0
        self.model.cam_pos[0, 2] = _CAMERA_HEIGHT

    def load(self) -> Any:
        """dm_control's arm, with room for a goal."""
        parts = '<include file="reacher.xml"/><size nuserdata="2"/>' + _MIDDLE
        return suite_model("reacher", f'<mujoco model="reacher-goal">{parts}</mujoco>')

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """Cosines and sines of the joint angles, and their velocities."""
        return {"angles": cos_sin(xp, data.qpos), "velocity": data.qvel}

    def achieved(self, xp: Any, data: Any) -> Any:
        """Joint angles, radians; the shoulder's may count several turns."""
        return data.qpos

    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        """Whether every joint is close enough, by the shorter way around."""
        return xp.max(xp.abs(angle_difference(xp, achieved, goal)), axis=-1) <= TOLERANCE

    def rotated(self, xp: Any, obs: Any, action: Any, angle: Any) -> tuple[Any, Any]:
        """The shoulder turned; torques are the same, and so is a picture but for its floor."""
        cos, sin = xp.cos(angle), xp.sin(angle)
        x, y = obs[..., 0], obs[..., 2]
        turned = [cos * x - sin * y, obs[..., 1], sin * x + cos * y, obs[..., 3]]
        return xp.concatenate([xp.stack(turned, axis=-1), obs[..., 4:]], axis=-1), action

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """Some joint has at least a quarter of a radian to go."""
        return bool(np.abs(angle_difference(np, start, goal)).max() > 5 * TOLERANCE)

    def to_go(self, qpos: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Angles to turn: the shoulder's by the shorter way, the wrist's within its limits."""
        return np.array([angle_difference(np, place[0], qpos[0]), place[1] - qpos[1]])

    def arrived(self, qpos: np.ndarray, place: np.ndarray) -> bool:
        """Nearly, which is enough for a wandering script."""
        return np.abs(self.to_go(qpos, place)).max() < 4 * TOLERANCE
