"""Joints and actuators of a task's model: what a robot has to have to be driven by it."""

from typing import Any

import numpy as np

from envs.spec import Actuator, Joint, Robot
from envs.tasks.base import Task
from envs.tasks.engine import engine

_LENGTH, _TURN = ("m", "m/s", "N"), ("rad", "rad/s", "N m")
"""Units of position, velocity and force."""


def robot_of(task: Task) -> Robot:
    """Names, units and ranges, as the model has them; an action of -1 and 1 gives an actuator's."""
    model, kinds = task.model, engine().mjtJoint
    joints = []
    for index in range(model.njnt):
        kind = model.jnt_type[index]
        units = {kinds.mjJNT_HINGE.value: "rad", kinds.mjJNT_SLIDE.value: "m"}
        low, high = (float(x) for x in model.jnt_range[index])
        limits = (low, high) if model.jnt_limited[index] else (None, None)
        joints.append(Joint(_named(model, "joint", index), units.get(kind, ""), *limits))
    ends = [np.asarray(task.control(np.full(model.nu, sign))) for sign in (-1.0, 1.0)]
    actuators = [
        _actuator(model, index, *(end[index] for end in ends)) for index in range(model.nu)
    ]
    return Robot(tuple(actuators), tuple(joints))


def _named(model: Any, kind: str, index: int) -> str:
    return getattr(model, kind)(index).name or f"{kind} {index}"


def _actuator(model: Any, index: int, low: float, high: float) -> Actuator:
    """Its range at the joint, where its kind is known; else in its own controls, without a unit."""
    bias, gear = model.actuator_biasprm[index], float(model.actuator_gear[index, 0]) or 1.0
    gain, over = float(model.actuator_gainprm[index, 0]), int(model.actuator_trnid[index, 0])
    transmission, kinds = engine().mjtTrn, engine().mjtBias
    at_joint = model.actuator_trntype[index] in (
        transmission.mjTRN_JOINT.value,
        transmission.mjTRN_JOINTINPARENT.value,
    )
    name = model.actuator(index).name or (
        _named(model, "joint", over) if at_joint else f"actuator {index}"
    )
    units = _units(model, index, over, at_joint)
    dynamics, state = engine().mjtDyn, model.actuator_dyntype[index]
    plain = state in (dynamics.mjDYN_NONE.value, dynamics.mjDYN_FILTEREXACT.value)
    moved, kind = state == dynamics.mjDYN_INTEGRATOR.value, model.actuator_biastype[index]
    if units and plain and kind == kinds.mjBIAS_NONE.value:
        factor, unit = gain * gear, units[2]
    elif units and moved and kind == kinds.mjBIAS_AFFINE.value and bias[1]:
        factor, unit = gain / -float(bias[1]) / gear, units[1]  # of a position servo's target
    elif units and plain and kind == kinds.mjBIAS_AFFINE.value and (bias[1] or bias[2]):
        back = -float(bias[1] or bias[2])
        factor, unit = gain / back / gear, units[0 if bias[1] else 1]
    else:
        factor, unit = 1.0, ""
    ends = sorted((float(factor * low), float(factor * high)))
    return Actuator(name, unit, *ends)


def _units(model: Any, index: int, over: int, at_joint: bool) -> tuple[str, str, str] | None:
    if at_joint:
        kinds = engine().mjtJoint
        known = {kinds.mjJNT_HINGE.value: _TURN, kinds.mjJNT_SLIDE.value: _LENGTH}
        return known.get(int(model.jnt_type[over]))
    tendon = model.actuator_trntype[index] == engine().mjtTrn.mjTRN_TENDON.value
    return _LENGTH if tendon else None
