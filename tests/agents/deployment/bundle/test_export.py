"""Export: what is in a bundle, and that it runs where nothing of ours can be imported."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from agents.deployment.bundle import export
from agents.deployment.bundle import files as bundle_files
from agents.deployment.bundle import runner as runner_template
from agents.deployment.bundle.config import ExportConfig
from agents.deployment.contract import Surprise
from agents.deployment.controller import Controller
from agents.deployment.describe import contract_for
from agents.deployment.guard.surprise import Calibration
from agents.runs.config import ConfigError, PlannerOverrides
from agents.runs.load import load
from agents.storage.files import StorageError
from tests.soak import mutations

REFUSE_OURS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in "wm planning envs agents scripts flax mujoco".split():
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Refuse())
import runpy
try:
    import agents
except ImportError:
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A checkpoint and a bundle of one model."""
    return mutations.stored(tmp_path_factory.mktemp("stored") / "s", mutations.specimen())


@pytest.fixture(scope="module")
def episode():
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(0, 0.1, (500, 5)), 0).astype(np.float32)


def in_process(checkpoint, obs, seed, mode="plan"):
    controller = Controller.load(str(checkpoint), mode=mode, seed=seed).warmup()
    return np.stack([controller.act(one) for one in obs])


def alone(folder, lines, *flags):
    """What runner.py answers in a process in which nothing of ours can be imported."""
    command = [sys.executable, "-I", "-B", "-c", REFUSE_OURS, str(folder / "runner.py"), *flags]
    env = {name: os.environ[name] for name in ("JAX_PLATFORMS", "PATH", "XLA_FLAGS")}
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return subprocess.run(command, input=text, capture_output=True, text=True, env=env, timeout=200)


@pytest.mark.exact
@pytest.mark.timeout(300)
def test_a_whole_episode_alone_is_bit_identical(stored, episode):
    checkpoint, folder = stored
    ours = in_process(checkpoint, episode, seed=7)
    digest = bundle_files.read(folder).digest
    lines = [*episode.tolist(), None, *episode[:3].tolist(), [1e20] * 5]
    run = alone(folder, lines, "--seed", "7", "--digest", digest)
    assert run.returncode == 0, run.stderr
    *answers, last = (json.loads(line) for line in run.stdout.splitlines())
    assert last is None, "no plan is valid there"
    theirs = np.array(answers, np.float32)
    np.testing.assert_array_equal(theirs[:500], ours)
    np.testing.assert_array_equal(theirs[500:503], ours[:3])  # `null` began the episode again
    assert np.abs(ours).max() > 0.01


def test_the_runner_alone_reacts_with_the_prior(stored, episode):
    checkpoint, folder = stored
    run = alone(folder, episode[:5].tolist(), "--mode", "prior")
    theirs = np.array([json.loads(line) for line in run.stdout.splitlines()], np.float32)
    np.testing.assert_array_equal(theirs, in_process(checkpoint, episode[:5], 0, "prior"))


def test_the_runner_alone_refuses_in_one_line(stored, tmp_path):
    """Another digest, damage: exit code 3 as everywhere, and nothing was run."""
    _, folder = stored
    damaged = tmp_path / "bundle"
    damaged.mkdir()
    for file in folder.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (damaged / "params.safetensors").write_bytes(b"short")
    cases = [
        (
            folder,
            ["--digest", "0" * 64],
            3,
            f"runner: error: MANIFEST.json: SHA-256 is not {'0' * 64}",
        ),
        (damaged, [], 3, "runner: error: params.safetensors: SHA-256 is not "),
        (folder, ["--mode", "fast"], 2, ""),
    ]
    for where, flags, code, told in cases:
        run = alone(where, [[0.0] * 5], *flags)
        assert (run.returncode, run.stdout) == (code, "")
        assert "Traceback" not in run.stderr and run.stderr.startswith(told)
        assert code == 2 or len(run.stderr.splitlines()) == 1


def test_the_runner_is_short_and_imports_only_jax_and_numpy():
    source = Path(runner_template.__file__).read_text()
    assert len(source.splitlines()) <= 100
    found = {line.split()[1].partition(".")[0] for line in source.splitlines() if "import " in line}
    imported = {
        name for name in found if f"import {name}" in source or f"from {name} import" in source
    }
    assert imported - sys.stdlib_module_names == {"jax", "numpy"}


