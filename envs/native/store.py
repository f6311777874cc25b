"""A user's task written down: its compiled model and its functions as data, tried before stored."""

import hashlib
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from envs.imports import DESCRIPTION, MODEL, MOST_BYTES
from envs.native.simulators import Simulators
from envs.native.streams import make_streams
from envs.tasks import GoalTask, Task
from envs.tasks.base import variant
from envs.tasks.engine import engine
from envs.tasks.graph import Function, Graph, array
from envs.tasks.interface import robot_of
from envs.tasks.recording import UnrecordableError, record
from envs.tasks.stored import (
    SETTINGS,
    Description,
    check,
    described,
    model_bytes,
    model_digest,
    stored_model,
    stored_task,
    stream_name,
)

EVALUATED, SEEDS, AT_ONCE = 1000, 100, 20
"""Starts are stored of simulators 0, 1, ... of this seed, and of simulator 0 of seeds 0, 1, ...;
AT_ONCE are drawn side by side, as large models take megabytes each."""
TRIED, FRAMES, MOST_SECONDS, MOST_MEMORY = 7, 5, 60, 8 << 30


def store(kind: type[Task]) -> dict[str, bytes]:
    """The files of a task by name. What cannot be stored is said in the description's `why`."""
    starts, streams = _starts(kind)
    settings = {name: getattr(kind, name) for name in SETTINGS if hasattr(kind, name)}
    task, why, functions = kind(), "", {}
    model = model_bytes(task.model)
    if len(model) > MOST_BYTES:
        why = f"its model has {len(model) >> 20} MiB, more than {MOST_BYTES >> 20}"
    elif sum(values.nbytes for values in starts.values()) > MOST_BYTES // 2:
        why = "its starts change too much of the model"
    else:
        try:
            check(settings, starts, len(streams))
            functions = _functions(kind)
        except ValueError as error:
            why = str(error)
    found = Description(
        name=kind.__name__,
        source=source_digest(kind),
        model="" if len(model) > MOST_BYTES else hashlib.sha256(model).hexdigest(),
        simulates=model_digest(task.model),
        robot=robot_of(task),
        mujoco=engine().__version__,
        settings=settings,
        starts={name: array(values) for name, values in starts.items()} if functions else {},
        streams=streams if functions else [],
        functions=functions,
        why=why,
    )
    files = {DESCRIPTION: msgspec.msgpack.encode(found)}
    return files | ({MODEL: model} if found.model else {})


def source_digest(kind: type[Task]) -> str:
    """SHA-256 of the file that a class is written in; "" where there is none."""
    file = Path(getattr(sys.modules.get(kind.__module__), "__file__", None) or "")
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _starts(kind: type[Task]) -> tuple[dict[str, np.ndarray], list[str]]:
    """First states by field, [S, ...], and the streams that drew them."""
    sims = Simulators(variant(kind, settle_steps=0), AT_ONCE, 1)
    streams = [*make_streams(EVALUATED, SEEDS), *make_streams(range(SEEDS), SEEDS)]
    names, rows = [stream_name(rng) for rng in streams], []
    for first in range(0, len(streams), AT_ONCE):
        sims.streams = streams[first : first + AT_ONCE]
        sims.start(np.arange(AT_ONCE))
        fields = {"qpos": sims.data.qpos, "qvel": sims.data.qvel, **sims.model_fields}
        if issubclass(kind, GoalTask):
            fields["userdata"] = sims.data.userdata
        rows.append({name: np.array(values) for name, values in fields.items()})
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}, names


def _functions(kind: type[Task]) -> dict[str, Graph]:
    """The task's functions as data, each equal to the last bit to what it is made from.

    Raises UnrecordableError.
    """
    if kind.held is not Task.held:
        raise UnrecordableError("held() is the task's own")
    sims = _moved(kind)
    task, data = sims.task, sims.data
    action = np.random.default_rng(1).uniform(-1, 1, (TRIED, task.model.nu))
    fields: Callable[[str], Any] = lambda name: getattr(data, name)  # noqa: E731
    plain: dict[str, tuple[Callable[[Any, Any], Any], Callable[[str], Any], str]] = {
        name: (getattr(task, name), fields, "qpos")
        for name in ("observe", "flat_obs", "reward", "terminated")
    }
    plain["control"] = (lambda xp, d: task.control(d.action), lambda _: action, "action")
    if isinstance(task, GoalTask):
        pair = {"achieved": task.achieved(np, data), "goal": task.goal(np, data)}
        plain["achieved"] = (task.achieved, fields, "qpos")
        plain["success"] = (
            lambda xp, d: task.success(xp, d.achieved, d.goal),
            pair.__getitem__,
            "achieved",
        )
    found = {}
    for name, (function, field, first) in plain.items():
        try:
            found[name] = record(function, field, first)
            _compare(Function(found[name]), function, field)
        except Exception as error:  # the function is the user's
            said = str(error) if isinstance(error, ValueError) else f"{error!r}"
            raise UnrecordableError(f"{name}(): {' '.join(said.split())[:300]}") from None
    return found


def _moved(kind: type[Task]) -> Simulators:
    """Some simulators on their way under random actions."""
    sims, rng = Simulators(kind, TRIED, 1), np.random.default_rng(0)
    sims.reseed(0)
    sims.start(np.arange(sims.count))
    for _ in range(FRAMES):
        sims.data.ctrl[:] = sims.task.control(rng.uniform(-1, 1, sims.data.ctrl.shape))
        sims.frame(None)
    return sims


def _compare(
    stored: Function, function: Callable[[Any, Any], Any], field: Callable[[str], Any]
) -> None:
    """Raise UnrecordableError unless what is stored gives what the function does, for any batch."""

    class First:
        """Some of the simulators."""

        def __init__(self, count: int) -> None:
            self.count = count

        def __getattr__(self, name: str) -> np.ndarray:
            return field(name)[: self.count]

    for count in (TRIED, 1, 3):
        some = First(count)
        expected = function(np, some)
        expected = expected if isinstance(expected, dict) else {"": expected}
        made = stored(np, lambda name, some=some: getattr(some, name))
        same = made.keys() == expected.keys() and all(
            np.array_equal(made[name], expected[name], equal_nan=True) for name in made
        )
        if not same:
            raise UnrecordableError(
                "it does not do the same again, or not for another number of simulators"
            )


def _limit(kind: int, wanted: int) -> None:
    """Give this process no more of a resource than wanted, or than it may have already."""
    hard = resource.getrlimit(kind)[1]
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (most, most))


def trial(folder: str, digest: str) -> None:
    """Simulate a stored task for a while, in a process that may die of it; exits with 3 and a line.

    The process gives itself no more than MOST_SECONDS and MOST_MEMORY.
    """
    _limit(resource.RLIMIT_CPU, MOST_SECONDS)
    _limit(resource.RLIMIT_AS, MOST_MEMORY)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        if described(folder, digest).functions:
            sims = _moved(stored_task(folder, digest))
            task, data = sims.task, sims.data
            parts = [task.flat_obs(np, data), task.reward(np, data), task.terminated(np, data)]
            if isinstance(task, GoalTask):
                achieved, goal = task.achieved(np, data), task.goal(np, data)
                parts += [achieved, goal, task.success(np, achieved, goal)]
            if any(len(part) != TRIED for part in parts) or parts[1].shape != (TRIED,):
                raise ValueError("its functions give arrays of other shapes than a task's")
        else:
            model = stored_model(folder, digest)
            data = engine().MjData(model)
            for _ in range(FRAMES):
                engine().mj_step(model, data)
    except Exception as error:  # whatever a damaged file makes of itself
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        sys.exit(3)
