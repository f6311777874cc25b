"""Experiments: go to a recorded moment, change something, act, see what follows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.native.film import Change, Film, RecordedSimulator
from envs.spec import EnvError, EnvSpec
from envs.tasks.engine import engine, quiet_mujoco

Edit = Callable[[Any], object]
"""(data): change the state at the moment of the event."""


class World(RecordedSimulator):
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
