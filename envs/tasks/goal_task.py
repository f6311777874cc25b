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
from envs.tasks.helpers import indicator

_MAX_PAIRS = 1000


class GoalTask(Task):
    """A task whose episodes have a goal; the reward of a frame is whether it is achieved.

    The model must have `nuserdata` = nq. Subclasses say what is achieved, when that is success,
    and where starts and goals lie; `scripted` is a behaviour to collect data with.
    """

    achieved_names: ClassVar[tuple[str, ...]] = ()
    """Names of the G entries of `achieved`."""
    open_parts: ClassVar[tuple[str, ...]] = ()
    """Parts of an observation that a goal shows but leaves open: they do not count."""
    script_gains: ClassVar[tuple[float, float]] = (1.0, 0.0)
    """Spring and damping with which `scripted` pulls towards a place."""
    script_noise: ClassVar[tuple[float, float]] = (0.2, 0.6)
    """Its noise on the way to a goal, and to places of its own choice."""

    @abstractmethod
    def achieved(self, xp: Any, data: Any) -> Any:
        """The quantities that define a goal, [..., G], from `data.qpos` alone."""

    @abstractmethod
    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        """Whether `achieved` [..., G] satisfies `goal` [..., G]: bool [...]."""

    def free_start(self, rng: np.random.Generator) -> Start:
        """Draw a first state, without a goal."""
        return super().start(rng)

    def rotated(self, xp: Any, obs: Any, action: Any, angle: Any) -> tuple[Any, Any] | None:
        """Observations [..., O] and actions [..., A] of a world rotated by `angle` [...].

        None where such a world would not be nearly as good. The camera must look from straight
        above, so that its picture is rotated about its middle.
        """
        return None

    def scripted(
        self,
        rng: np.random.Generator,
        qpos: np.ndarray,
        qvel: np.ndarray,
        goal: np.ndarray | None,
        memory: Any,
    ) -> tuple[np.ndarray, Any]:
        """One decision of a behaviour for data, of one simulator: here, steering to a place.

        From a configuration [nq] and velocities [nv] it goes to a `goal` [nq]; or, with None, to
        places of its own choice, one after another, and so covers the world. `memory` is what the
        call before gave (here: the place), None at the first of an episode.

        Returns an action [A] in [-1, 1], and the memory for the next call.
        """
        place = goal if goal is not None else memory
        if place is None or (goal is None and self.arrived(qpos, place)):
            place = self.free_start(rng).qpos
        noise = self.script_noise[goal is None]
        return steer(rng, self.to_go(qpos, place), qvel, *self.script_gains, noise), place

    def to_go(self, qpos: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Where the script steers next on its way to a place [nq], as an offset [A]."""
        return place - qpos

    def arrived(self, qpos: np.ndarray, place: np.ndarray) -> bool:
        """Whether the script may choose another place [nq]."""
        return bool(self.success(np, self.achieved_at(qpos), self.achieved_at(place)))

    def redraw_open(self, rng: np.random.Generator, qpos: np.ndarray) -> np.ndarray:
        """The same goal [nq] with the parts that it leaves open as another might show them."""
        return qpos

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """Whether a start and a goal, both [G], make a task; overrides ask for more."""
        return not bool(self.success(np, start, goal))

    def achieved_at(self, qpos: np.ndarray) -> np.ndarray:
        """What configurations [..., nq] achieve, [..., G]."""
        return self.achieved(np, SimpleNamespace(qpos=qpos))

    def goal(self, xp: Any, data: Any) -> Any:
        """The goal of the episode, [..., G]."""
        return self.achieved(xp, SimpleNamespace(qpos=data.userdata))

    def reward(self, xp: Any, data: Any) -> Any:
        """1 where the episode's goal is achieved, else 0."""
        return indicator(xp, self.success(xp, self.achieved(xp, data), self.goal(xp, data)))

    def start(self, rng: np.random.Generator) -> Start:
        """A first state and a goal that it does not satisfy."""
        for _ in range(_MAX_PAIRS):
            start, goal = self.free_start(rng), self.free_start(rng)
            if self.far_enough(self.achieved_at(start.qpos), self.achieved_at(goal.qpos), rng):
                return replace(start, goal=goal.qpos)
        raise RuntimeError(f"no start away from its goal in {_MAX_PAIRS} draws")  # a task's mistake


def steer(
    rng: np.random.Generator,
    offset: np.ndarray,
    qvel: np.ndarray,
    gain: float,
    damping: float,
    noise: float,
) -> np.ndarray:
    """Action [A] towards a target at `offset`: a noisy, damped spring, in [-1, 1]."""
    pull = gain * offset - damping * qvel
    return np.clip(pull + noise * rng.standard_normal(pull.shape), -1.0, 1.0)
