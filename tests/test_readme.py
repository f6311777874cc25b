"""Commands, flags, files, links and imports that the documents show exist, and examples run."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from markdown.extensions.toc import slugify

from agents.runs.settings import flat_types
from scripts import command
from scripts.cli import VERBS, verb_of

ROOT = Path(__file__).resolve().parent.parent
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
DOCUMENTS = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^]]*\]\(([^)#\s]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*?)(?: \{ #(\S+) \})?$", re.MULTILINE)
SOURCE = re.compile(r"`((?:agents|envs|planning|scripts|wm|tests|docs)/[\w./-]*)`")
INLINE = re.compile(r"`((?:latentmpc|make) [^`\n]+)`")
MOST_FLAGS = 5
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|[<>|…]|\.\.\.")


every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


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

    import_module("scripts.recipes.run")  # it takes the real one, not this for ever
    monkeypatch.setattr(command, "parse", parse)
    monkeypatch.setattr(command, "read_toml", lambda *given: {})  # the reader's own file
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
        elif Path(name).name.startswith("python") and args:
            assert (ROOT / args[0]).is_file(), f"no file {args[0]}"
        elif name == "curl":
            page = re.search(r"://[^/]+(/\w+)", args[-1])
            assert page and f'"{page[1]}"' in (
                ROOT / "agents/deployment/serving/http.py"
            ).read_text("utf-8")
        elif name == "pip" and (extra := re.search(r"\[(\w+)\]", line)):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
            assert extra[1] in project["optional-dependencies"], f"no extra {extra[1]}"
        else:
            known = ("source", "cd", "git", "pip", "export")
            assert name in known, f"unknown command in {document}: {line}"


def test_commands_are_short():
    """At most five flags; what needs more is a recipe."""
    flags = {line: sum(w.startswith("--") for w in words(line)) for _, line in commands()}
    long = [line for line, count in flags.items() if count > MOST_FLAGS]
    assert not long, "make these recipes (scripts/recipes): " + "; ".join(long)


def hooks():
    """What fills the pages of the site."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """What a link to a page may have behind its #."""
    text = FENCE.sub("", hooks().filled(page.read_text("utf-8")))
    found = HEADING.findall(text)
    return {own or slugify(re.sub(r"[`*]", "", title), "-") for title, own in found}


@every_document
def test_named_files_exist(document):
    """Links inside the repository, with their anchors, and source paths in backquotes."""
    prose = FENCE.sub("", document.read_text("utf-8"))
    missing = []
    for name, anchor in LINK.findall(prose):
        page = document.parent / name.replace("\\", "") if name else document
        if "://" in name or name.startswith("mailto:"):
            continue
        if not page.exists() or (anchor and anchor not in anchors(page)):
            missing.append(f"{name}#{anchor}" if anchor else name)
    missing += [path for path in SOURCE.findall(prose) if not (ROOT / path).exists()]
    assert not missing, f"{document.name} names what is not there: {missing}"


