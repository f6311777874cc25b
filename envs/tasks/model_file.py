"""Models from a file of the user's: MJCF or URDF, with the files that it names found beside it."""

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from envs.spec import EnvError
from envs.tasks.engine import engine, quiet_mujoco

MOST_BYTES, MOST_COPIES, MOST_INCLUDES = 1 << 26, 10_000, 100
_REPLICATE = re.compile(r"<replicate\b[^>]*\bcount\s*=\s*[\"']\s*(\d+)")
_INCLUDE = re.compile(r"<include\b[^>]*\bfile\s*=\s*[\"']([^\"']*)[\"']")
ADVICE = {
    "opening file": "put it beside the model, or say where in <compiler meshdir= texturedir=>",
    "mass and inertia": "give the body an <inertial>, or geoms with a mass",
    "inertia must satisfy": "the inertia is of no solid body: <compiler balanceinertia='true'/>",
    "repeated name": "give each element of a kind its own name",
    "unrecognized": "write it as MuJoCo's XML reference does",
    "not found": "name an element that exists",
}
"""Part of what MuJoCo says -> what to do."""


class ModelError(EnvError):
    """A model file that cannot be simulated or controlled; one line with what to do."""

    exit_code = 2


def locate(model_file: str, folder: Path = Path()) -> Path:
    """Where a model's file is: relative to `folder`, or `PACKAGE:PATH` in an installed package.

    The package is found, not imported. Raises ModelError if it is not there.
    """
    package, colon, inside = model_file.partition(":")
    if not colon or not package.isidentifier():
        return folder / model_file
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"{model_file}: no package {package!r} is installed here; install it")
    return Path(found.submodule_search_locations[0]) / inside


def compile_file(path: Path, edit: Callable[[Any], object] = lambda spec: None) -> Any:
    """The compiled model of a file, changed by `edit(MjSpec)` first. Raises ModelError."""
    spec = read_spec(path)
    edit(spec)
    with told(path), quiet_mujoco():
        model = spec.compile()
    check_model(model, path.name)
    return model


def read_spec(path: Path) -> Any:
    """The MjSpec of a file, not compiled. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file; model_file is relative to the task's own file")
    _check_text(path)
    with told(path), quiet_mujoco():
        return engine().MjSpec.from_file(str(path))


def check_model(model: Any, name: str) -> None:
    """Raise ModelError for a model that cannot be controlled, naming what it lacks."""
    if not model.nu:
        raise ModelError(
            f"{name} has no actuators: add an <actuator> section, or servos in the task's edit() "
            "(envs.tasks.scene.servos)"
        )
    wide = model.actuator_ctrlrange[:, 1] > model.actuator_ctrlrange[:, 0]
    if (free := np.flatnonzero(~wide)).size:
        which = ", ".join(_named(model, "actuator", int(i)) for i in free[:5])
        raise ModelError(
            f"{name}: actuators without a range: {which}; give each a ctrlrange, which actions "
            "from -1 to 1 span"
        )
    if not 0 < model.opt.timestep < 1:
        raise ModelError(f"{name}: timestep is {model.opt.timestep:g} s; 0.001 to 0.01 is usual")
    turned = model.jnt_range[:, 0] > model.jnt_range[:, 1]
    if turned.any():
        joint = _named(model, "joint", int(np.flatnonzero(turned)[0]))
        raise ModelError(f"{name}: the range of joint {joint} is upside down: lower end first")
    for field in ("body_mass", "body_inertia", "qpos0", "jnt_range", "actuator_ctrlrange"):
        if not np.isfinite(getattr(model, field)).all():
            raise ModelError(f"{name}: {field} is not finite; mend the numbers in the file")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What MuJoCo says of a file, in one line with what to do."""
    try:
        yield
    except Exception as error:  # ValueError, FatalError, and whatever its bindings raise
        said = " ".join(str(error).split())
        advice = next((do for part, do in ADVICE.items() if part in said.lower()), "mend it there")
        raise ModelError(f"{path.name}: {said}; {advice}") from error


def _named(model: Any, kind: str, index: int) -> str:
    return getattr(model, kind)(index).name or f"{kind} {index}"


def _check_text(path: Path) -> None:
    """Refuse what would be expanded without end: huge files, replicates, circles of includes."""
    files, todo = set(), [path]
    copies = 1
    while todo:
        file = todo.pop().resolve()
        if file in files:
            raise ModelError(
                f"{path.name} includes {file.name} twice or in a circle; include it once"
            )
        files.add(file)
        if not file.is_file():
            raise ModelError(f"{path.name} includes {file.name}, which is not there")
        if len(files) > MOST_INCLUDES or file.stat().st_size > MOST_BYTES:
            raise ModelError(
                f"{file.name}: at most {MOST_BYTES >> 20} MiB a file and {MOST_INCLUDES} included"
            )
        text = file.read_text("utf-8", errors="replace")
        for count in _REPLICATE.findall(text):
            copies *= max(1, int(count))
        if copies > MOST_COPIES:
            raise ModelError(
                f"{file.name}: <replicate> makes {copies:.0e} copies, at most {MOST_COPIES}"
            )
        todo += [Path(os.path.join(file.parent, name)) for name in _INCLUDE.findall(text)]
