"""Tasks with goals: reach a configuration, told by an observation of it and not by a reward.

A goal is a whole configuration, `qpos` [nq], drawn with the start of an episode and kept in the
simulator's `userdata`, so that it is saved, restored and moved with the state. No observation and
no picture contains it, so that an agent learns of it only by what `goal_view` of the environment
shows. What counts is `achieved`, a few physical quantities of a configuration.
"""

from abc import abstractmethod
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from envs.tasks.base import Start, Task

_MAX_PAIRS = 1000
_ELSEWHERE = 8  # places drawn, of which the farthest is taken


class GoalTask(Task):
    """A task whose episodes have a goal; the reward of a frame is whether it is achieved.

    The model must have `nuserdata` = nq. Subclasses say what is achieved, when that is success,
    and where starts and goals lie; `scripted` is a behaviour to collect data with.
    """

    fields = ("userdata",)
    achieved_names: ClassVar[tuple[str, ...]] = ()
    """Names of the G entries of `achieved`."""
    success_text: ClassVar[str] = ""
    """When a goal counts as achieved, in one sentence."""
    open_parts: ClassVar[tuple[str, ...]] = ()
    """Parts of an observation that a goal shows but leaves open: they do not count."""

    @abstractmethod
    def achieved(self, xp: Any, data: Any) -> Any:
        """The quantities that define a goal, [..., G], from `data.qpos` alone."""

    @abstractmethod
    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        """Whether `achieved` [..., G] satisfies `goal` [..., G]: bool [...]."""

    @abstractmethod
    def free_start(self, rng: np.random.Generator) -> Start:
        """Draw a first state, without a goal."""

    def turned(self, xp: Any, obs: Any, action: Any, angle: Any) -> tuple[Any, Any] | None:
        """The same moment in a world turned by `angle` [...], where that is nearly as good a world.

        Observations [..., O] and actions [..., A], before and after; None: it would differ. The
        camera looks from straight above, so that its picture is turned about its middle.
        """
        del xp, obs, action, angle
        return None

    @abstractmethod
    def scripted(
        self,
        rng: np.random.Generator,
        qpos: np.ndarray,
        qvel: np.ndarray,
        goal: np.ndarray | None,
        memory: Any,
    ) -> tuple[np.ndarray, Any]:
        """One decision of a behaviour for data, of one simulator.

        Args:
            rng: what it draws from.
            qpos: configuration [nq].
            qvel: velocities [nv].
            goal: configuration [nq] to go to, or None: it chooses its own targets, one after
                another, and so covers the world.
            memory: what the call before gave; None at the first of an episode.

        Returns:
            An action [A] in [-1, 1], and the memory for the next call.
        """

    def redraw_open(self, rng: np.random.Generator, qpos: np.ndarray) -> np.ndarray:
        """The same goal [nq] with the parts that it leaves open as another might show them."""
        del rng
        return qpos

    def goal_start(self, rng: np.random.Generator) -> Start:
        """Draw a state, at rest, that satisfies a goal, its own `achieved`; as starts are drawn."""
        return self.free_start(rng)

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """Whether a start and a goal, both [G], make a task; overrides ask for more."""
        del rng
        return not bool(self.success(np, start, goal))

    def elsewhere(self, rng: np.random.Generator, qpos: np.ndarray) -> np.ndarray:
        """A configuration [nq] far from `qpos`, to teleport to."""
        places = np.array([self.free_start(rng).qpos for _ in range(_ELSEWHERE)])
        return places[np.argmax(((places - qpos) ** 2).sum(axis=1))]

    def goal(self, xp: Any, data: Any) -> Any:
        """The goal of the episode, [..., G]."""
        return self.achieved(xp, SimpleNamespace(qpos=data.userdata))

    def reward(self, xp: Any, data: Any) -> Any:
        """1 where the episode's goal is achieved, else 0."""
        done = self.success(xp, self.achieved(xp, data), self.goal(xp, data))
        return xp.where(done, 1.0, 0.0)

    def start(self, rng: np.random.Generator) -> Start:
        """A first state and a goal that it does not satisfy."""
        for _ in range(_MAX_PAIRS):
            start, goal = self.free_start(rng), self.goal_start(rng)
            here, there = (
                self.achieved(np, SimpleNamespace(qpos=end.qpos)) for end in (start, goal)
            )
            if self.far_enough(here, there, rng):
                return replace(start, goal=goal.qpos)
        raise RuntimeError(f"no start away from its goal in {_MAX_PAIRS} draws")  # a task's mistake


def angle_difference(xp: Any, left: Any, right: Any) -> Any:
    """`left - right` of angles in radians, wrapped to [-pi, pi)."""
    return (left - right + np.pi) % (2 * np.pi) - np.pi
