"""A user's own task, made and tried once: its mistakes are told before anything is built."""

import sys
from typing import Any

import numpy as np

from envs.imports import line_in
from envs.spec import EnvError
from envs.tasks.base import Task
from envs.tasks.engine import engine, quiet_mujoco


class TaskError(EnvError):
    """A mistake in a task's file; one line that says where."""

    exit_code = 2


def tried(env_id: str, made: type[Task]) -> Task:
    """An instance of a task whose functions give what they should at a first state.

    Raises TaskError naming the line of the task's file, or what is wrong with a value.
    """
    try:
        task = made()
        problem = _problem(task)
    except EnvError:
        raise
    except Exception as error:  # the file is the user's
        file = getattr(sys.modules[made.__module__], "__file__", "")
        where = line_in(str(file), error) or f"{type(error).__name__}: "
        raise TaskError(f"{env_id}: {where}{' '.join(str(error).split())}") from error
    if problem:
        raise TaskError(f"{env_id}: {problem}")
    return task


def _problem(task: Task) -> str:
    """What is wrong with the values that a task's functions give; "" if nothing."""
    mujoco, model = engine(), task.model
    start = task.start(np.random.default_rng(0))
    wanted = {"qpos": (start.qpos, model.nq), "qvel": (start.qvel, model.nv)}
    for name, (value, size) in wanted.items():
        if np.shape(value) != (size,):
            return f"start() gives {name} of shape {np.shape(value)}, expected ({size},)"
    if unknown := [name for name in start.changes if name not in task.model_fields]:
        return f"start() changes {unknown[0]}, which model_fields does not name"
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = start.qpos, start.qvel
    with quiet_mujoco():
        mujoco.mj_forward(model, data)
    task.substeps  # noqa: B018  a frame is a whole number of physics steps
    for name, shape in (("flat_obs", None), ("reward", ()), ("terminated", ())):
        value: Any = np.asarray(getattr(task, name)(np, data))
        if shape is not None and value.shape != shape:
            return f"{name}() gives an array of shape {value.shape} for one simulator, expected ()"
        if not np.isfinite(value).all():
            return f"{name.replace('flat_obs', 'observe')}() gives a number that is not finite"
    return ""
