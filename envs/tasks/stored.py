"""A task as it lies in a run or bundle: the compiled model, and its functions as data.

`task.mjb` is MuJoCo's own file, `task.msgpack` a `Description`. None of it is code: see
`envs.tasks.graph`. `envs.native.store` writes both.
"""

import copy
import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from envs.imports import DESCRIPTION, MODEL, MOST_BYTES
from envs.spec import EnvError, Robot
from envs.tasks.base import Start, Task, variant
from envs.tasks.engine import engine, quiet_mujoco
from envs.tasks.goal_task import GoalTask
from envs.tasks.graph import Function, Graph, decode

_MOST_S, _MOST_STEPS = 1e6, 1_000_000


class _Settings(msgspec.Struct):
    """Class attributes that are stored, as `Task` and `GoalTask` have them."""

    control_dt: Annotated[float, msgspec.Meta(gt=0, le=_MOST_S)]
    time_limit: Annotated[float, msgspec.Meta(gt=0, le=_MOST_S)]
    episodic: bool = False
    settle_steps: Annotated[int, msgspec.Meta(ge=0, le=_MOST_STEPS)] = 0
    collision_free: bool = False
    model_fields: tuple[str, ...] = ()
    randomize: str = ""
    achieved_names: tuple[str, ...] = ()
    open_parts: tuple[str, ...] = ()


SETTINGS = _Settings.__struct_fields__


class StoredTaskError(EnvError):
    """A stored task that cannot be used; one line that says why."""

    exit_code = 3


class Description(msgspec.Struct):
    """What is stored of a task beside its model."""

    name: str
    """Of its class."""
    source: str
    """SHA-256 of the file of the class; "" where it has none."""
    model: str
    """SHA-256 of `task.mjb`; "" where the model is too large to be stored."""
    simulates: str
    """`model_digest` of the model."""
    mujoco: str
    """Version that wrote the model: no other reads it."""
    settings: dict[str, Any]
    robot: Robot
    starts: dict[str, list[Any]]
    """Drawn starts by field: qpos, qvel, userdata (goals) and the model's fields, [S, ...]."""
    streams: list[str]
    """The random stream that drew each of them (`stream_name`)."""
    functions: dict[str, Graph]
    """Those of the task; empty where they cannot be stored."""
    why: str = ""
    """Why they cannot."""


def stream_name(rng: np.random.Generator) -> str:
    """A random stream where it is now."""
    state: Any = rng.bit_generator.state["state"]
    return f"{state['state']:x}/{state['inc']:x}" if isinstance(state, dict) else ""


def model_bytes(model: Any) -> bytes:
    """A compiled model as MuJoCo writes it, without the folders that its files lay in."""
    buffer = np.zeros(engine().mj_sizeModel(model), np.uint8)
    engine().mj_saveModel(model, None, buffer)
    paths = bytes(model.paths)
    return (
        buffer.tobytes().replace(paths, bytes(len(paths)))
        if paths.strip(b"\0")
        else buffer.tobytes()
    )


def model_digest(model: Any) -> str:
    """SHA-256 of what a compiled model simulates, wherever its files lie."""
    found = hashlib.sha256(bytes(model.names))
    for part in (model, model.opt):
        for name in sorted(dir(part)):
            about_files = "path" in name or name in ("nbuffer", "signature")
            value = None if about_files or name.startswith("_") else getattr(part, name)
            if isinstance(value, np.ndarray | int | float):
                found.update(f"{name} {np.shape(value)}".encode() + np.asarray(value).tobytes())
    return found.hexdigest()


def read_description(data: bytes, where: str) -> Description:
    """The description in the bytes. Raises StoredTaskError."""
    try:
        found = msgspec.msgpack.decode(data, type=Description)
        kept = {name: found.settings[name] for name in SETTINGS if name in found.settings}
        return msgspec.structs.replace(found, settings=kept)
    except (ValueError, RecursionError) as error:
        raise StoredTaskError(f"{where} is no description of a task ({error})") from None


@cache
def stored_task(folder: str, digest: str) -> type[Task]:
    """The task in a folder whose `task.msgpack` has that SHA-256. Raises StoredTaskError."""
    found = described(folder, digest)
    if not found.functions:
        raise StoredTaskError(f"{folder}/{DESCRIPTION} has no functions: {found.why}")
    base = _StoredGoalTask if "achieved" in found.functions else _StoredTask
    try:
        starts = {name: decode(value) for name, value in found.starts.items()}
        check(found.settings, starts, len(found.streams))
        functions = {name: Function(graph) for name, graph in found.functions.items()}
    except (ValueError, TypeError) as error:
        raise StoredTaskError(f"{folder}/{DESCRIPTION}: {error}") from None
    return variant(
        base,
        **{k: tuple(v) if isinstance(v, list) else v for k, v in found.settings.items()},
        __doc__=f"The stored {found.name}.",
        compiled=stored_model(folder, digest),
        functions=functions,
        starts=starts,
        known={name: index for index, name in enumerate(found.streams)},
    )


