"""Exact state of one MuJoCo simulator that somebody else steps.

The integration state decides the future of the physics; derived fields are kept as well, since
foreign tasks read some of them a substep late.
"""

from typing import Any

import numpy as np

from envs.tasks.engine import engine
from envs.vector import Arrays

_DERIVED = (
    "qacc qfrc_actuator qfrc_constraint qfrc_passive qfrc_bias actuator_force actuator_length "
    "actuator_velocity sensordata xpos xquat xmat xipos ximat xanchor xaxis geom_xpos geom_xmat "
    "site_xpos site_xmat subtree_com subtree_linvel cinert cvel cacc cfrc_int cfrc_ext"
).split()


def get_state(model: Any, data: Any) -> Arrays:
    """Copies of the integration state and of derived fields."""
    mujoco = engine()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
    physics = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, physics, kind)
    return {"physics": physics} | {f"data/{n}": np.array(getattr(data, n)) for n in _DERIVED}


def set_state(model: Any, data: Any, state: Arrays) -> None:
    """Go back to what `get_state` gave."""
    mujoco = engine()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
    mujoco.mj_setState(model, data, state["physics"], kind)
    mujoco.mj_forward(model, data)  # contacts and factorisations, which are not kept
    mujoco.mj_setState(model, data, state["physics"], kind)  # it moved the warm start
    for name in _DERIVED:
        getattr(data, name)[:] = state[f"data/{name}"]


def model_arrays(model: Any) -> Arrays:
    """Arrays that tasks change from episode to episode: places, sizes, colours, dynamics."""
    prefixes = tuple("body_ geom_ site_ dof_ jnt_ actuator_ qpos tendon_ eq_ hfield_".split())
    found = {n: getattr(model, n) for n in dir(model) if n.startswith(prefixes)}
    return {n: v for n, v in found.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"}


def changed(model: Any, pristine: Arrays) -> Arrays:
    """Copies of the arrays of a model that are not as in `pristine`, by `model/NAME`."""
    return {
        f"model/{name}": value.copy()
        for name, value in model_arrays(model).items()
        if name in pristine and not np.array_equal(value, pristine[name])
    }


def set_changed(model: Any, state: Arrays, pristine: Arrays) -> None:
    """Go back to what `changed` gave, and to `pristine` for the rest."""
    for name, value in model_arrays(model).items():
        if name in pristine:
            value[...] = state.get(f"model/{name}", pristine[name])


def warnings(data: Any) -> int:
    """How often MuJoCo has warned: a rise means that it reset or clamped the state by itself."""
    return sum(int(w.number) for w in data.warning)


def plain_attributes(obj: Any) -> Arrays:
    """Numeric attributes of an object as arrays; None becomes an empty array."""
    found = {}
    for name, value in vars(obj).items():
        if value is None:
            found[name] = np.empty(0)
        elif isinstance(value, bool | int | float | np.generic | np.ndarray):
            array = np.asarray(value)
            if array.dtype.kind in "biuf" and array.size:
                found[name] = array.copy()
    return found


def set_plain_attributes(obj: Any, state: Arrays) -> None:
    """Set the attributes `plain_attributes` gave, scalars as scalars."""
    for name, array in state.items():
        value = None if not array.size else (array.item() if array.ndim == 0 else array.copy())
        setattr(obj, name, value)
