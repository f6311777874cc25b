"""Goals of the episodes of a vector environment: what a step reports of them, how they look."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.native.shift import Shift
from envs.native.simulators import Simulators
from envs.spec import EnvError
from envs.tasks import GoalTask, Task


class GoalView(NamedTuple):
    """What an agent is told of K goals.

    Attributes:
        obs: [K, O] observations of the goal configurations at rest.
        achieved: [K, G] the quantities that count.
        pictures: uint8 [K, H, W, 3] from camera 0, or None when not asked for.
    """

    obs: np.ndarray
    achieved: np.ndarray
    pictures: np.ndarray | None


def goal_info(task: Task, data: Any) -> dict[str, np.ndarray]:
    """`achieved` and `goal` [E, G] and `success` [E] bool; nothing for tasks without goals."""
    if not isinstance(task, GoalTask):
        return {}
    achieved, goal = np.array(task.achieved(np, data)), np.array(task.goal(np, data))
    return {"achieved": achieved, "goal": goal, "success": task.success(np, achieved, goal)}


def checked_poses(task: Task, name: str, poses: Any, count: int | None = None) -> np.ndarray:
    """Configurations [K, nq] float64. Raises EnvError for another shape or no goal task."""
    if not isinstance(task, GoalTask):
        raise EnvError(f"{type(task).__name__} has no goals; expected a task with goals")
    poses = np.asarray(poses, np.float64)
    rows, nq = "K" if count is None else count, task.model.nq
    wrong_rows = poses.ndim != 2 or (count is not None and poses.shape[0] != count)
    if wrong_rows or poses.shape[1] != nq or not np.isfinite(poses).all():
        raise EnvError(f"{name} has shape {poses.shape}; expected finite numbers [{rows}, {nq}]")
    return poses


class GoalViewer:
    """Simulators of its own in which goals are looked at, so that no episode is disturbed.

    They have the physics, camera and colours of the episodes' simulators.
    """

    def __init__(self, task: type[Task], shifts: Sequence[Shift]) -> None:
        self._task, self._shifts = task, shifts
        self._simulators: Simulators | None = None

    def view(self, poses: np.ndarray, picture: tuple[int, int] | None) -> GoalView:
        """The view of goal configurations [K, nq]; `picture` is (height, width) or None."""
        simulators, pictures = self._for(len(poses)), None
        simulators.place(poses, 0.0, poses)
        if picture is not None:
            pictures = np.stack([simulators.picture(i, *picture) for i in range(len(poses))])
        task, data = simulators.task, simulators.data
        return GoalView(task.flat_obs(np, data), goal_info(task, data)["achieved"], pictures)

    def _for(self, count: int) -> Simulators:
        """Simulators for so many goals, shifted as those of the episodes or as they all are."""
        if self._simulators is None or self._simulators.count != count:
            shifts = self._shifts
            if count != len(shifts) and len(set(shifts)) > 1:
                raise EnvError(
                    f"{count} goals for {len(shifts)} simulators with different shifts; "
                    "expected one each"
                )
            self.close()
            self._simulators = Simulators(self._task, count)
            self._simulators.shift(shifts if count == len(shifts) else [shifts[0]] * count)
        return self._simulators

    def close(self) -> None:
        """Give OpenGL back, if a picture was taken."""
        if self._simulators is not None:
            self._simulators.close()