@every_document
def test_python_examples_import_what_exists(document, monkeypatch):
    """Code blocks are Python, and what they import is there."""
    monkeypatch.syspath_prepend(ROOT / "docs")  # the client, which pages import
    for language, body in FENCE.findall(document.read_text("utf-8")):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(body, document.name)):
            if isinstance(node, ast.Import):
                [import_module(name.name) for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
    sys.modules.pop("client", None)


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


def example(page: str, contains: str) -> str:
    """The one code block of a page that has this in it."""
    blocks = FENCE.findall((ROOT / page).read_text("utf-8"))
    (found,) = (body for _, body in blocks if contains in body)
    return found


def test_the_example_task_runs(monkeypatch):
    """The example task, copied as it is, steps in batched simulators and rewards what it says."""
    from envs import tasks
    from envs.registry import make_vec

    scope = {}
    exec(example("docs/how-to/own-task.md", "class Spin(Task)"), scope)
    monkeypatch.setitem(tasks.TASKS, "pendulum-spin", scope["Spin"])
    env = make_vec("pendulum-spin", 3, seed=0)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (3, 3)
    obs, reward, terminated, truncated, _ = env.step(np.ones((3, 1), np.float32))
    np.testing.assert_allclose(np.hypot(obs[:, 0], obs[:, 1]), 1.0)
    assert ((reward >= 0) & (reward <= 2)).all()
    assert not (terminated | truncated).any()
    env.close()


def test_the_example_of_a_robot_runs(tmp_path):
    """A class in a file beside its model, copied as it is."""
    from envs import imports
    from envs.registry import make_vec
    from tests.envs.tasks.robots import WALKER

    (tmp_path / "robot.xml").write_text(WALKER)
    (tmp_path / "mine.py").write_text(example("docs/how-to/own-task.md", "class Stand(Task)"))
    env_id = f"{tmp_path}/mine.py:Stand"
    imports.permit(imports.modules_of(env_id))
    env = make_vec(env_id, 2, seed=0)
    env.reset(seed=0)
    assert (env.step(np.zeros((2, 4)))[1] > 0.5).all()
    env.close()
    imports.permit(())


def test_the_arm_of_the_tutorial_gets_its_task(tmp_path):
    """What `new` writes for the page's model runs."""
    from agents.robots.config import NewConfig
    from agents.robots.new import write_task
    from envs import imports
    from envs.registry import make_vec

    (tmp_path / "arm.xml").write_text(example("docs/start/tutorial.md", "<mujoco"))
    config = NewConfig(str(tmp_path / "my_arm.py"), str(tmp_path / "arm.xml"))
    env_id = write_task(config)["task"]
    assert env_id.endswith(":Reach")
    imports.permit(imports.modules_of(env_id))
    env = make_vec(env_id, 2, seed=0)
    env.reset(seed=0)
    assert (env.step(np.ones((2, 2)))[1] >= 0).all()
    env.close()
    imports.permit(())


def test_the_gymnasium_example_runs():
    """Both environments are made and can be reset."""
    scope = {}
    exec(example("docs/how-to/own-task.md", "make_vec"), scope)
    assert scope["one"].reset(seed=0)[0].shape == (17,)
    assert scope["many"].reset(seed=0)[0].shape == (64, 17)
    scope["one"].close()
    scope["many"].close()


def test_the_robot_for_gymnasium_moves(tmp_path, monkeypatch):
    """Its two files, copied as they are, make simulators whose state comes back exactly."""
    from envs import imports
    from envs.registry import make_vec

    (tmp_path / "arm.xml").write_text(example("docs/start/tutorial.md", "<mujoco"))
    source = example("docs/how-to/own-task.md", "(MujocoEnv)")
    (tmp_path / "my_robot.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_now", imports.Permission(("my_robot",)))
    env = make_vec("my_robot:Arm-v0", 2)
    env.reset(seed=0)
    state, push = env.get_state(), np.ones((2, env.env_spec.action_dim), np.float32)
    first = env.step(push)
    env.set_state(state)
    again = env.step(push)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert ((first[1] >= 0) & (first[1] <= 1)).all() and not (first[2] | first[3]).any()
    env.close()
    sys.modules.pop("my_robot")
    gymnasium.registry.pop("Arm-v0")


def test_the_reference_names_every_setting():
    """Each verb has a section, and each of its settings a row, there or on the page of blocks."""
    made = hooks()
    text = made.settings() + "".join(map(made.verbs, made.GROUPS))
    rows = set(re.findall(r"^\| `(.*?)`{ .flag } \|", text, re.MULTILINE))
    for spec in (spec for group in made.GROUPS for spec in made.verbs_of(group)):
        assert f"## {spec.name}" in text
        named = set(flat_types(spec.config)) - set(spec.positional.split())
        shown = {"--" + name.removeprefix("train.").replace("_", "-") for name in named}
        assert shown <= rows, f"{spec.name}: {shown - rows}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """Links, anchors and navigation hold, and every docstring can be rendered."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "start" / "tutorial.html").exists()
