"""A user's own task stays with what was learned on it: on this machine and on another."""

import io
import json
import shutil
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from rich.console import Console

from agents.benchmarks.sweep.config import SweepConfig
from agents.deployment.bundle import export
from agents.deployment.controller import Controller
from agents.deployment.describe import contract_for
from agents.evaluation.evaluate import evaluate_path
from agents.evaluation.stored_task import settle
from agents.runs import task_files
from agents.runs.compile import Compilations
from agents.runs.config import ConfigError, EvalConfig, TrainConfig
from agents.runs.directory import RunDir
from agents.runs.load import load
from agents.runs.progress import TrainProgress
from agents.storage import manifest
from agents.storage.files import CheckpointError, sha256_bytes
from agents.training.checkpoint import Saver
from agents.training.train import TrainSession, check_task, open_trainer
from agents.training.trainer import Trainer
from envs import imports
from envs.native.env import native_spec
from envs.registry import make_vec
from envs.spec import UnknownTaskError
from envs.tasks.graph import Call, Graph
from envs.tasks.stored import Description
from planning.config import PlannerConfig
from scripts.cli import main
from scripts.sweep import task_of
from tests.envs.tasks.robots import ARM
from wm.tdmpc.config import LearnerConfig, ModelConfig

MESHED = ARM.replace(
    "<worldbody>", '<asset><mesh name="tip" file="tip.obj"/></asset><worldbody>'
).replace('<site name="gripper"', '<geom type="mesh" mesh="tip" mass="0.1"/><site name="gripper"')
TIP = "v 0 0 0\nv 0.05 0 0\nv 0 0.05 0\nv 0 0 0.05\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n"
TASK = """
import numpy as np

from envs.tasks import Task
from envs.tasks.helpers import norm, tolerance


class Up(Task):
    model_file = "arm.xml"
    control_dt, time_limit = 0.02, 0.8

    def observe(self, xp, data):
        return {"angles": self.joint_angles(xp, data), "rates": 0.1 * np.tanh(data.qvel)}

    def reward(self, xp, data):
        return tolerance(xp, norm(xp, data.qpos), (0.0, 0.1), margin=1.0)

    def start(self, rng):
        return self.at_rest(self.random_pose(rng, 0.5))
"""
SMALL = {
    "num_envs": 2,
    "replay_capacity": 100,
    "model": ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21),
    "learner": LearnerConfig(batch_size=8),
    "planner": PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
}


def written(folder, task=TASK, model=MESHED):
    """The id of a task that was typed, its file and model's files there."""
    folder.mkdir(exist_ok=True)
    files = {"arm.xml": model, "tip.obj": TIP, "my_arm.py": task}
    for name, text in files.items():
        (folder / name).write_text(text)
    return typed(f"{folder}/my_arm.py:Up")


def typed(*ids):
    """The last of these ids, which were typed, in a process that has not loaded them yet."""
    imports.permit([module for env_id in ids for module in imports.modules_of(env_id)])
    for name in [name for name in sys.modules if name.startswith("latentmpc_file_")]:
        del sys.modules[name]
    native_spec.cache_clear()
    return ids[-1] if ids else ""


def saved(folder, env_id):
    """A run of that task with a checkpoint, not trained."""
    config = TrainConfig(env_id=env_id, run_dir=str(folder), **SMALL)
    Saver(RunDir.create(folder)).save(Trainer(config), {})
    return config


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a task in `here`, a run and a bundle of it."""
    base = tmp_path_factory.mktemp("machine")
    env_id = written(base / "here")
    saved(base / "run", env_id)
    trained = load(str(base / "run"))
    export.export(trained, base / "bundle", contract_for(trained))
    yield base
    imports.permit(())


@pytest.fixture
def machine(base, tmp_path):
    """A copy that may be changed, and the id of the task, not typed."""
    shutil.copytree(base, tmp_path / "m")
    typed()
    yield tmp_path / "m", f"{base}/here/my_arm.py:Up"
    imports.permit(())


def lines(caplog):
    """What was said, and forget it."""
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


def newest(folder):
    """Its checkpoint."""
    return folder / "run" / "checkpoints" / "000000000"


def test_a_run_is_evaluated_without_its_file_to_the_same_numbers(machine, caplog):
    folder, env_id = machine
    config = EvalConfig(path=str(folder / "run"), episodes=2, mode="prior")
    typed(env_id)
    there = evaluate_path(replace(config, env_id=env_id))
    assert lines(caplog) == []
    typed()
    here = evaluate_path(config)
    assert here["episode_returns"] == there["episode_returns"]
    (said,) = lines(caplog)
    assert "simulated as it was stored" in said and "type" in said
    assert not [name for name in sys.modules if name.startswith("latentmpc_file_")]
    assert str(folder.parent) not in (newest(folder) / "task.mjb").read_bytes().decode("latin1")


def test_a_bundle_acts_on_its_stored_task_as_on_the_task_itself(machine, capsys):
    folder, env_id = machine
    bundle = folder / "bundle"
    typed(env_id)
    own = make_vec(env_id, 1, seed=[3])
    typed()
    settle(bundle, env_id)
    stored = make_vec(env_id, 1, seed=[3])
    assert type(stored.simulators.task) is not type(own.simulators.task)
    assert own.env_spec == stored.env_spec
    controller = Controller.load(str(bundle), mode="prior")
    seen = [env.reset(seed=[3])[0] for env in (own, stored)]
    for _ in range(25):  # over the end of an episode
        np.testing.assert_array_equal(*seen)
        action = controller.act(seen[0][0])[None]
        stepped = [env.step(action) for env in (own, stored)]
        assert all(np.array_equal(a, b) for a, b in zip(*(s[1:4] for s in stepped), strict=True))
        if stepped[0][3][0]:
            break
        seen = [s[0] for s in stepped]
    flags = ["--mode", "prior", "--episodes", "1", "--max-misses", "0", "--json"]
    imports.permit(())
    assert main(["run", str(bundle), *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["episode_returns"] and not result["programs"]


def edited(folder, name, old, new):
    """The task's folder with a change in one of its files."""
    file = folder / "here" / name
    file.write_text(file.read_text().replace(old, new))


