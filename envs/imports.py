"""Which modules the id of an environment may import: those that the user named, no others.

`MODULE:ID` imports MODULE, and `FILE.py:CLASS` that file. Its code can do anything, arguments of a
constructor can name any file, and ids are read from files that strangers wrote. So an id alone
imports and passes nothing: what was typed is permitted first, in this process and by
`permission()` in those that it starts. Imports nothing heavy.
"""

import hashlib
import importlib.util
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Any, NamedTuple

from envs.spec import UnknownTaskError
from envs.task_list import OGBENCH, PREFIX
from envs.task_options import arguments_of, without_options

ANY, FILE = "*", ".py"
DESCRIPTION, MODEL = "task.msgpack", "task.mjb"
MOST_BYTES = 1 << 27
"""Files of a stored task, and how large each may be."""


class Stored(NamedTuple):
    """Where a task lies that was stored with a run or bundle (`envs.tasks.stored`)."""

    env_id: str
    folder: str
    digest: str
    """SHA-256 of its description."""
    model_only: bool = False
    """Whether the task's own class is used, on the stored model."""


class Permission(NamedTuple):
    """`modules` that ids may import (ANY: all of them), and how the user asks for another."""

    modules: tuple[str, ...] = ()
    ask: str = "import that module first"
    """In words; `{id}` stands for the id, ready for a shell."""
    stored: tuple[Stored, ...] = ()
    """Tasks that are simulated as they were stored."""


_now = Permission()


def permission() -> Permission:
    """What holds in this process."""
    return _now


def permit(
    modules: Iterable[str], ask: str = Permission().ask, stored: Iterable[Iterable[Any]] = ()
) -> None:
    """Let ids import these modules in this process, and no others; `stored` as `use_stored`."""
    global _now
    _now = Permission(tuple(modules), ask, tuple(Stored(*one) for one in stored))


def use_stored(task: Stored) -> None:
    """Let its id mean the stored task, in this process and in those that it starts."""
    global _now
    others = [one for one in _now.stored if one.env_id != task.env_id]
    _now = _now._replace(stored=(*others, task))


def stored(env_id: str) -> Stored | None:
    """The stored task that an id means here, if it means one."""
    return next((one for one in _now.stored if one.env_id == env_id), None)


def modules_of(typed: str) -> list[str]:
    """MODULE of every `MODULE:ID` in one id, or in several with commas between them.

    Arguments of a constructor, which need permission like a module, are among them as `?NAME=...`.
    """
    parts = [part.strip() for part in re.split("[,@]", typed.removeprefix(PREFIX))]
    arguments = [f"?{given}" for part in parts if (given := arguments_of(part))]
    return [module for part in parts if (module := _module_of(part))] + arguments


def require_permission(env_id: str) -> None:
    """Raise UnknownTaskError, with what to type, unless what an id names may be imported."""
    found = stored(env_id)
    whole = found and not found.model_only and not arguments_of(env_id)
    for module in () if whole else modules_of(env_id):
        _require(module, env_id)


def _require(module: str, env_id: str) -> None:
    if module not in sys.modules and not {module, ANY} & {*_now.modules}:
        ask = _now.ask.replace("{id}", shlex.quote(env_id))
        kept = f"{module!r}, which may be anybody's code, is not imported"
        if module.startswith("?"):
            kept = "what it passes to the environment, which may name any file, is not passed on"
        raise UnknownTaskError(f"{env_id!r} was not typed, so {kept}: {ask}")


def imported(env_id: str) -> ModuleType | None:
    """What `MODULE:ID` or `FILE.py:CLASS` names, if it is permitted; None for other ids.

    Raises UnknownTaskError.
    """
    module = _module_of(env_id)
    if not module:
        return None
    _require(module, env_id)
    try:
        return _run_file(module) if module.endswith(FILE) else importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module is the user's
        where = "" if module.endswith(FILE) else "; is it installed, or its folder on PYTHONPATH?"
        raise UnknownTaskError(
            f"{env_id}: cannot import {module!r} ({line_in(module, error)}{error}){where}"
        ) from error


def _run_file(path: str) -> ModuleType:
    """The module of a file, run once a process."""
    name = f"latentmpc_file_{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def line_in(path: str, error: BaseException) -> str:
    """Where in a file an error arose last: "line 7: NameError: ", or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f"line {lines[-1]}: {type(error).__name__}: " if lines else ""


def absolute(typed: str) -> str:
    """A typed id whose file is found from any folder: `arm.py:Reach` with the path made whole."""
    module = _module_of(typed)
    return (
        f"{os.path.abspath(module)}:{typed[len(module) + 1 :]}" if module.endswith(FILE) else typed
    )


def _module_of(env_id: str) -> str:
    env_id = without_options(env_id)
    return "" if env_id.startswith((PREFIX, OGBENCH)) else env_id.rpartition(":")[0]
