"""What a task is: array functions over simulator data, plus how its episodes start.

`observe`, `reward` and `terminated` run on numpy and jax.numpy alike. Their `data` is anything
with MuJoCo's field names as attributes (`qpos`, `qvel`, `ctrl` and those the task lists in
`fields`), each with the same leading batch axes, as a batch's bound arrays or MJX data have.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.tasks.engine import engine, quiet_mujoco

XX, XZ, ZZ = 0, 2, 8
"""Positions of the entries of a rotation matrix in its nine row-major numbers."""


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
    """One task on one compiled model.

    Subclasses look up in `__init__` the ids they need, and may set constants of the model there
    (the size of a target); whatever differs between episodes goes through `start`.
    """

    fields: tuple[str, ...] = ()
    """Derived data fields that the functions read."""
    model_fields: tuple[str, ...] = ()
    """Model fields that `start` changes."""
    settle_steps: int = 0
    """Physics steps to run, without control, before the first observation."""
    collision_free: bool = False
    """Whether starts with contacts are drawn again."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @abstractmethod
    def observe(self, xp: Any, data: Any) -> Any:
        """The flat observation [..., O]."""

    @abstractmethod
    def reward(self, xp: Any, data: Any) -> Any:
        """The reward [...] of one frame, from the state it ended in and its controls."""

    def terminated(self, xp: Any, data: Any) -> Any:
        """Whether the episode is over [...], apart from its time limit."""
        return xp.zeros(data.qpos.shape[:-1], bool)

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Start:
        """Draw the first state of an episode."""


@dataclass(frozen=True)
class TaskDef:
    """Static facts of a task, and how to make it.

    Attributes:
        domain: name of the dm_control domain, which is also its model file.
        make: compiled model -> `Task`.
        obs_names: (name, size) of the parts of the observation, in order.
        action_dim: number of controls.
        timestep: seconds of one physics step.
        substeps: physics steps in a frame.
        time_limit: seconds of an episode.
        episodic: whether an episode can terminate before it.
        xml: gives the model's MJCF, where it is not dm_control's file of the domain.
    """

    domain: str
    make: Callable[[Any], Task]
    obs_names: tuple[tuple[str, int], ...]
    action_dim: int
    timestep: float
    substeps: int
    time_limit: float
    episodic: bool = False
    xml: Callable[[], str] | None = None

    def load(self) -> Any:
        """Compile the model. Raises EnvError if dm_control's model files are not installed."""
        return load_model(self.domain, self.xml() if self.xml is not None else None)

    @property
    def obs_dim(self) -> int:
        """Size of the flat observation."""
        return sum(size for _, size in self.obs_names)

    @property
    def control_dt(self) -> float:
        """Seconds of one frame."""
        return self.timestep * self.substeps

    @property
    def episode_frames(self) -> int:
        """Frames until the time limit."""
        return math.ceil(self.time_limit / self.control_dt)


def rotation(xp: Any, data: Any, bodies: list[int] | slice, entry: int) -> Any:
    """Entry `entry` of the rotation matrices of some bodies, [..., number of bodies].

    Takes matrices stored as nine numbers (MuJoCo) and as 3 x 3 (MJX).
    """
    lead = data.qpos.shape[:-1]
    flat = xp.reshape(data.xmat, (*lead, -1, 9))
    return flat[..., bodies, entry]


def norm(xp: Any, x: Any) -> Any:
    """Euclidean length over the last axis."""
    return xp.sqrt(xp.sum(x * x, axis=-1))


def sensor_slice(model: Any, name: str) -> slice:
    """Where the numbers of a sensor lie in `sensordata`."""
    sensor = model.sensor(name)
    start = int(sensor.adr[0])
    return slice(start, start + int(sensor.dim[0]))


def joint_bounds(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ranges [nq] of the suite's usual random pose, for models of hinges and slides.

    Limited joints span their range, free hinges a full turn; free slides stay at their default.
    """
    mujoco = engine()
    limited = model.jnt_limited.astype(bool)
    turns = ~limited & (model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE.value)
    low = np.where(limited, model.jnt_range[:, 0], np.where(turns, -np.pi, model.qpos0))
    high = np.where(limited, model.jnt_range[:, 1], np.where(turns, np.pi, model.qpos0))
    return low, high


def load_model(domain: str, xml: str | None = None) -> Any:
    """Compile dm_control's model of a domain, without importing its Python (or any GL).

    Or compile `xml`, which may include that model.

    Raises:
        EnvError: dm_control's model files are not installed.
    """
    mujoco = engine()
    assets = _suite_files(domain) if xml is None or "<include" in xml else {}
    with quiet_mujoco():
        return mujoco.MjModel.from_xml_string(xml or assets[f"{domain}.xml"].decode(), assets)


def _suite_files(domain: str) -> dict[str, bytes]:
    """The file of a domain and those that it includes."""
    from importlib.resources import files

    from envs.spec import EnvError

    parts = [f"common/{part}.xml" for part in ("materials", "skybox", "visual")]
    try:
        suite = files("dm_control") / "suite"
        assets = {f"./{name}": (suite / name).read_bytes() for name in parts}
        return assets | {f"{domain}.xml": (suite / f"{domain}.xml").read_bytes()}
    except OSError as error:
        raise EnvError(
            f"the model of domain {domain!r} is not readable ({error}); "
            "reinstall dm-control with `pip install dm-control`"
        ) from error