CHANGES = {
    "nothing": (lambda folder: None, []),
    "the file": (
        lambda folder: edited(folder, "my_arm.py", "margin=1.0", "margin=2.0"),
        ["the task's file has changed since"],
    ),
    "the model": (
        lambda folder: edited(folder, "arm.xml", 'mass="0.5"', 'mass="0.6"'),
        ["the task's model has changed since"],
    ),
    "the mesh is gone": (
        lambda folder: (folder / "here" / "tip.obj").unlink(),
        ["on the model that was stored in"],
    ),
    "the model does not load": (
        lambda folder: edited(
            folder,
            "my_arm.py",
            "    def observe",
            "    def load(self):\n        {}[1]\n\n    def observe",
        ),
        ["KeyError(1)", "the task's file has changed since"],
    ),
    "a package is gone": (
        lambda folder: edited(folder, "my_arm.py", "import numpy", "import gone, numpy"),
        ["simulated as it was stored in"],
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_line_says_what_is_not_as_it_was_trained(machine, caplog, case):
    """The task is typed where it lies now; the run names another folder."""
    folder, env_id = machine
    change, expected = CHANGES[case]
    change(folder)
    here = typed(f"{folder}/here/my_arm.py:Up")
    settle(newest(folder), env_id, here)
    said = lines(caplog)
    assert len(said) == len(expected)
    assert all(part in line for part, line in zip(expected, said, strict=True))
    env = make_vec(here, 2, seed=0)
    assert np.isfinite(env.reset(seed=0)[0]).all()
    env.close()


def test_sweep_and_bench_use_what_is_stored(machine, capsys):
    """In processes of their own, which are told of it."""
    folder, env_id = machine
    words = ["bench", "--runs", str(folder / "run"), "--agents", "random", "--episodes", "2"]
    words += ["--jobs", "1", "--out", str(folder / "bench"), "--json"]
    assert main(words) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)
    typed()
    assert task_of(SweepConfig(str(newest(folder)), "planner.horizon=1")) == env_id
    assert imports.stored(env_id)


def test_a_bundle_does_not_run_on_another_robot(machine, capsys):
    folder, _ = machine
    edited(folder, "arm.xml", "shoulder", "hip")
    flags = ["--env", f"{folder}/here/my_arm.py:Up", "--mode", "prior"]
    assert main(["run", str(folder / "bundle"), *flags]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "its actuators[0] is 'hip', expected 'shoulder'" in said
    text = json.loads((folder / "bundle" / "contract.json").read_text())["robot"]
    assert text["actuators"][0] == {"name": "shoulder", "unit": "rad", "low": -2.0, "high": 2.0}


def test_what_everybody_has_is_not_what_a_stranger_stored(machine):
    """Nor is one command about two tasks of one name."""
    folder, env_id = machine
    for known in ("cartpole-swingup", "Hopper-v5", "multi:cartpole-swingup,pendulum-swingup"):
        settle(newest(folder), known)
        assert imports.stored(known) is None
    settle(newest(folder), "arm-of-a-package-up")
    assert imports.stored("arm-of-a-package-up")
    settle(newest(folder), env_id)
    resealed(folder, why="another")
    with pytest.raises(ConfigError, match="differs: give one command to each"):
        settle(newest(folder), env_id)


def test_a_file_that_was_typed_wrong_is_told(machine):
    folder, env_id = machine
    here = typed(f"{folder}/nothing.py:Up")
    with pytest.raises(UnknownTaskError, match="No such file"):
        settle(newest(folder), env_id, here)


def test_a_run_is_resumed_on_the_task_that_it_was_begun_with(tmp_path):
    config = saved(tmp_path / "run", written(tmp_path / "here"))
    run = RunDir(tmp_path / "run")
    check_task(run, config.env_id)
    edited(tmp_path, "my_arm.py", "margin=1.0", "margin=2.0")
    typed(config.env_id)
    with pytest.raises(ConfigError, match=r"the task's file has changed.*--changed-task"):
        open_trainer(config, run)
    open_trainer(replace(config, changed_task=True), run)


def test_what_cannot_be_stored_is_said_and_needs_its_file(tmp_path, caplog):
    """Its functions branch on numbers: the model and the digests are stored all the same."""
    branch = TASK.replace(
        "return tolerance", "assert data.qpos.max() < 99\n        return tolerance"
    )
    env_id = written(tmp_path / "here", branch)
    files = task_files.files_of(env_id)
    about = msgspec.msgpack.decode(files["task.msgpack"], type=Description)
    assert "branches" in about.why and about.model and not about.functions
    run, config = RunDir(tmp_path / "run"), saved(tmp_path / "run", env_id)
    with TrainProgress(1, Console(file=(said := io.StringIO()), width=300)) as bar:
        TrainSession(run, open_trainer(config, run), bar, 0.0, Compilations()).open()
    assert "elsewhere this run will need the task's file: reward(): it takes" in said.getvalue()
    (tmp_path / "here" / "tip.obj").unlink()
    typed(env_id)
    settle(newest(tmp_path), env_id, env_id)
    assert "on the model that was stored" in lines(caplog)[0]
    typed()
    with pytest.raises(UnknownTaskError, match=r"was not stored whole: reward.*branches"):
        settle(newest(tmp_path), env_id)


def resealed(folder, **changed):
    """The checkpoint with other bytes in its task, and a manifest and a digest that fit."""
    path = newest(folder)
    about = msgspec.msgpack.decode((path / "task.msgpack").read_bytes(), type=Description)
    if "mjb" in changed:
        (path / "task.mjb").write_bytes(
            data := changed.pop("mjb")((path / "task.mjb").read_bytes())
        )
        changed["model"] = sha256_bytes(data)
    about = msgspec.structs.replace(
        about, **{k: v(about) if callable(v) else v for k, v in changed.items()}
    )
    (path / "task.msgpack").write_bytes(msgspec.msgpack.encode(about))
    (path / "MANIFEST.json").unlink()
    manifest.write(path, 0)


def calling(name, *args):
    """A description's functions whose reward makes another call."""
    graph = Graph([("qpos", [2])], [Call(name, list(args), {})], [("", 1)])
    return lambda about: about.functions | {"reward": graph}


STRANGE = {
    "half a model": ({"mjb": lambda data: data[: len(data) // 2]}, "no model of MuJoCo"),
    "noise": ({"mjb": lambda data: b"x" * 9000}, "no model of MuJoCo"),
    "other sizes": ({"mjb": lambda data: data[:40] + b"\xff" * 8 + data[48:]}, "no model"),
    "another version": ({"mujoco": "9.9.9"}, "pip install mujoco==9.9.9"),
    "no function of ours": ({"functions": calling("load", "/etc/passwd")}, "no call of a task's"),
    "another object": ({"functions": calling("__class__", ["ref", 0])}, "no call of a task's"),
    "too many numbers": (
        {"functions": calling("zeros", ["tuple", 1 << 20, 1 << 20])}, "no graph has"
    ),
    "one number for all": ({"functions": calling("max", ["ref", 0])}, "failed"),
    "no starts": ({"starts": {}}, "failed"),
    "another field": ({"settings": lambda a: a.settings | {"model_fields": ["x"]}}, "failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_a_strangers_stored_task_is_refused_in_a_line(machine, capsys, case):
    folder, _ = machine
    changed, said = STRANGE[case]
    resealed(folder, **changed)
    assert main(["eval", str(folder / "run"), "--episodes", "1", "--mode", "random"]) == 3
    told = capsys.readouterr().err
    assert said in told.splitlines()[-1] and "its stored task is refused" in told
    assert "Traceback" not in told


def test_a_task_that_kills_the_process_kills_a_trial(machine, monkeypatch):
    """And what is not as the manifest has it is not even tried."""
    folder, env_id = machine
    killed = ["sh", "-c", "kill -SEGV $$"]
    monkeypatch.setattr("agents.evaluation.stored_task.children.calling", lambda *_: killed)
    with pytest.raises(CheckpointError, match="died of signal 11"):
        settle(newest(folder), env_id)
    (newest(folder) / "task.mjb").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"task\.mjb has 5 bytes"):
        settle(newest(folder), env_id)
