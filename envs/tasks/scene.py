"""What a robot's file may lack, added to its MjSpec before it is compiled: see `Task.edit`."""

from typing import Any

import numpy as np

from envs.tasks.engine import engine
from envs.tasks.model_file import ModelError

TARGET, CAMERA = "task_target", "task_view"


def add_floor(spec: Any, friction: float = 0.8) -> None:
    """A plane at height 0, chequered, unless the model has a plane."""
    mujoco = engine()
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    if any(geom.type == plane for geom in spec.geoms):
        return
    texture = spec.add_texture(
        name="task_floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        width=300,
        height=300,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.35, 0.4, 0.45],
        rgb2=[0.25, 0.3, 0.35],
    )
    material = spec.add_material(name="task_floor", texrepeat=[4, 4], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB.value] = texture.name
    spec.worldbody.add_geom(
        name="task_floor",
        type=plane,
        size=[0, 0, 0.05],
        material=material.name,
        friction=[friction, 0.005, 0.0001],
    )


def add_view(spec: Any, distance: float, follow: str = "") -> None:
    """A light from above and a camera at `distance` metres; it follows the body `follow`."""
    mujoco = engine()
    body = spec.body(follow) if follow else spec.worldbody
    mode = mujoco.mjtCamLight
    spec.worldbody.add_light(pos=[0, 0, 3 * distance], dir=[0, 0, -1])
    for camera in list(spec.cameras):
        spec.delete(camera)  # pictures are taken from camera 0
    x, y, z = distance * np.array([0.75, -0.75, 0.45])
    body.add_camera(
        name=CAMERA,
        pos=[x, y, z],
        xyaxes=[1, 1, 0, -0.3, 0.3, 1],
        mode=mode.mjCAMLIGHT_TRACKCOM if follow else mode.mjCAMLIGHT_FIXED,
    )


def add_target(spec: Any, radius: float) -> None:
    """A ball to reach, the site `task_target`; `Start.changes["site_pos"]` moves it."""
    spec.worldbody.add_site(
        name=TARGET, type=engine().mjtGeom.mjGEOM_SPHERE, size=[radius] * 3, rgba=[0.9, 0.1, 0.1, 1]
    )


def servos(spec: Any, stiffness: float, damping: float, span: float, pose: Any = None) -> None:
    """Make position servos of all joint motors: actions move joints by `span` radians about a pose.

    A joint without an actuator gets one. `pose`: joint name -> angle; by default the model's first
    keyframe, else its zero. Ranges end at the limits of the joints.
    """
    mujoco = engine()
    kinds = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    joints = [joint for joint in spec.joints if joint.type in kinds]
    if not joints:
        raise ModelError("the model has no hinge or slide for a servo to move")
    angles = standing_pose(spec) if pose is None else pose
    driven = {actuator.target: actuator for actuator in spec.actuators}
    for joint in joints:
        servo = driven.get(joint.name) or spec.add_actuator(
            name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        gear = servo.gear[0] or 1.0
        servo.set_to_position(kp=stiffness / gear, kv=damping / gear)
        low, high = angles[joint.name] - span, angles[joint.name] + span
        if joint.range[1] > joint.range[0]:
            low, high = np.clip([low, high], *joint.range)
        servo.ctrlrange, servo.ctrllimited = [low, high], mujoco.mjtLimited.mjLIMITED_TRUE
        servo.inheritrange = 0


def move_by_speed(spec: Any, crossing: float = 2.0) -> None:
    """Let actions move the targets of position servos, through a whole range in `crossing` seconds.

    An action of zero then holds the pose, and small ones make small corrections. Of an absolute
    target an arm asks for a precision of thousandths of its range. `data.act` has the targets.
    """
    mujoco = engine()
    ranges = spec.copy().compile().actuator_ctrlrange  # in radians, inherited ones too
    for servo, (low, high) in zip(spec.actuators, ranges, strict=True):
        if is_position(servo.biastype, servo.biasprm, servo.dyntype):
            if not low < high:
                raise ModelError(
                    f"actuator {servo.name or servo.target} has no range: give it a ctrlrange"
                )
            speed = (high - low) / crossing
            servo.dyntype = mujoco.mjtDyn.mjDYN_INTEGRATOR
            servo.actrange, servo.actlimited = [low, high], mujoco.mjtLimited.mjLIMITED_TRUE
            servo.ctrlrange, servo.inheritrange = [-speed, speed], 0


def is_position(bias: int, parameters: Any, dynamics: int) -> bool:
    """Whether an actuator is a position servo without a state of its own."""
    mujoco = engine()
    affine = bias == mujoco.mjtBias.mjBIAS_AFFINE.value and parameters[1] < 0
    return bool(affine and dynamics == mujoco.mjtDyn.mjDYN_NONE.value)


def standing_pose(spec: Any) -> dict[str, float]:
    """Joint name -> angle in the first keyframe, else in the model's zero pose."""
    model = spec.copy().compile()
    qpos = model.key_qpos[0] if model.nkey else model.qpos0
    return {model.joint(i).name: float(qpos[model.jnt_qposadr[i]]) for i in range(model.njnt)}
