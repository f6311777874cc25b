"""Recorded physics brought back: pictures as datasets have them, and what would have followed.

Whoever shows a model what it learned from (evaluation, goals, edited worlds) draws with this.
Shadows, reflections, sky and multi-sampling cost nearly all of software rendering; without them a
picture takes about a millisecond. Edges are smoothed by drawing at twice the size.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.native.render import Camera
from envs.spec import EnvError, EnvSpec
from envs.tasks import GoalTask, task_class
from envs.tasks.engine import engine, quiet_mujoco

Change = Callable[[Any], object]
"""(model): change what the world is or how it looks."""
Edit = Callable[[Any], object]
"""(data): change the state at the moment of the event."""
_FINER = 2


class RecordedSimulator:
    """One simulator of a native task that goes to recorded moments.

    A moment is a row of `physics` in a dataset, as `Simulators.get_moments` packs them: MuJoCo's
    integration state, then the model fields that episodes change.
    """

    def __init__(self, env_id: str, change: Change | None = None):
        """`change` is made once, for good. Raises UnknownTaskError for no native task."""
        mujoco = engine()
        self.task = task_class(env_id)()
        self.model = self.task.model
        if change is not None:
            change(self.model)
        self.data = mujoco.MjData(self.model)
        self._kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
        self._size = mujoco.mj_stateSize(self.model, self._kind)
        self._fields = [getattr(self.model, name) for name in self.task.model_fields]

    def put(self, moment: np.ndarray) -> None:
        """Go to a moment [K]. Raises EnvError for one of another task."""
        mujoco = engine()
        expected = self._size + sum(field.size for field in self._fields)
        if moment.shape != (expected,):
            raise EnvError(
                f"a row of physics has shape {moment.shape}, expected {(expected,)}: of another "
                "task?"
            )
        mujoco.mj_setState(self.model, self.data, moment[: self._size], self._kind)
        rest = moment[self._size :]
        for field in self._fields:
            field[:] = rest[: field.size].reshape(field.shape)
            rest = rest[field.size :]
        mujoco.mj_forward(self.model, self.data)

    def moment(self) -> np.ndarray:
        """The moment [K] that is now."""
        physics = np.empty(self._size)
        engine().mj_getState(self.model, self.data, physics, self._kind)
        return np.concatenate([physics, *map(np.ravel, self._fields)])

    def observe(self) -> np.ndarray:
        """The observation now, float32 [O]."""
        return np.asarray(self.task.flat_obs(np, self.data), np.float32)


class OffscreenRenderer(RecordedSimulator):
    """Pictures of a native task from rows of physics, uint8 [size, size, 3]."""

    def __init__(self, env_id: str, size: int, edit: Change | None = None):
        """`edit(model)` may change what it looks like or weighs, before anything is made of it.

        Raises EnvError when OpenGL does not work here, UnknownTaskError for no native task.
        """
        super().__init__(env_id, edit)
        self._side = size
        _plain_looks(self.model, size)
        self._camera = Camera(self.model, size * _FINER, size * _FINER, plain=True)

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
        size, n = self._side, _FINER
        return (fine.reshape(size, n, size, n, 3).sum((1, 3)) // n**2).astype(np.uint8)

    def pictures(self, moments: np.ndarray) -> np.ndarray:
        """The views at rows of physics [..., K], uint8 [..., size, size, 3]."""
        flat = moments.reshape(-1, moments.shape[-1])
        drawn = np.stack([self.picture(moment) for moment in flat])
        return drawn.reshape(*moments.shape[:-1], *drawn.shape[1:])

    def close(self) -> None:
        """Give OpenGL back."""
        self._camera.close()


def _plain_looks(model: Any, size: int) -> None:
    """Turn off, in a model, what makes pictures slow."""
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = model.vis.global_.offheight = size * _FINER


class EditedSimulator(RecordedSimulator):
    """One simulator of a native task. Controls and edited runs go through the same steps."""

    def __init__(self, spec: EnvSpec, change: Change | None = None):
        """Raises EnvError for a spec that is of no native task."""
        super().__init__(spec.env_id, change)
        self.spec, actions = spec, self.model.nu
        if spec.action_dim != actions:
            raise EnvError(f"{spec.env_id} has {actions} actions, not {spec.action_dim}")
        if change is not None:
            engine().mj_setConst(self.model, self.data)  # some inertias are computed beforehand
        self._frames = spec.action_repeat * self.task.substeps

    def run(
        self, moment: np.ndarray, actions: np.ndarray, edit: Edit | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Moments [T + 1, K] and observations [T + 1, O] under actions [T, A] from a moment."""
        mujoco = engine()
        self.put(moment)
        if edit is not None:
            edit(self.data)
            mujoco.mj_forward(self.model, self.data)
        moments, obs = [self.moment()], [self.observe()]
        with quiet_mujoco():
            for action in actions:
                self.data.ctrl[:] = self.task.control(np.clip(action, -1, 1))
                mujoco.mj_step(self.model, self.data, self._frames)
                mujoco.mj_forward(self.model, self.data)
                moments.append(self.moment())
                obs.append(self.observe())
        return np.stack(moments), np.stack(obs)


class ObservationSource:
    """What a model sees of moments: observations, or pictures as datasets have them."""

    def __init__(self, spec: EnvSpec, size: int, edit: Change | None = None):
        """`size` 0: observations. Raises EnvError when OpenGL does not work."""
        self._renderer = OffscreenRenderer(spec.env_id, size, edit) if size else None

    def of(self, moments: np.ndarray, obs: np.ndarray) -> np.ndarray:
        """Frames of moments [..., K] whose observations [..., O] are known."""
        return obs if self._renderer is None else self._renderer.pictures(moments)

    def close(self) -> None:
        """Give OpenGL back."""
        if self._renderer is not None:
            self._renderer.close()


def heavier(factor: float) -> Change:
    """Multiplies the mass and inertia of all moving bodies."""

    def change(model: Any) -> None:
        bodies = np.flatnonzero(model.body_weldid)  # those not welded to the world
        model.body_mass[bodies] *= factor
        model.body_inertia[bodies] *= factor

    return change


def sideways(model: Any) -> None:
    """Gravity pulls along x, as strongly as it pulled before (on earth where there was none)."""
    strength = float(np.linalg.norm(model.opt.gravity)) or 9.81
    model.opt.gravity[:] = (strength, 0.0, 0.0)


def object_geoms(model: Any) -> np.ndarray:
    """Geoms of the last body with joints of its own: a pushed block, the end of an arm, a point."""
    last = int(np.flatnonzero(model.body_jntnum)[-1])
    below = {last}
    for body in range(last + 1, model.nbody):
        if int(model.body_parentid[body]) in below:
            below.add(body)
    return np.flatnonzero(np.isin(model.geom_bodyid, list(below)))


def hide(model: Any) -> None:
    """Make the object invisible (its geoms have colours of their own from then on)."""
    for geom in object_geoms(model):
        model.geom_matid[geom] = -1
        model.geom_rgba[geom, 3] = 0.0


def recolour(shift: float) -> Change:
    """Turns the object's colour by `shift` of the way from red to green to blue to red."""

    def change(model: Any) -> None:
        for geom in object_geoms(model):
            material = model.geom_matid[geom]
            rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
            colour = np.array(rgba)
            colour[:3] = (1 - shift) * colour[:3] + shift * np.roll(colour[:3], 1)
            model.geom_matid[geom] = -1
            model.geom_rgba[geom] = colour

    return change
