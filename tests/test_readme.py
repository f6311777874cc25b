"""Every command that the documents show exists, with its flags; so does every file they name."""

import ast
import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from scripts import command
from scripts.cli import VERBS, verb_of

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^]]*\]\(([^)#]+)(?:#[^)]*)?\)")
SOURCE = re.compile(r"`((?:agents|envs|planning|scripts|wm|tests|docs)/[\w./-]*)`")
INLINE = re.compile(r"`((?:latentmpc|make) [^`\n]+)`")
MOST_FLAGS = 5
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|[<>|…]|\.\.\.")


class Parsed(Exception):
    """Raised in place of running a command whose flags were accepted."""


def commands() -> list[tuple[str, str]]:
    """(document, command) of every shell block and every inline command without placeholders."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        lines = [
            line
            for language, body in FENCE.findall(text)
            if language in ("bash", "console", "sh")
            for line in body.replace("\\\n", " ").splitlines()
        ]
        prose = FENCE.sub("", text)
        lines += [c for c in INLINE.findall(prose) if not PLACEHOLDER.search(c)]
        found += [(document.name, line.strip().removeprefix("$ ")) for line in lines]
    return [(name, line) for name, line in dict.fromkeys(found) if words(line)]


def words(line: str) -> list[str]:
    """The command without its comment and without leading VAR=value settings."""
    tokens = shlex.split(line, comments=True)
    while tokens and (re.fullmatch(r"\w+=.*", tokens[0]) or tokens[0] in ("time", "nice")):
        tokens.pop(0)
    return tokens


def accept(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a `latentmpc` command line without running it; fails when it is refused."""
    assert args, "which verb?"
    if args[0] in ("--help", "--version"):
        return
    assert args[0] in VERBS, f"no verb {args[0]}"
    real = command.parse

    def parse(*given):
        real(*given)
        raise Parsed

    monkeypatch.setattr(command, "parse", parse)
    with pytest.raises((Parsed, SystemExit)) as stopped:
        command.run(*verb_of(args))
    assert getattr(stopped.value, "code", 0) in (0, None)


@pytest.mark.parametrize(("document", "line"), commands())
def test_shown_command_exists(document, line, monkeypatch, capsys):
    """Verbs and flags parse; make targets exist; the rest names files that exist."""
    for part in re.split(r" (?:&&|;) ", shlex.join(words(line)).replace("'&&'", "&&")):
        name, *args = words(part)
        if Path(name).name == "latentmpc":
            accept(args, monkeypatch)
        elif name == "make":
            run = subprocess.run(
                ["make", "-n", "-C", str(ROOT), *args], capture_output=True, text=True
            )
            assert run.returncode == 0, run.stderr
        elif Path(name).name.startswith("python") and args[:1] == ["-m"]:
            module = args[1].replace(".", "/")
            ours = (ROOT / f"{module}.py").is_file() or (ROOT / module).is_dir()
            assert ours or args[1] in ("pytest", "venv", "pip"), f"no module {args[1]}"
        elif name == "curl":
            page = re.search(r"://[^/]+(/\w+)", args[-1])
            assert page and f'"{page[1]}"' in (
                ROOT / "agents/deployment/serving/http.py"
            ).read_text("utf-8")
        else:
            assert name in ("source", "cd", "git", "pip"), f"unknown command in {document}: {line}"


def test_commands_are_short():
    """At most five flags; what needs more is a recipe."""
    flags = {line: sum(w.startswith("--") for w in words(line)) for _, line in commands()}
    long = [line for line, count in flags.items() if count > MOST_FLAGS]
    assert not long, "make these recipes (scripts/recipes): " + "; ".join(long)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document):
    """Links inside the repository, and source paths in backquotes."""
    text = document.read_text("utf-8")
    prose = FENCE.sub("", text)
    missing = [
        target
        for target in LINK.findall(prose)
        if "://" not in target and not (document.parent / target.replace("\\", "")).exists()
    ]
    missing += [path for path in SOURCE.findall(prose) if not (ROOT / path).exists()]
    assert not missing, f"{document.name} names what is not there: {missing}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_examples_parse(document):
    """Code blocks are Python."""
    for language, body in FENCE.findall(document.read_text("utf-8")):
        if language == "python":
            ast.parse(body, document.name)


def test_readme_is_short():
    """One sitting."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_every_make_target_is_explained():
    """`make help` lists each target that is meant to be typed."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared is not None
    run = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True)
    listed = set(re.findall(r"^  make (\S+)", run.stdout, re.MULTILINE))
    assert listed == set(declared[1].split())


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("planning.rollout", "score"),
        ("planning.types", "Plan"),
        ("planning.types", "PlanInfo"),
        ("wm.types", "LatentModel"),
    ],
)
def test_examples_call_what_exists(module, name):
    """The names the planner and model examples build on."""
    assert hasattr(import_module(module), name)


def test_the_task_of_the_readme_runs(monkeypatch):
    """The example task, copied as it is, steps in batched simulators and rewards what it says."""
    from envs import tasks
    from envs.native.env import make_native
    from envs.tasks.rewards import tolerance

    blocks = FENCE.findall((ROOT / "README.md").read_text("utf-8"))
    (source,) = (body for _, body in blocks if "(Task)" in body)
    scope = {"Task": tasks.Task, "Start": tasks.Start, "tolerance": tolerance, "np": np}
    exec(source, scope)
    spin = tasks.TaskDef("pendulum", scope["Spin"], (("all", 3),), 1, 0.02, 1, 20)
    monkeypatch.setitem(tasks.TASKS, "pendulum-spin", spin)
    env = make_native("pendulum-spin", 3, seed=0)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (3, 3)
    obs, reward, terminated, truncated, _ = env.step(np.ones((3, 1), np.float32))
    np.testing.assert_allclose(np.hypot(obs[:, 0], obs[:, 1]), 1.0)
    assert ((reward >= 0) & (reward <= 2)).all()
    assert not (terminated | truncated).any()
    env.close()


def test_the_gymnasium_example_of_the_readme_runs():
    """Both environments are made and can be reset."""
    blocks = FENCE.findall((ROOT / "README.md").read_text("utf-8"))
    (source,) = (body for language, body in blocks if language == "python" and "make_vec" in body)
    scope = {}
    exec(source, scope)
    assert scope["one"].reset(seed=0)[0].shape == (17,)
    assert scope["many"].reset(seed=0)[0].shape == (64, 17)
    scope["one"].close()
    scope["many"].close()
