"""Which modules the id of an environment may import: those that the user named, no others.

`MODULE:ID` imports MODULE, whose code can do anything, and ids are read from files that strangers
wrote. So an id alone imports nothing: what was typed is permitted first, in this process and by
`permission()` in those that it starts. Imports nothing heavy.
"""

import importlib
import re
import shlex
import sys
from collections.abc import Iterable
from typing import NamedTuple

from envs.spec import UnknownTaskError
from envs.task_list import OGBENCH, PREFIX

ANY = "*"


class Permission(NamedTuple):
    """`modules` that ids may import (ANY: all of them), and how the user asks for another."""

    modules: tuple[str, ...] = ()
    ask: str = "import that module first"
    """In words; `{id}` stands for the id, ready for a shell."""


_now = Permission()


def permission() -> Permission:
    """What holds in this process."""
    return _now


def permit(modules: Iterable[str], ask: str = Permission().ask) -> None:
    """Let ids import these modules in this process, and no others."""
    global _now
    _now = Permission(tuple(modules), ask)


def modules_of(typed: str) -> list[str]:
    """MODULE of every `MODULE:ID` in one id, or in several with commas between them."""
    parts = re.split("[,@]", typed.removeprefix(PREFIX))
    return [module for part in parts if (module := _module_of(part.strip()))]


def require_permission(env_id: str) -> None:
    """Raise UnknownTaskError, with what to type, unless what an id names may be imported."""
    for module in modules_of(env_id):
        _require(module, env_id)


def _require(module: str, env_id: str) -> None:
    if module not in sys.modules and not {module, ANY} & {*_now.modules}:
        ask = _now.ask.replace("{id}", shlex.quote(env_id))
        raise UnknownTaskError(
            f"{env_id!r} was not typed, so {module!r}, which may be anybody's code, is not "
            f"imported: {ask}"
        )


def imported(env_id: str) -> bool:
    """Import what `MODULE:ID` names, if it is permitted; False for ids of other kinds.

    Raises UnknownTaskError.
    """
    module = _module_of(env_id)
    if not module:
        return False
    _require(module, env_id)
    try:
        importlib.import_module(module)
    except Exception as error:  # the module is the user's
        raise UnknownTaskError(
            f"{env_id}: cannot import {module!r} ({error}); is it installed, or its folder on "
            "PYTHONPATH?"
        ) from error
    return True


def _module_of(env_id: str) -> str:
    return "" if env_id.startswith((PREFIX, OGBENCH)) else env_id.rpartition(":")[0]