def test_the_runner_refuses_damage(stored, tmp_path):
    _, folder = stored
    rng, copy = np.random.default_rng(0), tmp_path / "bundle"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    digest = bundle_files.read(copy).digest
    assert runner_template.verified(copy, digest).keys() == {f.name for f in copy.iterdir()} - {
        "MANIFEST.json"
    }
    for _ in range(100):
        with (
            mutations.mutated(rng, copy) as mutation,
            pytest.raises((ValueError, OSError)) as caught,
        ):
            runner_template.verified(copy, digest)
        assert any(name in str(caught.value) for name in mutation.names)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F64", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]},
    ],
)
def test_the_runner_reads_no_array_past_its_file(entry):
    text = json.dumps({"a": entry}).encode()
    with pytest.raises(ValueError, match="a does not fit"):
        runner_template.parameters(len(text).to_bytes(8, "little") + text + b"abcd")
    with pytest.raises(ValueError, match="no header"):
        runner_template.parameters((2**60).to_bytes(8, "little") + text)


def test_planner_settings_and_calibration_are_built_in(stored, tmp_path, monkeypatch):
    checkpoint, _ = stored
    surprise = Surprise(0.5, 0.999, 1.5, episodes=2, seed=9, typical=0.1)
    asked = []

    def calibrate(trained, episodes):
        asked.append((trained.config.planner.horizon, episodes))
        return Calibration(surprise, (-1.0,) * 5, (1.0,) * 5)

    monkeypatch.setattr(export, "calibrate", calibrate)
    out = tmp_path / "deeper" / "bundle"
    made = export.export_path(
        ExportConfig(str(checkpoint), str(out), 2, PlannerOverrides(horizon=4))
    )
    contract = json.loads((out / "contract.json").read_bytes())
    assert asked == [(4, 2)]
    assert contract["surprise"]["threshold"] == 0.5 and contract["obs"]["high"] == [1.0] * 5
    assert contract["settings"]["planner"]["horizon"] == 4
    assert contract["config_digest"] == contract_for(load(str(checkpoint))).config_digest
    info = json.loads((out / "programs.json").read_bytes())
    assert info["memory"][0] == ["float32", [4, 1]] and info["platforms"] == ["cpu", "cuda"]
    assert made.digest == bundle_files.read(out).digest
    assert not list(out.parent.glob(".tmp-*"))


def test_limits_of_the_robot_are_built_in_and_kept(stored, tmp_path):
    """What only the robot has: as given to export, in the contract, kept by whoever runs it."""
    checkpoint, out = stored[0], tmp_path / "bundle"
    limits = {"action_low": "-0.5", "action_high": "0.25", "action_rate": "2", "action_safe": "0.1"}
    export.export_path(ExportConfig(str(checkpoint), str(out), 0, **limits))
    made = Controller.load(str(out), mode="prior").warmup()
    wanted = {"low": (-0.5,), "high": (0.25,), "rate": (2.0,), "safe": (0.1,)}
    assert {name: getattr(made.contract.action, name) for name in wanted} == wanted
    actions = np.stack([made.act(np.full(5, x, np.float32)) for x in (0.0, 3.0, -3.0, 1.0)])
    assert actions.min() >= -0.5 and actions.max() <= 0.25
    assert np.abs(np.diff(actions, axis=0)).max() <= 2 * made.contract.period + 1e-6
    made.guard.stop("a test")
    for _ in range(20):
        last = made.act(np.zeros(5, np.float32))
    np.testing.assert_allclose(last, 0.1, rtol=1e-6)
    for wrong in ({"action_low": "x"}, {"action_high": "2"}, {"action_rate": "nan"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ExportConfig(**wrong)
    for wrong in ({"action_low": "0.5", "action_high": "0"}, {"action_rate": "1,2"}):
        with pytest.raises(ConfigError, match=r"action.(low|rate)"):
            export.limited(made.contract, ExportConfig(**wrong))
    with pytest.raises(ConfigError, match=r"action.rate\[0\] must be positive"):
        export.limited(made.contract, ExportConfig(action_rate="-1"))


def test_nothing_is_overwritten_and_nothing_half_written(stored, tmp_path, monkeypatch):
    checkpoint, folder = stored
    with pytest.raises(ConfigError, match="never overwritten"):
        export.export_path(ExportConfig(str(checkpoint), str(folder)))

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_synced", full)
    trained = mutations.specimen()
    with pytest.raises(StorageError, match="No space left"):
        export.export(trained, tmp_path / "bundle", contract_for(trained))
    assert not list(tmp_path.iterdir())


def test_parameters_that_are_not_finite_are_not_exported(tmp_path):
    trained = mutations.specimen()
    params = jax.tree.map(lambda x: np.full_like(x, np.nan), trained.params)
    with pytest.raises(ConfigError, match="is not finite float32"):
        export.export(replace(trained, params=params), tmp_path / "b", contract_for(trained))


@pytest.mark.exact
def test_exporting_twice_gives_the_same_bytes_that_tell_no_folder(stored, tmp_path):
    _, folder = stored
    ours = str(Path(export.__file__).parents[1]).encode()
    assert not [f.name for f in folder.iterdir() if ours in f.read_bytes()]
    trained = mutations.specimen()
    export.export(trained, tmp_path / "again", contract_for(trained))
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
