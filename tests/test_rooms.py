"""The rooms of `agents/`: imports go one way, nothing private crosses a wall, no room is a hall."""

import ast
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("wm", "planning", "envs", "agents", "scripts")
ORDER = (
    ("storage",),
    ("reports",),
    ("runs",),
    ("acting", "jobs"),
    ("evaluation",),
    ("training", "data"),
    ("pretraining", "goals"),
    ("inspection", "benchmarks", "deployment", "machine", "robots"),
)
"""A room imports itself and what stands before it; rooms of one group do not know each other."""
LEVEL = {room: level for level, group in enumerate(ORDER) for room in group}
MOST_FILES = 15


def sources() -> dict[str, Path]:
    """Every module by its dotted name; a package by its own."""
    found = {}
    for part in PARTS:
        for file in (ROOT / part).rglob("*.py"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


MODULES = sources()


@cache
def imported(file: Path, *, running: bool = False) -> list[tuple[int, str, str]]:
    """(line, module, name) of every import of ours, those inside functions included.

    `running`: only those that run when the module is imported.
    """
    found: list[tuple[int, str, str]] = []
    nodes: list[ast.AST] = [ast.parse(file.read_text("utf-8"))]
    while nodes:
        node = nodes.pop()
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if running and (inside or typing):
            continue
        nodes += list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, "") for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                pair = (whole, "") if whole in MODULES else (node.module, alias.name)
                found.append((node.lineno, *pair))
    return [one for one in found if one[1] in MODULES]


def room(module: str) -> str | None:
    """The room a module of `agents` lies in."""
    parts = module.split(".")
    return parts[1] if parts[0] == "agents" and len(parts) > 1 else None


def test_every_room_has_its_place_and_says_its_job():
    rooms = {room(name) for name in MODULES} - {None}
    assert rooms == set(LEVEL)
    for name in (f"agents.{one}" for one in rooms):
        said = ast.get_docstring(ast.parse(MODULES[name].read_text("utf-8")))
        assert said and "\n" not in said.split("\n\n")[0], f"{name} must say its job in a sentence"


def test_rooms_import_only_what_stands_before_them():
    wrong = [
        f"{name}:{line} imports {target}"
        for name, file in MODULES.items()
        for line, target, _ in imported(file)
        for mine, theirs in [(room(name), room(target))]
        if mine and theirs and mine != theirs and LEVEL[theirs] >= LEVEL[mine]
    ]
    assert not wrong, "; ".join(wrong)


def test_no_circle_of_imports():
    graph = {
        name: {target for _, target, _ in imported(file) if target != name}
        for name, file in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_private_name_crosses_a_wall():
    wrong = [
        f"{name}:{line} imports {what or target}"
        for name, file in MODULES.items()
        for line, target, what in imported(file)
        if name.rpartition(".")[0] != target.rpartition(".")[0]
        and any(part.startswith("_") for part in (what, target.rpartition(".")[2]))
    ]
    assert not wrong, "; ".join(wrong)


def test_no_room_is_a_hall():
    count = Counter(f.parent for f in MODULES.values() if f.name != "__init__.py")
    halls = {str(k.relative_to(ROOT)): n for k, n in count.items() if n > MOST_FILES}
    assert set(halls) <= {"scripts"}, halls
    assert halls.get("scripts", 0) <= 30, "one thin file a verb"
