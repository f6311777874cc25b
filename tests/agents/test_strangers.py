"""Runs, bundles and folders from strangers: nothing in them or beside them is executed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scripts
from agents.deployment.bundle.files import CONTRACT, manifest_of
from agents.deployment.controller import Controller
from agents.jobs import children
from agents.jobs.queue import JobQueue
from agents.reports.plots import figure
from agents.runs.load import find_checkpoint
from agents.storage import checkpoint
from agents.storage.manifest import MANIFEST
from scripts.cli import main

ROOT = Path(scripts.__file__).parents[1]
PLANTED = ("json", "mujoco", "numpy", "jax", "ctypes", "gymnasium", "agents", "scripts")
SENTINEL = "with open({path!r}, 'a'): pass\n"


@pytest.fixture(scope="module")
def strange(tiny_run, tiny_bundle, tmp_path_factory):
    """A run and a bundle, valid down to the last digest, whose task is strange:Arm-v0."""
    folder, found = tmp_path_factory.mktemp("strange"), find_checkpoint(str(tiny_run))
    stored, spec = (checkpoint.read_json(found, name) for name in ("config.json", "spec.json"))
    stored["settings"]["env_id"] = spec["env_id"] = "strange:Arm-v0"
    arrays = checkpoint.restore(found)
    checkpoint.save(folder / "run" / "checkpoints", 1, arrays, config=stored, spec=spec)
    (folder / "run" / "config.json").write_text(json.dumps(stored | {"env": spec}))
    content = {path.name: path.read_bytes() for path in Path(tiny_bundle.path).iterdir()}
    del content[MANIFEST]
    contract = json.loads(content[CONTRACT])
    for part in (contract, contract["spec"], contract["settings"]):
        part["env_id"] = "strange:Arm-v0"
    content[CONTRACT] = json.dumps(contract).encode()
    (folder / "bundle").mkdir()
    for name, data in {**content, MANIFEST: manifest_of(content)}.items():
        (folder / "bundle" / name).write_bytes(data)
    return folder


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """The file that the module `strange`, which can be imported, makes when it is."""
    (tmp_path / "strange.py").write_text(SENTINEL.format(path=str(tmp_path / "ran")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path / "ran"
    sys.modules.pop("strange", None)


@pytest.mark.parametrize(
    ("verb", "typed"),
    [
        ("eval {run}", "--env-id strange:Arm-v0"),
        ("eval {run} --mode random", "--trust"),
        ("play {run}", "--env-id strange:Arm-v0"),
        ("play {bundle}", "--trust"),
        ("run {run} --rate 50", "--trust"),
        ("run {bundle} --rate 50", "--env strange:Arm-v0"),
        ("inspect {run}", "--trust"),
        ("bench --runs {run} --jobs 0", "strange:Arm-v0"),
        ("sweep {run} --grid planner.horizon=1 --jobs 0", "--trust"),
        ("profile {run}", "--trust"),
        ("export {run}", "--trust"),
    ],
)
def test_a_stored_task_imports_nothing(strange, ran, tmp_path, capsys, verb, typed):
    """One line says what to type, and that works: the module is then asked for the task."""
    names = {name: strange / name for name in ("run", "bundle")}
    words = verb.format(**names).split()
    words += ["--out", str(tmp_path / "out")] * (words[0] not in ("play", "run", "profile"))
    code, said = main(words), capsys.readouterr().err
    assert not ran.exists()
    last = said.splitlines()[-1]
    assert code == 2 and "'strange:Arm-v0' was not typed" in last and typed in last, said
    assert main([*words, *typed.split()]) in (2, 4)
    assert ran.exists() and "registers no 'Arm-v0'" in capsys.readouterr().err


def test_a_controller_of_a_strange_bundle_imports_nothing(strange, ran):
    assert Controller.load(str(strange / "bundle"), trust=True).contract.env_id == "strange:Arm-v0"
    assert not ran.exists()


def test_a_settings_file_is_not_what_was_typed(ran, tmp_path, capsys):
    settings = tmp_path / "settings.toml"
    settings.write_text('env_id = "strange:Arm-v0"')
    assert main(["train", "--config", str(settings), "--run-dir", str(tmp_path / "run")]) == 2
    assert "type latentmpc train strange:Arm-v0" in capsys.readouterr().err
    assert not ran.exists()


def recipe(folder, text):
    """A recipe of one stage."""
    file = folder / "strange.toml"
    file.write_text(f"[stages.one]\n{text}\n")
    return str(file)


@pytest.mark.parametrize("words", ["recipe run {file} --out {out}", "train --recipe {file}/one"])
def test_a_recipe_is_not_what_was_typed(ran, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    file = recipe(tmp_path, 'verb = "train"\nenv_id = "strange:Arm-v0"\nrun_dir = "{out}/run"')
    assert main(words.format(file=file, out="elsewhere").split()) == 2
    assert "type latentmpc train strange:Arm-v0" in capsys.readouterr().err
    assert not ran.exists()
    assert main(["train", "strange:Arm-v0", "--recipe", file]) == 2
    assert ran.exists() and "registers no 'Arm-v0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('verb = "train strange:Arm-v0"', "must be a verb alone"),
        ('verb = "eval --trust"', "must be a verb alone"),
        ('verb = "train"\nenv_id = "{out},strange:Arm-v0"', "env_id is no path"),
        ('verb = "train"\n"env-id=strange:Arm-v0" = "{out}"', "unexpected argument"),
        ('verb = "eval"\npath = "."\ntrust = true', "unknown key"),
        ('verb = "eval"\npath = "."\ntrust = "{out}"', "unknown key"),
        ('verb = "run"\npath = "."\ntrust = true', "trust is for the command line"),
        ('verb = "serve"\npath = "."\ndigest = "00"', "digest is for the command line"),
    ],
)
def test_a_recipe_types_nothing_on_the_users_behalf(ran, tmp_path, capsys, text, told):
    out = tmp_path / "out"
    assert main(["recipe", "run", recipe(tmp_path, text), "--out", str(out)]) == 2
    assert told in capsys.readouterr().err
    assert not ran.exists() and not out.exists()


@pytest.mark.parametrize("line", ["trust = true", 'digest = "00"'])
@pytest.mark.parametrize("verb", ["run", "serve"])
def test_no_file_vouches_for_files(strange, tmp_path, capsys, verb, line):
    settings = tmp_path / "settings.toml"
    settings.write_text(line)
    assert main([verb, str(strange / "bundle"), "--config", str(settings)]) == 2
    assert f"{line.split()[0]} is for the command line" in capsys.readouterr().err


def slow(line):
    return pytest.param(line, marks=pytest.mark.slow)


@pytest.fixture
def planted(tmp_path):
    """A folder to stand in, with modules that must not run, and the file they would make."""
    folder = tmp_path / "planted"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(SENTINEL.format(path=str(tmp_path / "ran")))
    (folder / "matplotlibrc").write_text("text.usetex: True\n")
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "doctor",
        "run {run} --rate 50 --episodes 1 --seconds 0.2 --mode prior --out {out}",
        slow("bench cartpole-swingup --agents zero --seeds 0 --episodes 1 --jobs 1 --out {out}"),
        slow("sweep {checkpoint} --grid planner.horizon=1 --episodes 2 --jobs 1 --out {out}"),
        slow("collect cartpole-swingup --episodes 3 --steps 4 --size 16 --jobs 1 --out {out}"),
        slow("eval {run} --episodes 1 --mode zero --out {out}"),
    ],
)
def test_the_folder_one_stands_in_does_not_run(line, planted, tiny_run, tmp_path):
    """Neither in the command nor in what it starts."""
    checkpoint = find_checkpoint(str(tiny_run))
    words = line.format(run=tiny_run, checkpoint=checkpoint, out=tmp_path / "out").split()
    command = [Path(sys.executable).with_name("latentmpc"), *words]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=planted, env=env, capture_output=True, text=True)
    assert not (tmp_path / "ran").exists(), done.stderr
    assert done.returncode in (0, 5), done.stderr


def test_children_of_libraries_do_not_run_the_folder_either(planted, tmp_path):
    """GLFW's bindings start a Python of their own when they are imported."""
    code = "from scripts import cli; cli.main(); import glfw, subprocess, sys\n"
    code += "subprocess.run([sys.executable, '-c', 'import json'], check=True)"
    command = children.python(f"import sys; sys.argv[1:] = ['--version']; {code}")
    subprocess.run(command, cwd=planted, check=True, capture_output=True)
    assert not (tmp_path / "ran").exists()


