"""The command from outside: exit codes, one-line errors, pure JSON, and what it imports."""

import importlib
import json
import os
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import scripts
from scripts import cli

ROOT = Path(scripts.__file__).parents[1]
HEAVY = (
    "jax",
    "flax",
    "optax",
    "orbax",
    "mujoco",
    "gymnasium",
    "dm_control",
    "matplotlib",
    "scipy",
)


@dataclass
class Task:
    env_id: str
    backend: str = "native"
    obs_dim: int | None = 5
    action_dim: int | None = None
    note: str = ""


class UnknownTask(RuntimeError):
    exit_code = 2


def install(monkeypatch, name, **members):
    """Put a stand-in module where `from name import member` finds it."""
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
    package, _, leaf = name.rpartition(".")
    monkeypatch.setattr(importlib.import_module(package), leaf, module, raising=False)


@pytest.fixture
def train_with(monkeypatch):
    """Replace the simulators and the training by `function(config, console, json_mode)`."""
    import agents.runs.config
    import envs.spec

    assert agents.runs.config and envs.spec

    def use(function):
        def make_spec(env_id, action_repeat=0):
            if env_id == "cartpole-swigup":
                raise UnknownTask("unknown task cartpole-swigup: did you mean cartpole-swingup?")
            return SimpleNamespace(obs_dim=5, action_dim=1, backend="native")

        tasks = [Task("cartpole-swingup"), Task("walker-walk", note="8 joints")]
        install(monkeypatch, "envs.registry", make_spec=make_spec, list_tasks=lambda: tasks)
        install(
            monkeypatch,
            "agents.training.train",
            train=lambda config, *, console, json_mode, **_: function(config, console, json_mode),
        )

    return use


def fail_with(error):
    def function(*_):
        raise error

    return function


def one_line(text):
    assert text.startswith("latentmpc: error: ")
    assert text.count("\n") == 1
    return text.removeprefix("latentmpc: error: ").rstrip("\n")


