"""Many simulators of one task on a thread pool, as a Gymnasium vector environment.

All physics is in one `mujoco.batch.Batch`; observations and rewards are array functions over its
bound fields, so no Python runs per simulator except to draw the first state of an episode.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from envs.native.goals import GoalView, GoalViewer, checked_poses, goal_info
from envs.native.shift import Shift
from envs.native.simulators import Simulators
from envs.spec import EnvSpec
from envs.tasks import TASKS, task_class
from envs.tasks.trial import tried
from envs.vector import Arrays, Begun, Options, Seed, SimulatorVectorEnv, Stepped, checked_state


@cache
def native_spec(env_id: str, action_repeat: int = 2) -> EnvSpec:
    """The spec of a native task; compiles its model.

    Raises:
        UnknownTaskError: no native task has this id.
        EnvError: `action_repeat` is not positive.
    """
    found = task_class(env_id)
    task = found() if env_id in TASKS else tried(env_id, found)
    return EnvSpec(
        env_id=env_id,
        obs_dim=sum(size for _, size in task.obs_names),
        action_dim=task.model.nu,
        obs_names=task.obs_names,
        control_dt=task.control_dt,
        action_repeat=action_repeat,
        episode_frames=task.episode_frames,
        episodic=task.episodic,
        backend="native",
        versions=tuple((name, version(name)) for name in ("mujoco", "dm-control")),
    )


def make_native(
    env_id: str,
    num_envs: int,
    action_repeat: int = 2,
    num_threads: int = 0,
    seed: int | None = None,
    shifts: Sequence[Shift] = (),
) -> "NativeVectorEnv":
    """Simulators of a native task; `num_threads=0` takes as many as pay."""
    return NativeVectorEnv(native_spec(env_id, action_repeat), num_envs, num_threads, seed, shifts)


class NativeVectorEnv(SimulatorVectorEnv):
    """`num_envs` simulators of a native task; `simulators` is the physics behind it.

    Tasks with goals also give `info["achieved"]` and `info["goal"]` [E, G] and `info["success"]`
    [E]; `goal_view` shows the goals, `begin` starts episodes at chosen places.
    """

    def __init__(
        self,
        spec: EnvSpec,
        num_envs: int,
        num_threads: int = 0,
        seed: int | None = None,
        shifts: Sequence[Shift] = (),
    ) -> None:
        super().__init__(spec, num_envs)
        shifts, kind = shifts or [Shift()] * num_envs, task_class(spec.env_id)
        self.simulators = Simulators(kind, num_envs, num_threads)
        self.simulators.shift(shifts)
        self.simulators.reseed(seed)
        self._task, self._data = self.simulators.task, self.simulators.data
        self._viewer = GoalViewer(kind, shifts)

    def reset(self, *, seed: Seed = None, options: Options = None) -> Begun:
        """Start new episodes; without a seed the random streams go on."""
        chosen = self._chosen(options)
        if seed is not None:
            self.simulators.reseed(seed, chosen)
        self._start(np.flatnonzero(chosen))
        return self._begun(chosen)

    def _begun(self, chosen: np.ndarray) -> Begun:
        self._obs = obs = self._task.flat_obs(np, self._data)
        return obs.copy(), self._info(np.zeros(self.num_envs, bool), chosen)

    def step(self, actions: Any) -> Stepped:
        """One decision with actions [E, A] in [-1, 1]; clipped to it."""
        last = self._last_obs("step")
        control = self._task.control(self.check_actions(actions))
        resetting, self._pending = self._pending, np.zeros(self.num_envs, bool)
        if resetting.any():
            self._start(np.flatnonzero(resetting))
        with np.errstate(invalid="ignore", over="ignore"):
            reward, terminated, truncated, invalid = self._run(control, ~resetting)
            obs = self._task.flat_obs(np, self._data)
        if invalid.any():
            obs[invalid] = last[invalid]
            reward[invalid] = 0.0
        self._obs = obs
        self._pending = terminated | truncated
        return obs.copy(), reward, terminated, truncated, self._info(invalid, resetting)

    def _info(self, invalid: np.ndarray, is_reset: np.ndarray) -> dict[str, Any]:
        return super()._info(invalid, is_reset) | goal_info(self._task, self._data)

    def begin(self, qpos: np.ndarray, goal: np.ndarray, qvel: np.ndarray | None = None) -> Begun:
        """Start an episode everywhere at configurations [E, nq] with goals [E, nq].

        At rest without velocities [E, nv]. Raises EnvError for a wrong shape or a task without
        goals.
        """
        qpos = checked_poses(self._task, "qpos", qpos, self.num_envs)
        goal = checked_poses(self._task, "goal", goal, self.num_envs)
        self.simulators.place(qpos, 0.0 if qvel is None else qvel, goal)
        self._frames[:], self._pending[:] = 0, False
        return self._begun(np.ones(self.num_envs, bool))

    def goal_view(
        self, goal: np.ndarray | None = None, picture: tuple[int, int] | None = None
    ) -> GoalView:
        """Observations, and pictures (height, width), of goal configurations [K, nq].

        Without `goal`, those of the current episodes, K = E. No episode is disturbed. Raises
        EnvError for a wrong shape, a task without goals, or where OpenGL does not work.
        """
        if goal is None:
            self._last_obs("goal_view")
            goal = self._data.userdata
        return self._viewer.view(checked_poses(self._task, "goal", goal), picture)

    def _start(self, ids: np.ndarray) -> None:
        """Begin new episodes on some simulators."""
        self.simulators.start(ids)
        self._frames[ids] = 0
        self._pending[ids] = False

    def _run(
        self, control: np.ndarray, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Frames of one decision on the `active` simulators: reward and the three endings."""
        reward = np.zeros(self.num_envs)
        terminated, truncated, invalid = np.zeros((3, self.num_envs), bool)
        everywhere = active.all()
        np.copyto(self._data.ctrl, control, where=active[:, None])
        for _ in range(self.env_spec.action_repeat):
            if not active.any():
                break
            failed = self.simulators.frame(None if everywhere else np.flatnonzero(active))
            self._frames += active
            gained = self._task.reward(np, self._data)
            reward += gained if everywhere else np.where(active, gained, 0.0)
            invalid |= active & failed
            if self.env_spec.episodic:
                terminated |= active & ~failed & self._task.terminated(np, self._data)
            truncated |= active & (failed | (self._frames >= self.env_spec.episode_frames))
            active = active & ~(terminated | truncated)
            everywhere = everywhere and active.all()
        return reward, terminated, truncated & ~terminated, invalid

    def get_state(self) -> Arrays:
        """Everything that decides the future."""
        return self.simulators.get_state() | self._bookkeeping()

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave."""
        if self._obs is None:
            self.reset()
        state = checked_state(state, self.get_state())
        self.simulators.set_state(state)
        self._set_bookkeeping(state)

    def imagine(self, moments: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """One decision from any moments [E, K] of `simulators.get_moments`, at no one's expense.

        What this environment was doing before is lost. Returns the moments after [E, K],
        obs [E, O], reward [E] (NaN where the simulation failed) and terminated [E].
        """
        control = self._task.control(self.check_actions(actions))
        self.simulators.set_moments(moments)
        self._frames[:] = -self.env_spec.action_repeat  # no time limit falls into this decision
        with np.errstate(invalid="ignore", over="ignore"):
            reward, terminated, _, invalid = self._run(control, np.ones(self.num_envs, bool))
            obs = self._task.flat_obs(np, self._data)
        reward[invalid] = np.nan
        return self.simulators.get_moments(), obs, reward, terminated

    def _picture(self, index: int, height: int, width: int) -> np.ndarray:
        return self.simulators.picture(index, height, width)

    def close_extras(self, **kwargs: Any) -> None:
        """Give OpenGL back, if a picture was taken."""
        self._viewer.close()
        self.simulators.close()
