"""Pictures of recorded physics, as datasets have them: fast, small, always the same.

Whoever shows a model what it learned from (evaluation, goals, edited worlds) draws with this.
Shadows, reflections, sky and multi-sampling cost nearly all of software rendering; without them a
picture takes about a millisecond. Edges are smoothed by drawing at twice the size.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.native.render import Camera
from envs.spec import EnvError, UnknownTaskError
from envs.tasks import TASKS, GoalTask, TaskDef
from envs.tasks.engine import engine

_FINER = 2


def native_task(env_id: str) -> TaskDef:
    """A native task. Raises UnknownTaskError for other ids."""
    if env_id not in TASKS:
        raise UnknownTaskError(f"{env_id} has no native simulator, expected one of {[*TASKS]}")
    return TASKS[env_id]


def put(model: Any, data: Any, task: Any, moment: np.ndarray) -> None:
    """Go to a row of `Simulators.get_moments`. Raises EnvError for one of another task."""
    mujoco = engine()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
    size, fields = mujoco.mj_stateSize(model, kind), [getattr(model, n) for n in task.model_fields]
    expected = size + sum(field.size for field in fields)
    if moment.shape != (expected,):
        raise EnvError(
            f"a row of physics has shape {moment.shape}, expected {(expected,)}: of another task?"
        )
    mujoco.mj_setState(model, data, moment[:size], kind)
    rest = moment[size:]
    for field in fields:
        field[:] = rest[: field.size].reshape(field.shape)
        rest = rest[field.size :]
    mujoco.mj_forward(model, data)


class Film:
    """Pictures of a native task from rows of physics, uint8 [size, size, 3]."""

    def __init__(self, env_id: str, size: int, edit: Callable[[Any], object] | None = None):
        """`edit(model)` may change what it looks like or weighs, before anything is made of it.

        Raises EnvError when OpenGL does not work here, UnknownTaskError for no native task.
        """
        mujoco = engine()
        definition = native_task(env_id)
        self.model = definition.load()
        self.task = definition.make(self.model)
        plain_looks(self.model, size)
        if edit is not None:
            edit(self.model)
        self.data = mujoco.MjData(self.model)
        self._size = size
        self._camera = _FastCamera(self.model, size * _FINER, size * _FINER)

    def put(self, moment: np.ndarray) -> None:
        """Go to a row of `Simulators.get_moments`."""
        put(self.model, self.data, self.task, moment)

    def picture(self, moment: np.ndarray) -> np.ndarray:
        """The view at a row of physics."""
        self.put(moment)
        return self._look()

    def goal_picture(self, moment: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The view at a row of physics as a goal: at rest, what goals leave open drawn anew."""
        assert isinstance(self.task, GoalTask)
        self.put(moment)
        self.data.qpos[:] = self.task.redraw_open(rng, self.data.qpos.copy())
        self.data.qvel[:] = 0
        engine().mj_forward(self.model, self.data)
        return self._look()

    def _look(self) -> np.ndarray:
        fine = self._camera.picture(self.model, self.data).astype(np.uint16)
        size, n = self._size, _FINER
        return (fine.reshape(size, n, size, n, 3).sum((1, 3)) // n**2).astype(np.uint8)

    def pictures(self, moments: np.ndarray) -> np.ndarray:
        """The views at rows of physics [..., K], uint8 [..., size, size, 3]."""
        flat = moments.reshape(-1, moments.shape[-1])
        drawn = np.stack([self.picture(moment) for moment in flat])
        return drawn.reshape(*moments.shape[:-1], *drawn.shape[1:])

    def close(self) -> None:
        """Give OpenGL back."""
        self._camera.close()


class _FastCamera(Camera):
    """Without what a learner does not need to see."""

    def __init__(self, model: Any, height: int, width: int) -> None:
        super().__init__(model, height, width)
        flags = engine().mjtRndFlag
        for flag in (flags.mjRND_SHADOW, flags.mjRND_REFLECTION, flags.mjRND_SKYBOX):
            self._scene.flags[flag.value] = 0


def plain_looks(model: Any, size: int) -> None:
    """Turn off, in a model, what makes pictures slow."""
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = model.vis.global_.offheight = size * _FINER
