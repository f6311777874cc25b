"""A task: a class that names its model and says what is observed, rewarded and how episodes start.

`observe`, `reward` and `terminated` run on numpy and jax.numpy alike. Their `data` has MuJoCo's
fields as attributes (`qpos`, `qvel`, `ctrl`, `sensordata`, `site_xpos`, ...), all with the same
leading batch axes, as a batch's bound arrays or MJX data have.
"""

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from envs.spec import EnvError
from envs.tasks.engine import engine, quiet_mujoco, suite_model
from envs.tasks.helpers import cos_sin
from envs.tasks.model_file import compile_file, locate

_MAX_POSES = 1000


@dataclass(frozen=True)
class Start:
    """First state of an episode.

    Attributes:
        qpos: [nq] positions.
        qvel: [nv] velocities.
        changes: model field name -> its whole new value for this simulator.
        goal: [nq] the configuration to reach, in tasks with goals.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    changes: dict[str, np.ndarray] = field(default_factory=dict)
    goal: np.ndarray | None = None


class Task(ABC):
    """One task on a compiled model of its own; sizes and names are worked out from both.

    Subclasses look up in `__init__` the ids they need, and may set constants of the model there
    (the size of a target); whatever differs between episodes goes through `start`.
    """

    model_file: ClassVar[str] = ""
    """MJCF or URDF file of the model: relative to the file of the class, or `PACKAGE:PATH`."""
    domain: ClassVar[str] = ""
    """The dm_control domain whose model is used, where there is no file; else override `load`."""
    control_dt: ClassVar[float]
    """Seconds of one frame, a whole number of physics steps."""
    time_limit: ClassVar[float]
    """Seconds of an episode."""
    episodic: ClassVar[bool] = False
    """Whether an episode can terminate before its time limit."""
    model_fields: ClassVar[tuple[str, ...]] = ()
    """Model fields that `start` changes."""
    settle_steps: ClassVar[int] = 0
    """Physics steps to run, without control, before the first observation."""
    randomize: ClassVar[str] = ""
    """Ranges in which the real robot may differ, as `--randomize` has them: "mass=0.8:1.2"."""
    collision_free: ClassVar[bool] = False
    """Whether starts with contacts are drawn again."""

    def __init__(self) -> None:
        """Compile the model. Raises EnvError if its files cannot be read."""
        self.model = self.load()
        for kind in ("site", "geom"):
            if f"{kind}_pos" in self.model_fields:
                _heed_places(getattr(self.model, f"{kind}_sameframe"))
        low, high = self.model.actuator_ctrlrange.T
        self.control_center, self.control_scale = (low + high) / 2, (high - low) / 2

    def load(self) -> Any:
        """A compiled model that is the caller's to change."""
        if self.model_file:
            return compile_file(locate(self.model_file, self._folder()), self.edit)
        return suite_model(self.domain)

    def edit(self, spec: Any) -> None:
        """Change the MjSpec of `model_file` before it is compiled (`envs.tasks.scene` helps)."""
        del spec

    @classmethod
    def _folder(cls) -> Path:
        """Where the class that names the model file is written."""
        owner = next(c for c in cls.__mro__ if "model_file" in vars(c))
        return (
            Path(getattr(sys.modules[owner.__module__], "__file__", None) or "").absolute().parent
        )

    @abstractmethod
    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        """The parts of the observation by name, [..., n] each, in order."""

    @abstractmethod
    def reward(self, xp: Any, data: Any) -> Any:
        """The reward [...] of one frame, from the state it ended in and its controls."""

    def terminated(self, xp: Any, data: Any) -> Any:
        """Whether the episode is over [...], apart from its time limit."""
        return xp.zeros(data.qpos.shape[:-1], bool)

    def start(self, rng: np.random.Generator) -> Start:
        """Draw the first state of an episode: here any pose, at rest."""
        return self.at_rest(self.random_pose(rng))

    def flat_obs(self, xp: Any, data: Any) -> Any:
        """The observation [..., O]: all its parts."""
        return xp.concatenate([*self.observe(xp, data).values()], axis=-1)

    def control(self, action: Any) -> Any:
        """Controls in the units of the actuators for actions [..., A] in [-1, 1]."""
        return self.control_center + self.control_scale * action

    def at_rest(self, qpos: np.ndarray) -> Start:
        """The start in a configuration [nq] without velocities."""
        return Start(qpos, np.zeros(self.model.nv))

    def random_pose(self, rng: np.random.Generator, share: float = 1.0) -> np.ndarray:
        """A configuration [nq] of a model of hinges and slides, uniform in `pose_bounds`.

        `share` of them, about their middle.
        """
        low, high = self.pose_bounds
        if share == 1.0:
            return rng.uniform(low, high)
        middle, half = (low + high) / 2, share * (high - low) / 2
        return rng.uniform(middle - half, middle + half)

    def first_pose(self) -> np.ndarray:
        """The configuration [nq] of the model's first keyframe, else its own."""
        return (self.model.key_qpos[0] if self.model.nkey else self.model.qpos0).copy()

    def near_pose(self, rng: np.random.Generator, pose: np.ndarray, noise: float) -> np.ndarray:
        """A configuration [nq] with hinges and slides within `noise` of those of `pose`."""
        moved = pose.copy()
        moved[self.joint_index] += rng.uniform(-noise, noise, len(self.joint_index))
        return moved

    def place_in_reach(
        self, rng: np.random.Generator, site: int, share: float = 0.5, lowest: float = 0.05
    ) -> np.ndarray:
        """Where a site is in a random pose, [3] metres, no lower than `lowest`.

        Of `random_pose(rng, share)`. Raises EnvError where no such pose is found.
        """
        data = engine().MjData(self.model)
        for _ in range(_MAX_POSES):
            data.qpos[:] = self.random_pose(rng, share)
            engine().mj_kinematics(self.model, data)
            if data.site_xpos[site, 2] >= lowest:
                return data.site_xpos[site].copy()
        raise EnvError(
            f"{type(self).__name__}: in none of {_MAX_POSES} random poses its site is {lowest} m "
            "high: say another `lowest`"
        )

    def joint_angles(self, xp: Any, data: Any) -> Any:
        """Positions of hinges and slides; hinges that turn without limit as cosine and sine."""
        free = self.model.jnt_limited == 0
        endless = free & (self.model.jnt_type == engine().mjtJoint.mjJNT_HINGE.value)
        where = set(self.model.jnt_qposadr[endless].tolist())
        plain = data.qpos[..., [i for i in self.joint_index if i not in where]]
        turning = cos_sin(xp, data.qpos[..., [i for i in self.joint_index if i in where]])
        return xp.concatenate([plain, turning], axis=-1)

    @cached_property
    def joint_index(self) -> list[int]:
        """Where hinges and slides are in `qpos`."""
        kinds = [engine().mjtJoint.mjJNT_HINGE.value, engine().mjtJoint.mjJNT_SLIDE.value]
        return self.model.jnt_qposadr[np.isin(self.model.jnt_type, kinds)].tolist()

    def held(self, qpos: np.ndarray) -> np.ndarray:
        """Activations [..., na] with which an episode begins at configurations [..., nq].

        Targets that actions move begin where their joints are; the others at zero.
        """
        model, mujoco = self.model, engine()
        held = np.zeros((*qpos.shape[:-1], model.na))
        integrated = model.actuator_dyntype == mujoco.mjtDyn.mjDYN_INTEGRATOR.value
        on_joint = (mujoco.mjtTrn.mjTRN_JOINT.value, mujoco.mjtTrn.mjTRN_JOINTINPARENT.value)
        which = np.flatnonzero(integrated & np.isin(model.actuator_trntype, on_joint))
        joints = model.jnt_qposadr[model.actuator_trnid[which, 0]]
        lengths = model.actuator_gear[which, 0] * qpos[..., joints]
        low, high = model.actuator_actrange[which].T
        limited = model.actuator_actlimited[which].astype(bool)
        lengths = np.where(limited, np.clip(lengths, low, high), lengths)
        held[..., model.actuator_actadr[which]] = lengths
        return held

    @cached_property
    def pose_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest [nq]: the range of limited joints, a turn of free hinges.

        Free slides stay at their default.
        """
        model, hinge = self.model, engine().mjtJoint.mjJNT_HINGE.value
        limited = model.jnt_limited.astype(bool)
        turns = ~limited & (model.jnt_type == hinge)
        low = np.where(limited, model.jnt_range[:, 0], np.where(turns, -np.pi, model.qpos0))
        high = np.where(limited, model.jnt_range[:, 1], np.where(turns, np.pi, model.qpos0))
        return low, high

    @cached_property
    def obs_names(self) -> tuple[tuple[str, int], ...]:
        """(name, size) of the parts of the observation, in order."""
        data = engine().MjData(self.model)
        with quiet_mujoco():
            engine().mj_forward(self.model, data)
        return tuple((name, int(x.shape[-1])) for name, x in self.observe(np, data).items())

    @cached_property
    def substeps(self) -> int:
        """Physics steps in a frame. Raises EnvError where that is no whole number."""
        exact, timestep = self.control_dt / self.model.opt.timestep, self.model.opt.timestep
        if round(exact) < 1 or abs(exact - round(exact)) > 1e-6:
            raise EnvError(
                f"{type(self).__name__}.control_dt is {self.control_dt} s, no multiple of its "
                f"model's timestep of {timestep} s"
            )
        return round(exact)

    @property
    def episode_frames(self) -> int:
        """Frames until the time limit."""
        return math.ceil(self.time_limit / self.control_dt)


def _heed_places(sameframe: np.ndarray) -> None:
    """Let what was compiled at its body's origin be moved: MuJoCo would not look at its place."""
    same = engine().mjtSameFrame
    sameframe[sameframe == same.mjSAMEFRAME_BODY.value] = same.mjSAMEFRAME_BODYROT.value
    sameframe[sameframe == same.mjSAMEFRAME_INERTIA.value] = same.mjSAMEFRAME_INERTIAROT.value


def variant(task: type[Task], **settings: Any) -> Any:
    """The same task with other values of its class attributes."""
    return type(task.__name__, (task,), {"__doc__": task.__doc__, **settings})
