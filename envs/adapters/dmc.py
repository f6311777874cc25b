"""Any dm_control suite task behind the vector contract, one simulator after another.

For tasks that have no native batch, and (as `dmc/TASK`) to compare those that have one.
"""

import warnings
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from envs.adapters import mjstate
from envs.adapters.loop import Frame, scaled
from envs.native.render import Pictures
from envs.spec import EnvSpec
from envs.tasks.engine import quiet_mujoco, without_drawing
from envs.vector import Arrays, part_of

ENDLESS_FRAMES = 1000  # time limit given to tasks that have none


@cache
def suite() -> Any:
    """dm_control.suite, imported without OpenGL (pictures are taken by `envs.native.render`)."""
    with without_drawing(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dm_control import suite as module
    return module


def dmc_names() -> list[str]:
    """Every task of the suite as `domain-task`."""
    return [f"{domain}-{task}" for domain, task in suite().ALL_TASKS]


class DmcSimulator:
    """One dm_control environment."""

    notes: tuple[str, ...] = ()
    unsaved = ""

    @classmethod
    @cache
    def spec(cls, name: str, action_repeat: int) -> EnvSpec:
        """The spec of `domain-task`; builds one simulator. Raises EnvError for a bad repeat."""
        env = cls(name).env
        limit = env._step_limit
        parts = [(k, int(np.prod(v.shape))) for k, v in env.observation_spec().items()]
        return EnvSpec(
            env_id=name,
            obs_dim=sum(size for _, size in parts),
            action_dim=int(np.prod(env.action_spec().shape)),
            obs_names=tuple(parts),
            control_dt=float(env.control_timestep()),
            action_repeat=action_repeat,
            episode_frames=ENDLESS_FRAMES if np.isinf(limit) else int(np.ceil(limit - 1e-9)),
            episodic=name.startswith("lqr"),
            backend="dmc",
            versions=tuple((n, version(n)) for n in ("mujoco", "dm-control")),
        )

    def __init__(self, name: str) -> None:
        domain, _, task = name.rpartition("-")
        with warnings.catch_warnings(), quiet_mujoco():
            warnings.simplefilter("ignore")
            # some models (lqr) are drawn when they are built: the same draw for everybody
            self.env = suite().load(domain, task, task_kwargs={"random": 0})
        self.env.task._random = np.random.RandomState()
        # quadruped-escape would open OpenGL to show its terrain to a camera nobody uses
        self.env.physics._make_rendering_contexts = lambda: None
        self._action = self.env.action_spec()
        self._pristine = {k: v.copy() for k, v in mjstate.model_arrays(self._model).items()}
        self._pictures = Pictures()

    @property
    def _model(self) -> Any:
        return self.env.physics.model.ptr

    @property
    def _data(self) -> Any:
        return self.env.physics.data.ptr

    def reset(self, seed: int | None) -> np.ndarray:
        """Start an episode."""
        if seed is not None:
            self.env.task._random = np.random.RandomState(seed)
        if self._model.nhfield:  # a new terrain: the camera has the old one on the graphics card
            self.close()
        return _flat(self.env.reset().observation)

    def frame(self, action: np.ndarray) -> Frame:
        """One control step of dm_control; its PhysicsError makes the frame invalid."""
        from dm_control.rl.control import PhysicsError

        control = scaled(action, self._action.minimum, self._action.maximum)
        self.env._reset_next_step = False
        try:
            with np.errstate(all="ignore"):
                step = self.env.step(control)
        except PhysicsError:
            return Frame(np.empty(0), 0.0, False, True, True)
        terminated = bool(step.last() and step.discount == 0.0)
        obs = _flat(step.observation)
        return Frame(obs, float(step.reward or 0.0), terminated, step.last(), False)

    def get_state(self) -> Arrays:
        """Physics, model arrays that an episode changed, task numbers, random stream."""
        keys, position, has_gauss, gauss = self.env.task.random.get_state(legacy=True)[1:]
        state = mjstate.get_state(self._model, self._data)
        state["random"] = np.array([*keys, position, has_gauss], np.uint32)
        state["gauss"] = np.array(gauss)
        state["steps"] = np.array(self.env._step_count)
        state |= mjstate.changed(self._model, self._pristine)
        task = mjstate.plain_attributes(self.env.task)
        return state | {f"task/{name}": value for name, value in task.items()}

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave."""
        mjstate.set_changed(self._model, state, self._pristine)
        mjstate.set_plain_attributes(self.env.task, part_of(state, "task/"))
        words = state["random"]
        legacy = ("MT19937", words[:624], int(words[624]), int(words[625]), float(state["gauss"]))
        self.env.task.random.set_state(legacy)
        mjstate.set_state(self._model, self._data, state)
        self.env._step_count = int(state["steps"])

    def render(self, height: int, width: int) -> np.ndarray:
        """Camera 0."""
        return self._pictures.take(self._model, self._data, height, width)

    def close(self) -> None:
        """Give OpenGL back, if a picture was taken."""
        self._pictures.close()


def _flat(observation: Any) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float64)
