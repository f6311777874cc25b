"""Many simulators of one task on a thread pool, as a Gymnasium vector environment.

All physics is in one `mujoco.batch.Batch`; observations and rewards are array functions over its
bound fields, so no Python runs per simulator except to draw the first state of an episode.
"""

import os
from collections.abc import Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.spec import EnvError, EnvSpec, UnknownTaskError
from envs.streams import make_streams, pack_streams, unpack_streams
from envs.tasks import TASKS, load_model

_MAX_REDRAWS = 1000
_NO_STAGE, _POSITION_STAGE, _VELOCITY_STAGE = 0, 1, 2  # values of mujoco.mjtStage


def native_spec(env_id: str, action_repeat: int = 2) -> EnvSpec:
    """The spec of a native task; loads no simulator.

    Raises:
        UnknownTaskError: no native task has this id.
        EnvError: `action_repeat` is not positive.
    """
    if env_id not in TASKS:
        import difflib

        near = difflib.get_close_matches(env_id, TASKS, n=1, cutoff=0.0)
        raise UnknownTaskError(f"no native task {env_id!r}; the nearest is {near[0]!r}")
    if action_repeat < 1:
        raise EnvError(f"action_repeat must be at least 1, got {action_repeat}")
    task = TASKS[env_id]
    return EnvSpec(
        env_id=env_id,
        obs_dim=task.obs_dim,
        action_dim=task.action_dim,
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
) -> "NativeVectorEnv":
    """Simulators of a native task; `num_threads=0` takes the cores this process may use."""
    return NativeVectorEnv(native_spec(env_id, action_repeat), num_envs, num_threads, seed)