def test_help_lists_the_verbs(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr()
    assert all(f"\n  {verb} " in said.out for verb in cli.VERBS)
    assert said.err == ""


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_on_standard_output(verb, capsys):
    assert cli.main([verb, "--help"]) == 0
    said = capsys.readouterr()
    assert all(t in said.out for t in (f"latentmpc {verb}", "--config FILE.toml", "--json"))
    assert said.err == ""


def test_all_of_train_is_grouped_and_shows_the_defaults(capsys):
    cli.main(["train", "--help-all"])
    out = capsys.readouterr().out
    groups = ("model options", "learner options", "planner options")
    assert all(text in out for text in (*groups, "ENV", "(default: 50000)", "{simnorm,sigreg}"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            [],
            f"which verb? one of {', '.join(cli.VERBS)} (latentmpc --help)",
        ),
        (["trian"], "unknown verb trian: did you mean train?"),
        (
            ["xyz"],
            f"unknown verb xyz; expected one of {', '.join(cli.VERBS)}",
        ),
        (["tasks", "--colour", "1"], "unknown flag --colour; see latentmpc tasks --help"),
        (["train", "--sed", "1"], "unknown flag --sed: did you mean --seed?"),
        (
            ["train", "--seed", "1"],
            "which task? latentmpc train ENV, as in latentmpc train cartpole-swingup "
            "(latentmpc tasks lists them)",
        ),
        (["eval"], "which run? give a run directory or a checkpoint: latentmpc eval runs/ID"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(argv, message, capsys):
    assert cli.main(argv) == 2
    said = capsys.readouterr()
    assert one_line(said.err) == message
    assert said.out == ""


PROBE = """
import sys
from scripts.cli import main
code = main(sys.argv[1:])
print("HEAVY", [name for name in {heavy} if name in sys.modules])
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("train --help", 0),
        ("eval --help", 0),
        ("train --help-all", 0),
        ("completion bash", 0),
        ("recipes", 0),
        ("train --model.latent-dim 7", 2),
        ("train --config nowhere.toml", 2),
        ("eval no/such/run", 3),
    ],
)
def test_help_and_config_errors_import_nothing_heavy(line, code):
    command = [sys.executable, "-c", PROBE.format(heavy=HEAVY), *line.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_list_of_verbs_needs_no_flag_parser():
    probe = "import sys, scripts.cli as c; c.main(['--help']); sys.exit('tyro' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0


def test_train_passes_the_settings_and_prints_a_summary(train_with, capsys):
    seen = {}

    def train(config, console, json_mode):
        seen.update(config=config, json_mode=json_mode)
        console.print("learning")
        return {
            "return_mean": 812.345678,
            "return_ci95": [800.0, 820.5],
            "plan_ms": {"p50": 3.25},
            "episode_returns": [1.0] * 10,
        }

    train_with(train)
    assert cli.main(["train", "walker-walk", "--seed", "5"]) == 0
    said = capsys.readouterr()
    assert (seen["config"].env_id, seen["config"].run_dir) == ("walker-walk", "runs/walker-walk-5")
    assert not seen["json_mode"]
    for text in ("812.35", "800 to 820.5", "p50 3.25", "runs/walker-walk-5"):
        assert text in said.out
    assert "learning" not in said.out
    assert "learning" in said.err


def test_json_leaves_standard_output_to_the_result(train_with, capfd):
    def train(config, console, json_mode):
        assert json_mode
        print("a stray print")
        os.write(1, b"a stray C library\n")
        console.print("progress")
        return {"return_mean": float("nan"), "path": Path("runs/x"), "n": 3}

    train_with(train)
    assert cli.main(["train", "walker-walk", "--json"]) == 0
    print("afterwards")
    said = capfd.readouterr()
    document, end = json.JSONDecoder().raw_decode(said.out)
    assert document == {"return_mean": None, "path": "runs/x", "n": 3}
    assert said.out[end:] == "\nafterwards\n"
    for text in ("a stray print", "a stray C library", "progress"):
        assert text in said.err


def test_a_failure_under_json_prints_nothing_on_standard_output(train_with, capfd):
    error = RuntimeError("checkpoint 12 is damaged\nsee \x1b[2J11")
    error.exit_code = 3  # type: ignore[attr-defined]
    train_with(fail_with(error))
    assert cli.main(["train", "walker-walk", "--json"]) == 3
    said = capfd.readouterr()
    assert one_line(said.err) == "checkpoint 12 is damaged see \\x1b[2J11"
    assert said.out == ""


def test_an_unknown_task_is_refused_before_training(train_with, capsys):
    train_with(fail_with(AssertionError("training began")))
    assert cli.main(["train", "cartpole-swigup"]) == 2
    assert one_line(capsys.readouterr().err).endswith("did you mean cartpole-swingup?")


def test_an_interrupt_says_how_to_go_on(train_with, capsys):
    train_with(fail_with(KeyboardInterrupt()))
    assert cli.main(["train", "walker-walk"]) == 130
    assert one_line(capsys.readouterr().err) == "interrupted; the same command resumes"


def test_the_unexpected_is_one_line_with_a_way_to_the_traceback(train_with, capsys, monkeypatch):
    train_with(fail_with(ZeroDivisionError("by zero")))
    monkeypatch.delenv("LATENTMPC_DEBUG", raising=False)
    assert cli.main(["train", "walker-walk"]) == 1
    line = one_line(capsys.readouterr().err)
    assert "ZeroDivisionError: by zero" in line
    assert "LATENTMPC_DEBUG=1" in line
    monkeypatch.setenv("LATENTMPC_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["train", "walker-walk"])


def test_tasks_as_table_and_as_json(train_with, capsys):
    train_with(fail_with(AssertionError("training began")))
    assert cli.main(["tasks"]) == 0
    table = capsys.readouterr().out
    assert all(text in table for text in ("cartpole-swingup", "walker-walk", "8 joints"))
    assert cli.main(["tasks", "walker", "--json"]) == 0
    (task,) = json.loads(capsys.readouterr().out)
    assert (task["env_id"], task["obs_dim"], task["action_dim"]) == ("walker-walk", 5, None)


def test_tasks_with_goals_are_found_by_that_word(capsys):
    """As the refusal of a task without goals says."""
    assert cli.main(["tasks", "goal", "--json"]) == 0
    found = {task["env_id"] for task in json.loads(capsys.readouterr().out)}
    assert {"two-room", "point-maze", "reacher-goal", "push-t", "ogbench:cube-single-v0"} <= found
    assert "walker-walk" not in found


def test_eval_hands_over_the_overrides(monkeypatch, tmp_path, capsys):
    import agents.runs.config

    assert agents.runs.config
    seen = []

    def evaluate_path(config):
        seen.append(config)
        return {"return_mean": 1.0}

    install(monkeypatch, "agents.evaluation.evaluate", evaluate_path=evaluate_path)
    argv = ["eval", str(tmp_path), "--planner.horizon", "7", "--mode", "zero", "--json"]
    assert cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out) == {"return_mean": 1.0}
    assert (seen[0].path, seen[0].mode, seen[0].planner.horizon) == (str(tmp_path), "zero", 7)
    assert seen[0].planner.num_samples is None


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 4)])
def test_doctor_fails_only_on_a_failed_check(monkeypatch, capsys, status, code):
    from agents.machine import doctor

    finding = doctor.Finding("disk", status, "0.1 GiB free", "free some space [now]")
    monkeypatch.setattr(doctor, "examine", lambda path: [finding])
    assert cli.main(["doctor"]) == code
    out = capsys.readouterr().out
    assert all(text in out for text in (status, "0.1 GiB free", "[now]"))
    assert cli.main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out)[0]["fix"] == "free some space [now]"


def test_a_reader_that_leaves_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "scripts.cli", "--help"]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""


def launched(*words, **environment):
    """The command in a process of its own."""
    command = [sys.executable, "-P", ROOT / "latentmpc.py", *words]
    env = os.environ | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("part", ["scripts", "envs"])
def test_a_package_that_hides_ours_is_named(tmp_path, part):
    (tmp_path / part).mkdir()
    (tmp_path / part / "__init__.py").touch()
    done = launched("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path / part / '__init__.py'} hides the package '{part}'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_terminal_that_knows_ascii_alone_is_enough():
    done = launched("träin", PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and "unknown verb tr?in: did you mean train?" in done.stderr


def test_what_draws_nothing_needs_no_library_for_drawing():
    done = launched("tasks", "goal", MUJOCO_GL="no-such-library")
    assert done.returncode == 0 and "point-maze" in done.stdout, done.stderr
