"""Which modules ids may import: what was typed, and nothing that a file says."""

import ast
import sys
from pathlib import Path

import pytest

import envs
from envs import imports
from envs.registry import make_spec, make_vec
from envs.spec import UnknownTaskError

ROOT = Path(envs.__file__).parents[1]
MODULE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
"""
NOT_IDS = {  # module names in our own code, and verbs
    "agents/jobs/children.py",
    "agents/jobs/worker.py",
    "agents/data/minari.py",
    "envs/adapters/ogbench.py",
    "envs/native/render.py",
    "scripts/cli.py",
    "scripts/command.py",
    "scripts/completion.py",
}


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """A module `strange` that can be imported, and the file it makes when it is."""
    (tmp_path / "strange.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "strange", raising=False)
    imports.permit(())
    yield tmp_path / "ran"
    imports.permit(())
    sys.modules.pop("strange", None)


@pytest.mark.parametrize(
    "env_id",
    [
        "strange:Arm-v0",
        "multi:strange:Arm-v0,Pendulum-v1",
        "multi:Pendulum-v1,strange:Arm-v0@Pendulum-v1",
        "os:x,strange:Arm-v0",
        "strange@os:Arm-v0",
        " strange:Arm-v0",
        "dmc/strange:Arm-v0",
        "latentmpc/strange:Arm-v0-v0",
    ],
)
@pytest.mark.parametrize("make", [make_spec, lambda env_id: make_vec(env_id, 2)])
def test_an_id_alone_imports_nothing(strange, env_id, make):
    with pytest.raises(envs.spec.EnvError):
        make(env_id)
    assert not strange.exists()


def test_the_refusal_says_what_to_type(strange):
    imports.permit(["another"], "type --env-id {id} or --trust")
    with pytest.raises(UnknownTaskError, match=r"type --env-id 'strange:Arm v0' or --trust$"):
        make_spec("strange:Arm v0")
    assert not strange.exists()


@pytest.mark.parametrize("permitted", [["strange"], [imports.ANY]])
def test_what_was_typed_is_imported(strange, permitted):
    imports.permit(permitted)
    with pytest.raises(UnknownTaskError, match="registers no 'Arm-v0'"):
        make_spec("strange:Arm-v0")
    assert strange.exists()


def test_a_module_that_is_imported_already_needs_no_permission(strange):
    __import__("strange")
    with pytest.raises(UnknownTaskError, match="registers no 'Arm-v0'"):
        make_spec("strange:Arm-v0")


@pytest.mark.parametrize("code", ["raise ValueError('no such arm')", "syntax error"])
def test_a_module_that_fails_is_told_in_one_line(strange, code):
    strange.with_name("strange.py").write_text(code)
    imports.permit(["strange"])
    with pytest.raises(UnknownTaskError, match=r"cannot import 'strange' \("):
        make_spec("strange:Arm-v0")


@pytest.mark.parametrize(
    ("typed", "modules"),
    [
        ("my_envs:Arm-v0", ["my_envs"]),
        ("multi:a.b:A-v0,walker-walk, c:C-v0@c:C-v0", ["a.b", "c", "c"]),
        ("ogbench:cube-single-v0", []),
        ("walker-walk", []),
        (":", []),
        ("", []),
    ],
)
def test_modules_of_what_was_typed(typed, modules):
    assert imports.modules_of(typed) == modules


def test_ids_are_the_only_text_that_could_be_imported():
    """Whoever imports by name names what is in our own code."""
    found = set()
    for part in ("agents", "envs", "planning", "scripts", "wm"):
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                called = node.func if isinstance(node, ast.Call) else None
                name = getattr(called, "attr", None) or getattr(called, "id", "")
                builtin = isinstance(called, ast.Name) and name in ("eval", "exec", "__import__")
                if builtin or name == "import_module":
                    found.add(str(path.relative_to(ROOT)))
    assert found == NOT_IDS | {"envs/imports.py"}
