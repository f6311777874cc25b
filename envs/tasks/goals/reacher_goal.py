"""The two-link arm of dm_control's reacher: bring its joints to given angles.

The dynamics are dm_control's to the last bit; the target of its tasks is hidden, and the camera a
little nearer. Success as published for goal-conditioned reaching: each joint within 0.05 rad.
"""

from typing import Any

import numpy as np

from envs.tasks.base import Start, joint_bounds
from envs.tasks.goal_task import GoalTask, angle_difference
from envs.tasks.goals.planar import occluder_xml, steer

TOLERANCE = 0.05
_CAMERA_HEIGHT = 0.66


def model_xml() -> str:
    """The MJCF of dm_control's reacher, with room for a goal and an occluder."""
    plate = f"<worldbody>{occluder_xml(height=0.1)}</worldbody>"
    parts = f'<include file="reacher.xml"/><size nuserdata="2"/>{plate}'
    return f'<mujoco model="reacher-goal">{parts}</mujoco>'


class ReacherGoal(GoalTask):
    """Bring both joints within 0.05 rad of given angles."""

    achieved_names = ("shoulder", "wrist")
    success_text = f"every joint is within {TOLERANCE} rad of the goal"

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        model.geom("target").rgba[3] = 0.0
        model.cam_pos[0, 2] = _CAMERA_HEIGHT
        self._low, self._high = joint_bounds(model)

    def observe(self, xp: Any, data: Any) -> Any:
        """Cosines and sines of the joint angles, and their velocities."""
        return xp.concatenate([xp.cos(data.qpos), xp.sin(data.qpos), data.qvel], axis=-1)

    def achieved(self, xp: Any, data: Any) -> Any:
        """Joint angles, radians; the shoulder's may count several turns."""
        return data.qpos

    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        """Whether every joint is close enough, by the shorter way around."""
        return xp.max(xp.abs(angle_difference(xp, achieved, goal)), axis=-1) <= TOLERANCE

    def turned(self, xp: Any, obs: Any, action: Any, angle: Any) -> tuple[Any, Any]:
        """The shoulder turned; torques are the same, and so is a picture but for its floor."""
        cos, sin = xp.cos(angle), xp.sin(angle)
        x, y = obs[..., 0], obs[..., 2]
        turned = [cos * x - sin * y, obs[..., 1], sin * x + cos * y, obs[..., 3]]
        return xp.concatenate([xp.stack(turned, axis=-1), obs[..., 4:]], axis=-1), action

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """Some joint has at least a quarter of a radian to go."""
        del rng
        return bool(np.abs(angle_difference(np, start, goal)).max() > 5 * TOLERANCE)

    def free_start(self, rng: np.random.Generator) -> Start:
        """A random pose at rest."""
        return Start(rng.uniform(self._low, self._high), np.zeros(2))

    def scripted(
        self,
        rng: np.random.Generator,
        qpos: np.ndarray,
        qvel: np.ndarray,
        goal: np.ndarray | None,
        memory: Any,
    ) -> tuple[np.ndarray, Any]:
        """To a pose by a noisy spring in both joints; memory is that pose."""
        pose = goal if goal is not None else memory
        if pose is None or (goal is None and np.abs(_to_go(pose, qpos)).max() < 4 * TOLERANCE):
            pose = self.free_start(rng).qpos
        noise = 0.05 if goal is not None else 0.5
        return steer(rng, _to_go(pose, qpos), qvel, 1.0, 0.15, noise), pose


def _to_go(pose: np.ndarray, qpos: np.ndarray) -> np.ndarray:
    """Angles to turn: the shoulder's by the shorter way, the wrist's within its limits."""
    return np.array([angle_difference(np, pose[0], qpos[0]), pose[1] - qpos[1]])