def test_workers_do_not_run_the_folder_either(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(planted)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "jobs"))
    work = [{"x": x} for x in (1, 2)]
    with JobQueue("executor_workers:square", tmp_path / "points", jobs=2) as session:
        done = session.submit(work)
    assert [outcome.result and outcome.result["y"] for outcome in done] == [1, 4]
    assert not (tmp_path / "ran").exists()


def test_children_import_from_where_their_parent_does(tmp_path, monkeypatch):
    (tmp_path / "known.py").write_text("def say(word): print(word)")
    monkeypatch.syspath_prepend(str(tmp_path))
    command = children.calling("known:say", "hello")
    assert subprocess.run(command, capture_output=True, text=True).stdout == "hello\n"


def test_one_place_starts_python():
    """Every other one asks `agents.jobs.children` for its command line."""
    sources = [
        p
        for part in ("agents", "envs", "planning", "scripts", "wm")
        for p in (ROOT / part).rglob("*.py")
    ]
    found = {p.name for p in sources if "[sys.executable" in p.read_text()}
    assert found == {"children.py"}


def test_names_in_figures_are_not_mathematics():
    label = r"$\frac$ $x^2$ \badcommand{"

    def draw(axes):
        axes.plot([1, 10, 1000], [1e-3, 1, 1e6], label=label)
        axes.set(xlabel=label, title=label, xscale="log", yscale="log")
        axes.set_xticks([1, 10], [label, label])
        axes.annotate(label, (1, 1))
        axes.legend()

    assert figure(draw).startswith("<svg")