class NativeVectorEnv(VectorEnv):
    """`num_envs` simulators of a native task.

    An episode that ends is reset by the next `step` (NEXT_STEP), which ignores that simulator's
    action. `info["invalid"]` marks episodes that MuJoCo's warnings or errors ended: they are
    truncated, with reward 0 and the last valid observation. `info["is_reset"]` marks simulators
    that the step reset.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": ["rgb_array"]}

    def __init__(
        self, spec: EnvSpec, num_envs: int, num_threads: int = 0, seed: int | None = None
    ) -> None:
        from mujoco.batch import Batch

        if num_envs < 1:
            raise EnvError(f"num_envs must be at least 1, got {num_envs}")
        self.env_spec = spec
        self.num_envs = num_envs
        self.single_action_space = spaces.Box(-1, 1, (spec.action_dim,), np.float32)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (spec.obs_dim,), np.float64)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._substeps = TASKS[spec.env_id].substeps
        model = load_model(TASKS[spec.env_id].domain)
        self._task = TASKS[spec.env_id].make(model)
        threads = min(num_threads or _cores(), num_envs)
        # persistent: a frame goes on from the derived fields that the one before computed
        self._batch = Batch(model, num_envs, threads, persistent=True)
        names = ("qpos", "qvel", "ctrl", *self._task.fields)
        self._data = SimpleNamespace(**{name: self._batch.bind(name) for name in names})
        self._ncon = self._batch.bind("ncon") if self._task.collision_free else None
        self._model_fields = {n: self._batch.expand(n) for n in self._task.model_fields}
        low, high = model.actuator_ctrlrange.T
        self._control_center, self._control_scale = (low + high) / 2, (high - low) / 2
        self._streams = make_streams(seed, num_envs)
        self._frames = np.zeros(num_envs, np.int64)
        self._pending = np.zeros(num_envs, bool)
        self._obs: np.ndarray | None = None
        self._camera: Any = None

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode everywhere, or where `options["reset_mask"]` [E] says so.

        Without a seed the random streams go on. Returns obs [E, O] float64 and info.
        """
        if seed is not None:
            self._streams = make_streams(seed, self.num_envs)
        chosen = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)), bool)
        if chosen.shape != (self.num_envs,) or (self._obs is None and not chosen.all()):
            raise EnvError(
                f"reset_mask must have shape ({self.num_envs},) and the first reset be of all"
            )
        self._start_episodes(np.flatnonzero(chosen))
        self._obs = self._task.observe(np, self._data)
        return self._obs.copy(), _info(np.zeros(self.num_envs, bool), chosen)

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One decision: `action_repeat` frames, or fewer where the episode ends.

        Args:
            actions: [E, A] in [-1, 1]; clipped to it.

        Returns:
            obs [E, O] float64, reward [E] float64 (summed over the frames), terminated [E],
            truncated [E], info.

        Raises:
            EnvError: actions of a wrong shape or not finite, or no `reset` before.
        """
        if self._obs is None:
            raise EnvError("step() before reset(); call reset() first")
        control = self._controls(actions)
        resetting, self._pending = self._pending, np.zeros(self.num_envs, bool)
        if resetting.any():
            self._start_episodes(np.flatnonzero(resetting))
        with np.errstate(invalid="ignore", over="ignore"):
            reward, terminated, truncated, invalid = self._run(control, ~resetting)
            obs = self._task.observe(np, self._data)
        if invalid.any():
            obs[invalid] = self._obs[invalid]
            reward[invalid] = 0.0
        self._obs = obs
        self._pending = terminated | truncated
        return obs.copy(), reward, terminated, truncated, _info(invalid, resetting)

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
            failed = self._frame(None if everywhere else np.flatnonzero(active))
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

    def _frame(self, ids: np.ndarray | None) -> np.ndarray:
        """Advance simulators by one frame; which ones MuJoCo warned or failed about, [E]."""
        from mujoco.batch import SimulationError

        try:
            self._batch.step(ids, self._substeps, _VELOCITY_STAGE)
        except SimulationError as error:
            failed = self._warned()
            failed[error.ids] = True
            return failed
        return self._warned()

    def _warned(self) -> np.ndarray:
        """Which simulators have raised a warning since their reset, [E]."""
        return self._batch.warning[:, :, 1].any(axis=1)

    def _controls(self, actions: Any) -> np.ndarray:
        """Checked and clipped actions in the simulator's units, [E, A] float64."""
        expected = (self.num_envs, self.env_spec.action_dim)
        array = np.asarray(actions, np.float64)
        if array.shape != expected:
            raise EnvError(f"actions have shape {array.shape}; expected {expected}")
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array).all(axis=1)).tolist()
            raise EnvError(f"actions of simulators {bad} are not finite; expected [-1, 1]")
        return self._control_center + self._control_scale * np.clip(array, -1, 1)

    def _start_episodes(self, ids: np.ndarray) -> None:
        """Draw first states for some simulators; the others are not touched."""
        self._batch.reset(ids, stage=_NO_STAGE)
        redraw = ids
        for _ in range(_MAX_REDRAWS):
            for index in redraw:
                self._draw_start(index)
            if self._ncon is None:
                break
            self._batch.forward(redraw, stage=_POSITION_STAGE)
            redraw = redraw[self._ncon[redraw] > 0]
            if not redraw.size:
                break
        else:
            raise EnvError(f"no start free of collisions in {_MAX_REDRAWS} draws")
        if self._task.settle_steps:
            self._batch.step(ids, self._task.settle_steps)
            self._batch.bind("time")[ids] = 0.0
        self._batch.forward(ids)
        self._frames[ids] = 0
        self._pending[ids] = False

    def _draw_start(self, index: int) -> None:
        """Draw the first state of one simulator from its own stream."""
        start = self._task.start(self._streams[index])
        self._data.qpos[index] = start.qpos
        self._data.qvel[index] = start.qvel
        for name, value in start.changes.items():
            self._model_fields[name][index] = value

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future, as arrays: `set_state` goes on bit for bit.

        Raises:
            EnvError: no `reset` before.
        """
        if self._obs is None:
            raise EnvError("get_state() before reset(); call reset() first")
        state = {
            "physics": self._batch.state,
            "streams": pack_streams(self._streams),
            "frames": self._frames,
            "pending": self._pending,
            "obs": self._obs,
        }
        state |= {f"model/{name}": value for name, value in self._model_fields.items()}
        return {name: np.array(value) for name, value in state.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go back to what `get_state` gave, on as many simulators of the same task.

        Raises:
            EnvError: an array is missing or has another shape or type.
        """
        self._obs = np.zeros((self.num_envs, self.env_spec.obs_dim))
        state = {name: np.asarray(value) for name, value in state.items()}
        for name, mine in self.get_state().items():
            given = state.get(name)
            if given is None or given.shape != mine.shape or given.dtype != mine.dtype:
                found = "nothing" if given is None else f"{given.dtype}{list(given.shape)}"
                raise EnvError(
                    f"simulator state {name!r} is {found}; expected {mine.dtype}{list(mine.shape)}"
                )
        self._batch.reset(stage=_NO_STAGE)  # also clears the warning counters
        self._batch.state[:] = state["physics"]
        for name, values in self._model_fields.items():
            values[:] = state[f"model/{name}"]
        self._streams = unpack_streams(state["streams"])
        self._frames, self._pending = state["frames"].copy(), state["pending"].copy()
        self._obs = state["obs"].copy()

    def render(self, index: int = 0, height: int = 240, width: int = 320) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Picture of one simulator from camera 0, uint8 [H, W, 3].

        Raises:
            EnvError: no such simulator, too large a picture, or OpenGL does not work here.
        """
        import mujoco

        from envs.render import Camera

        if not 0 <= index < self.num_envs:
            raise EnvError(f"no simulator {index}; expected 0 to {self.num_envs - 1}")
        if self._camera is not None and self._camera.shape != (height, width):
            self._camera.close()
            self._camera = None
        if self._camera is None:
            self._camera = Camera(self._task.model, height, width)
        model, data = self._batch.get_model(index), self._batch.get_data(index)
        mujoco.mj_forward(model, data)
        return self._camera.picture(model, data)

    def close_extras(self, **kwargs: Any) -> None:
        """Give OpenGL back, if a picture was taken."""
        del kwargs
        if self._camera is not None:
            self._camera.close()
            self._camera = None


def _info(invalid: np.ndarray, is_reset: np.ndarray) -> dict[str, Any]:
    """The info of a step or reset."""
    return {"invalid": invalid, "is_reset": is_reset}


def _cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