def check(settings: dict[str, Any], starts: dict[str, Any], count: int) -> None:
    """Raise ValueError unless settings are a task's, and each field of the starts has `count` rows.

    At least one, of finite numbers.
    """
    msgspec.convert(settings, _Settings)
    if missing := {"qpos", "qvel"} - starts.keys():
        raise ValueError(f"its starts have no {min(missing)}")
    for name, rows in starts.items():
        right = isinstance(rows, np.ndarray) and rows.shape[:1] == (count,) and count >= 1
        if not right or not np.isfinite(rows).all():
            raise ValueError(f"its starts' {name[:40]!r} is not {count} rows of finite numbers")


def with_stored_model(task: type[Task], folder: str, digest: str) -> type[Task]:
    """A task whose own model cannot be compiled here, on the stored one."""
    compiled = stored_model(folder, digest)
    return variant(task, load=lambda self: copy.copy(compiled))


def described(folder: str, digest: str) -> Description:
    """The description of that SHA-256. Raises StoredTaskError."""
    return read_description(_read(Path(folder, DESCRIPTION), digest), f"{folder}/{DESCRIPTION}")


@cache
def stored_model(folder: str, digest: str) -> Any:
    """The compiled model beside that description. Raises StoredTaskError."""
    found, path = described(folder, digest), Path(folder, MODEL)
    here = engine().__version__
    if found.mujoco != here:
        raise StoredTaskError(
            f"{path} is of MuJoCo {found.mujoco[:20]!r}, here is {here}: pip install "
            f"mujoco=={found.mujoco[:20]}, or name the task's file"
        )
    data = _read(path, found.model)
    try:
        with quiet_mujoco():
            return engine().MjModel.from_binary_path(MODEL, {MODEL: data})
    except ValueError as error:
        raise StoredTaskError(f"{path} is no model of MuJoCo ({error})") from None


def _read(path: Path, digest: str) -> bytes:
    """A bounded file of that SHA-256. Raises StoredTaskError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise StoredTaskError(f"{path} cannot be read ({error.strerror})") from None
    if len(data) > MOST_BYTES or hashlib.sha256(data).hexdigest() != digest:
        raise StoredTaskError(f"{path} is not what was verified: SHA-256 or size differ")
    return data


class _StoredTask(Task):
    """A task made of a description."""

    compiled: ClassVar[Any]
    functions: ClassVar[dict[str, Function]]
    starts: ClassVar[dict[str, np.ndarray]]
    known: ClassVar[dict[str, int]]

    def load(self) -> Any:
        return copy.copy(self.compiled)

    def observe(self, xp: Any, data: Any) -> dict[str, Any]:
        return self._run("observe", xp, data)

    def flat_obs(self, xp: Any, data: Any) -> Any:
        return self._run("flat_obs", xp, data)[""]

    def reward(self, xp: Any, data: Any) -> Any:
        return self._run("reward", xp, data)[""]

    def terminated(self, xp: Any, data: Any) -> Any:
        return self._run("terminated", xp, data)[""]

    def control(self, action: Any) -> Any:
        return self.functions["control"](np, lambda _: action)[""]

    def start(self, rng: np.random.Generator) -> Start:
        """One of the stored starts: that of this very stream at its beginning, else any."""
        stream, drawn = stream_name(rng), int(rng.integers(len(self.starts["qpos"])))
        at = self.known.get(stream, drawn)
        here = {name: values[at] for name, values in self.starts.items()}
        qpos, qvel, goal = here.pop("qpos"), here.pop("qvel"), here.pop("userdata", None)
        return Start(qpos, qvel, here, goal)

    def _run(self, name: str, xp: Any, data: Any) -> dict[str, Any]:
        return self.functions[name](xp, lambda field: getattr(data, field))


class _StoredGoalTask(_StoredTask, GoalTask):
    """One with goals."""

    def achieved(self, xp: Any, data: Any) -> Any:
        return self._run("achieved", xp, data)[""]

    def success(self, xp: Any, achieved: Any, goal: Any) -> Any:
        given = {"achieved": achieved, "goal": goal}
        return self.functions["success"](xp, given.__getitem__)[""]
