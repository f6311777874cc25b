"""Who may import whom, and that importing does nothing.

`wm`, `planning` and `envs` know nothing of each other, `agents` composes them, `scripts` calls
`agents`; what `--help` needs loads no jax.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "wm": {"wm"},
    "planning": {"planning"},
    "envs": {"envs"},
    "agents": {"agents", "wm", "planning", "envs"},
    "scripts": {"scripts", "agents", "wm", "planning", "envs"},
}
PARTS = tuple(MAY_IMPORT)
JAX = {"jax", "jaxlib", "flax", "optax", "orbax"}
GL = ("OpenGL", "glfw", "mujoco.egl", "mujoco.osmesa", "mujoco.glfw", "dm_control._render")
SET_BY_OTHERS = {"TF_CPP_MIN_LOG_LEVEL", "PYGAME_HIDE_SUPPORT_PROMPT"}
"""By jax and by gymnasium, when they are imported."""

IMPORT_ALL = """
import importlib, json, os, pkgutil, sys
before = dict(os.environ)
part, heavy = sys.argv[1], json.loads(sys.argv[2])
package = importlib.import_module(part)
for module in pkgutil.walk_packages(package.__path__, part + "."):
    importlib.import_module(module.name)
changed = sorted(k for k in os.environ.keys() | before if os.environ.get(k) != before.get(k))
loaded = [name for name in heavy if name in sys.modules]
sys.stdout.flush()
sys.stderr.write("\\nREPORT " + json.dumps({"changed": changed, "loaded": loaded}))
"""


def files(part: str) -> list[Path]:
    """The source files of one package."""
    found = sorted((ROOT / part).rglob("*.py"))
    assert found, f"{part}/ holds no source"
    return found


def names(node: ast.AST, source: Path) -> list[str]:
    """Modules one statement imports; a relative import counts as the package it is in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level:
        return [source.relative_to(ROOT).parts[0]]
    return [node.module or ""]


def at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes that run when a module is imported: not function bodies, not TYPE_CHECKING blocks."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from at_import(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import(handler.body)


def tree(source: Path) -> ast.Module:
    """A parsed file."""
    return ast.parse(source.read_text("utf-8"), str(source))


def run_python(*args: str) -> subprocess.CompletedProcess:
    """A fresh interpreter, away from the sources, on the CPU."""
    env = {k: v for k, v in os.environ.items() if k not in {*SET_BY_OTHERS, "MUJOCO_GL"}}
    command = [sys.executable, *args]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


@pytest.mark.parametrize("part", PARTS)
def test_imports_go_one_way(part):
    """No import, not even inside a function, goes against the layers."""
    forbidden = set(PARTS) - MAY_IMPORT[part]
    found = [
        f"{source.relative_to(ROOT)}:{node.lineno} imports {name}"
        for source in files(part)
        for node in ast.walk(tree(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in names(node, source)
        if name.split(".")[0] in forbidden
    ]
    assert not found, f"{part} may import only {sorted(MAY_IMPORT[part])}: " + "; ".join(found)


def test_environments_know_no_jax():
    """Tasks get their array module as an argument; simulators run without jax, but for MJX.

    Those import it inside functions (`test_importing_does_nothing`), and nothing imports them.
    """
    found = [
        f"{source.relative_to(ROOT)}:{node.lineno} imports {name}"
        for source in files("envs")
        if source.parent.name != "mjx"
        for node in ast.walk(tree(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in names(node, source)
        if name.split(".")[0] in JAX
    ]
    assert not found, "; ".join(found)


def test_what_help_needs_imports_no_jax():
    """Settings, package files and command lines import jax at most inside functions."""
    light = files("scripts")
    light += [s for p in PARTS for s in files(p) if s.name in ("config.py", "__init__.py")]
    found = [
        f"{source.relative_to(ROOT)} imports {name}"
        for source in light
        for node in at_import(tree(source).body)
        for name in names(node, source)
        if name.split(".")[0] in JAX
    ]
    assert not found, "; ".join(found)


def test_commands_load_no_jax():
    """Neither directly nor through what they import (a quarter of a second, not two)."""
    sources = [s.relative_to(ROOT).with_suffix("") for s in files("scripts")]
    modules = [".".join(s.parts) for s in sources if s.stem != "__init__"]
    code = (
        f"import sys, {', '.join(modules)}\nprint([m for m in {sorted(JAX)} if m in sys.modules])"
    )
    run = run_python("-c", code)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("part", PARTS)
def test_importing_does_nothing(part):
    """Every module of a package: silent, leaves the environment alone, touches no GL."""
    heavy = [*GL, *(JAX if part == "envs" else ())]
    run = run_python("-c", IMPORT_ALL, part, json.dumps(heavy))
    said, _, report = run.stderr.partition("\nREPORT ")
    assert run.returncode == 0, run.stderr
    assert (run.stdout, said) == ("", ""), "importing printed something"
    result = json.loads(report)
    assert not set(result["changed"]) - SET_BY_OTHERS, f"importing {part} set environment variables"
    assert not result["loaded"], f"importing {part} loads {result['loaded']}"
