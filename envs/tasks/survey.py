"""What a robot's model file has and lacks, as `latentmpc new` needs to know it to write a task."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.tasks.engine import engine, quiet_mujoco
from envs.tasks.model_file import read_spec, told
from envs.tasks.scene import is_position

TOOLS = ("grip", "tool", "tcp", "ee", "pinch", "attachment", "tip", "hand")
"""Parts of the names that end effectors have, the likeliest first."""
POSES = 64


class Survey(NamedTuple):
    """Facts of a model; names are as its file has them."""

    free: str
    """The body with a free joint, or nothing for a robot that is fixed."""
    tool: str
    """The site at the end of an arm, or nothing."""
    hand: str
    """The body farthest from the base, where a site may be added."""
    joints: int
    """Hinges and slides."""
    actuators: int
    motors: int
    """Actuators that give a force, not a position or a velocity."""
    positions: int
    """Actuators that are position servos."""
    timestep: float
    height: float
    """Of the free body in its first pose, metres."""
    hangs: bool
    """Whether the end of a robot that is fixed lies below its base in its first pose."""
    size: float
    """How far the farthest body or site lies from the base in its first pose, metres."""
    force: float
    """What a joint must hold at most: its limit, or the weight it carries in random poses."""


def survey(path: Path) -> Survey:
    """The facts of a file. Raises ModelError."""
    mujoco = engine()
    spec = read_spec(path)
    with told(path), quiet_mujoco():
        model = spec.compile()
    data = mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, 0)
    with quiet_mujoco():
        mujoco.mj_forward(model, data)
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE.value)
    root = int(model.jnt_bodyid[free[0]]) if free.size else 0
    places = np.concatenate([data.xpos, data.site_xpos])
    far = np.linalg.norm(places - data.xpos[root], axis=1)
    return Survey(
        free=model.body(root).name if free.size else "",
        tool=_tool(model),
        hand=model.body(_deepest(model)).name,
        joints=model.njnt - free.size,
        actuators=model.nu,
        motors=int((model.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE.value).sum()),
        positions=sum(
            map(
                is_position, model.actuator_biastype, model.actuator_biasprm, model.actuator_dyntype
            )
        ),
        timestep=float(model.opt.timestep),
        height=float(data.xpos[root, 2]),
        hangs=not free.size and float(places[np.argmax(far), 2]) < data.xpos[root, 2] - 0.02,
        size=float(far.max()) or 1.0,
        force=_force(model),
    )


def _depth(model: Any, body: int) -> int:
    """Joints between a body and the world."""
    depth = 0
    while body:
        depth += int(model.body_jntnum[body])
        body = int(model.body_parentid[body])
    return depth


def _deepest(model: Any) -> int:
    return max(range(model.nbody), key=lambda body: _depth(model, body))


def _tool(model: Any) -> str:
    """The site that is named as an end effector, or the one with the most joints before it."""
    bodies = {model.site(i).name: int(model.site_bodyid[i]) for i in range(model.nsite)}
    depths = {name: _depth(model, body) for name, body in bodies.items() if name}
    sites = {name: depth for name, depth in depths.items() if depth}
    for part in TOOLS:
        if named := [name for name in sites if part in name.lower()]:
            return named[0]
    return max(sites, key=lambda name: sites[name]) if sites else ""


def _force(model: Any) -> float:
    """The largest force a joint must hold, N or N m."""
    mujoco = engine()
    motors = model.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE.value
    pull = model.actuator_ctrlrange[:, 1] * model.actuator_gainprm[:, 0] * model.actuator_gear[:, 0]
    limits = [model.jnt_actfrcrange[:, 1], model.actuator_forcerange[:, 1], pull[motors]]
    limits = np.concatenate(limits)
    if (limits > 0).any():
        return float(limits.max())
    rng, data, most = np.random.default_rng(0), mujoco.MjData(model), 0.0
    low, high = np.where(model.jnt_limited[:, None], model.jnt_range, (-np.pi, np.pi)).T
    turning = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE.value
    for _ in range(POSES):
        places = model.jnt_qposadr[turning]
        data.qpos[places] = rng.uniform(low, high)[turning]
        mujoco.mj_forward(model, data)
        most = max(most, float(np.abs(data.qfrc_bias[model.jnt_dofadr[turning]]).max(initial=0)))
    return 4 * most or 1.0
