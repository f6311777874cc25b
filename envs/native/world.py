"""A world for experiments: go to a recorded moment, change something, act, see what follows."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from envs.native.film import Film, native_task, put
from envs.spec import EnvError, EnvSpec
from envs.tasks.engine import engine, quiet_mujoco

Edit = Callable[[Any], object]
"""(data): change the state at the moment of the event."""
Change = Callable[[Any], object]
"""(model): change what the world is."""


class World:
    """One simulator of a native task. Controls and edited runs go through the same steps."""

    def __init__(self, spec: EnvSpec, change: Change | None = None):
        """Raises EnvError for a spec that is of no native task."""
        mujoco = engine()
        self.spec, definition = spec, native_task(spec.env_id)
        if spec.action_dim != definition.action_dim:
            raise EnvError(
                f"{spec.env_id} has {definition.action_dim} actions, not {spec.action_dim}"
            )
        self.model = definition.load()
        self.task = definition.make(self.model)
        self.data = mujoco.MjData(self.model)
        if change is not None:
            change(self.model)
            mujoco.mj_setConst(self.model, self.data)  # some inertias are computed beforehand
        self._kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
        self._size = mujoco.mj_stateSize(self.model, self._kind)
        self._frames = spec.action_repeat * definition.substeps
        low, high = self.model.actuator_ctrlrange.T
        self._center, self._scale = (low + high) / 2, (high - low) / 2

    def put(self, moment: np.ndarray) -> None:
        """Go to a row of `physics`."""
        put(self.model, self.data, self.task, moment)

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
                self.data.ctrl[:] = self._center + self._scale * np.clip(action, -1, 1)
                mujoco.mj_step(self.model, self.data, self._frames)
                mujoco.mj_forward(self.model, self.data)
                moments.append(self.moment())
                obs.append(self.observe())
        return np.stack(moments), np.stack(obs)

    def moment(self) -> np.ndarray:
        """The row of `physics` now."""
        physics = np.empty(self._size)
        engine().mj_getState(self.model, self.data, physics, self._kind)
        changes = [np.ravel(getattr(self.model, name)) for name in self.task.model_fields]
        return np.concatenate([physics, *changes])

    def observe(self) -> np.ndarray:
        """The observation now, float32 [O]."""
        names = ("qpos", "qvel", "ctrl", *self.task.fields)
        data = SimpleNamespace(**{name: getattr(self.data, name) for name in names})
        return np.asarray(self.task.observe(np, data), np.float32)


class Views:
    """What a model sees of moments: observations, or pictures as datasets have them."""

    def __init__(self, spec: EnvSpec, size: int, edit: Change | None = None):
        """`size` 0: observations. Raises EnvError when OpenGL does not work."""
        self.film = Film(spec.env_id, size, edit) if size else None

    def of(self, moments: np.ndarray, obs: np.ndarray) -> np.ndarray:
        """Frames of moments [..., K] whose observations [..., O] are known."""
        return obs if self.film is None else self.film.pictures(moments)

    def close(self) -> None:
        """Give OpenGL back."""
        if self.film is not None:
            self.film.close()


def moving_bodies(model: Any) -> np.ndarray:
    """Bodies that have joints, or an ancestor that has."""
    moving = np.zeros(model.nbody, bool)
    for body in range(1, model.nbody):
        moving[body] = model.body_jntnum[body] > 0 or moving[model.body_parentid[body]]
    return np.flatnonzero(moving)


def heavier(factor: float) -> Change:
    """Multiplies the mass and inertia of all moving bodies."""

    def change(model: Any) -> None:
        bodies = moving_bodies(model)
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
