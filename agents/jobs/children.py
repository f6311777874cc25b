"""How processes of this interpreter are started: they import from where this one does, no wider.

Python puts the working folder first on the path of `python -c` and `python -m`, so that a file
`json.py` lying there would run. Children start without it and get this process's own path, and
what ids of environments may import here. Imports no jax.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from envs import imports

BOOT = """\
import json, sys
paths, permission, function, arguments = json.loads(sys.argv[1])
sys.path[:] = paths
from agents.jobs.children import call
call(permission, function, arguments)
"""


def python(code: str, *arguments: str) -> list[str]:
    """A command line that runs `code` without the working folder on its path."""
    return [sys.executable, "-P", "-c", code, *arguments]


def calling(function: str, *arguments: Any) -> list[str]:
    """One that calls "module:function" with JSON-ready arguments, on this process's path."""
    told = [absolute_paths(sys.path), imports.permission(), function, arguments]
    return python(BOOT, json.dumps(told))


def call(permission: Iterable[Any], function: str, arguments: Iterable[Any]) -> None:
    """The child of `calling`."""
    imports.permit(*permission)
    named(function)(*arguments)


def named(function: str) -> Callable[..., Any]:
    """The function "module:function"."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def absolute_paths(paths: Iterable[str]) -> list[str]:
    """Import paths that mean the same wherever they are read."""
    return [os.path.abspath(path) for path in paths]
