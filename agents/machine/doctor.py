"""Is this machine ready: one finding a check, each with what to type. Changes nothing."""

import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from agents.jobs import children
from envs.cores import usable_cores

Status = Literal["ok", "warn", "fail"]
IMPORT_NAMES = ("agents", "envs", "planning", "scripts", "wm")

GL_BACKENDS = ("egl", "osmesa", "glfw")
GL_PACKAGES = {"egl": "libegl1 libgl1", "osmesa": "libosmesa6", "glfw": "libglfw3 (and a display)"}
RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='.3' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
assert renderer.render().max() > 0, "the image is black"
"""
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """Outcome of one check."""

    name: str
    status: Status
    text: str
    """The state of things."""
    fix: str = ""
    """A command to type; empty when nothing need be done."""


def examine(path: str = ".") -> list[Finding]:
    """All checks. `path` is where runs will be written. Takes some seconds; raises nothing."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "python": check_python,
        "packages": check_packages,
        "import names": check_import_names,
        "devices": check_devices,
        "rendering": check_rendering,
        "disk": lambda: check_disk(path),
        "machine": check_machine,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings += check()
        except Exception as error:
            findings.append(Finding(name, "warn", f"could not be checked: {_line(error)}"))
    return findings


def check_python() -> list[Finding]:
    """Python is one of the tested versions."""
    text = f"{sys.version.split()[0]} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return [Finding("python", "ok", text)]
    return [
        Finding("python", "fail", f"{text}; 3.11 or 3.12 needed", "make setup PYTHON=python3.12")
    ]


def check_packages() -> list[Finding]:
    """The requirements of latentmpc are installed, in a version that it was written for."""
    missing, other, same = [], [], 0
    for needed in requirements():
        found = _installed(needed.name)
        if found is None:
            missing.append(needed.name)
        elif not needed.specifier.contains(found, prereleases=True):
            other.append(f"{needed.name} {found} (needs {needed.specifier})")
        else:
            same += 1
    fix = f"{_pip()} install --upgrade latentmpc"
    findings = []
    if missing:
        findings.append(Finding("packages", "fail", f"missing: {_some(missing)}", fix))
    if other:
        findings.append(Finding("packages", "warn", f"not as required: {_some(other)}", fix))
    return findings or [Finding("packages", "ok", f"all {same} as required")]


def requirements() -> list[Requirement]:
    """Requirements of the installed latentmpc here, without its extras."""
    found = map(Requirement, metadata.requires("latentmpc") or [])
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def check_import_names() -> list[Finding]:
    """No other distribution installs a package under one of our import names."""
    owners = metadata.packages_distributions()
    findings = []
    for name in IMPORT_NAMES:
        others = sorted({owner for owner in owners.get(name, []) if owner != "latentmpc"})
        if others:
            text = f"`import {name}` is also owned by {', '.join(others)}"
            fix = f"{_pip()} uninstall {' '.join(others)} (or use a virtual environment of its own)"
            findings.append(Finding("import names", "fail", text, fix))
    return findings or [Finding("import names", "ok", f"{', '.join(IMPORT_NAMES)} are ours alone")]


def check_devices() -> list[Finding]:
    """Devices of JAX; a GPU that JAX does not see is a warning."""
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        return [Finding("devices", "fail", _line(error), "JAX_PLATFORMS=cpu latentmpc doctor")]
    text = f"jax {jax.__version__}: " + ", ".join(str(device) for device in devices)
    has_gpu = shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()
    if has_gpu and all(device.platform == "cpu" for device in devices):
        fix = f'{_pip()} install "jax[cuda13]=={jax.__version__}"'
        return [Finding("devices", "warn", f"{text}; there is a GPU that jax does not see", fix)]
    return [Finding("devices", "ok", text)]


def check_rendering(backends: tuple[str, ...] = GL_BACKENDS) -> list[Finding]:
    """Which OpenGL back-ends render a small scene, each tried in a process of its own."""
    failures = {backend: try_backend(backend) for backend in backends}
    working = [backend for backend, failure in failures.items() if not failure]
    findings = []
    for backend, failure in failures.items():
        if not failure:
            findings.append(Finding(f"GL {backend}", "ok", "renders"))
        elif working and backend == (os.environ.get("MUJOCO_GL") or "egl"):
            text = f"is what would be used, and does not work: {failure}"
            fix = f"export MUJOCO_GL={working[0]}"
            findings.append(Finding(f"GL {backend}", "warn", text, fix))
        elif working:
            text = f"not available, not needed as {working[0]} renders ({failure})"
            findings.append(Finding(f"GL {backend}", "ok", text))
        else:
            fix = f"sudo apt-get install {GL_PACKAGES.get(backend, backend)}"
            findings.append(Finding(f"GL {backend}", "warn", f"no videos: {failure}", fix))
    return findings


def try_backend(backend: str, timeout: float = 60.0) -> str:
    """Why a GL back-end does not render, or "" if it does. `timeout` in seconds."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    command = children.python(RENDER)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {timeout:.0f} s"
    if done.returncode == 0:
        return ""
    errors = [
        line for line in done.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)", line)
    ]
    return _line(errors[0] if errors else f"exit status {done.returncode}")


def check_disk(path: str = ".") -> list[Finding]:
    """Runs can be written at `path` and there is space for them."""
    place = Path(path).resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / GIB
    text = f"{free:.1f} GiB free at {place}"
    if not os.access(place, os.W_OK):
        return [Finding("disk", "fail", f"{place} cannot be written", "use another --run-dir")]
    if free < 0.5:
        return [Finding("disk", "fail", text, "free some space, or use another --run-dir")]
    if free < 5:
        return [Finding("disk", "warn", text, "long runs write up to 5 GiB: use another --run-dir")]
    return [Finding("disk", "ok", text)]


def check_machine() -> list[Finding]:
    """Cores this process may use, and memory."""
    cores = usable_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    text = f"{cores} cores, {memory:.0f} GiB memory"
    if memory < 3.5:
        return [Finding("machine", "warn", text, "use --preset tiny and --replay-capacity 200000")]
    return [Finding("machine", "ok", text)]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _pip() -> str:
    return f"{sys.executable} -m pip"


def _some(names: list[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _line(error: object, most: int = 120) -> str:
    """First line of a message, shortened."""
    line = (str(error).strip().splitlines() or ["unknown error"])[0]
    return line if len(line) <= most else line[: most - 3] + "..."
