"""Reward-free training in a run directory: resumed to the bit, locked, loaded, told in one line."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from agents.pretraining import pretrainer
from agents.pretraining.pretrain import encoder_of_run, pretrain
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir, RunLockedError
from agents.runs.load_pretrained import load
from agents.runs.pretrain_config import (
    PretrainConfig,
    is_pretrained,
    preset_config,
    pretrain_config_from,
)
from agents.storage import encoder_file
from agents.storage.checkpoint import CheckpointError
from scripts.cli import main
from scripts.command import settings_of
from scripts.pretrain import VERB
from wm.jepa import frozen
from wm.jepa import model as jepa
from wm.jepa.config import JepaConfig, JepaLearnerConfig
from wm.jepa.model import JepaSpec

MODEL = JepaConfig(latent_dim=8, encoder_width=16, predictor_width=16, history=2, cnn_channels=4)
LEARNER = JepaLearnerConfig(rollout=2, batch_size=16, sigreg_directions=16, warmup=2)


def tiny_config(folder, **changes):
    settings = {
        "run_dir": str(folder),
        "model": MODEL,
        "learner": LEARNER,
        "updates": 12,
        "updates_per_call": 3,
        "save_every": 6,
        "log_every": 6,
    }
    return PretrainConfig(**{**settings, **changes})


@pytest.fixture
def data(point_data):
    return point_data(12, 12)


def leaves(path):
    return jax.tree.leaves(load(path).params)


@pytest.mark.exact
def test_a_run_that_died_ends_as_one_that_did_not(tmp_path, data, monkeypatch):
    """It dies after more updates than were saved, with more rows of metrics than were saved."""
    whole = pretrain(tiny_config(tmp_path / "a"), data=data, json_mode=True)
    advance = pretrainer.Pretrainer.advance

    def dies(self):
        if self.updates == 9:
            RunDir(tmp_path / "b").append_metrics({"kind": "pretrain", "updates": 9})
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(pretrainer.Pretrainer, "advance", dies)
    config = tiny_config(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, data=data, json_mode=True)
    monkeypatch.setattr(pretrainer.Pretrainer, "advance", advance)
    stored = RunDir(tmp_path / "b").read_json("config.json")
    del stored["model"]["frame_differences"]  # an earlier version did not have it
    RunDir(tmp_path / "b").write_json("config.json", stored)
    resumed = pretrain(config, data=data, json_mode=True)
    jax.tree.map(np.testing.assert_array_equal, leaves(tmp_path / "a"), leaves(tmp_path / "b"))
    assert resumed["loss/total"] == whole["loss/total"]
    rows = [RunDir(tmp_path / name).read_metrics() for name in "ab"]
    timed = ("wall_s", "updates_per_s")
    same = [[{k: v for k, v in row.items() if k not in timed} for row in each] for each in rows]
    assert same[0] == same[1] and [row["updates"] for row in same[0]] == [6, 12]
    with RunDir(tmp_path / "b"), pytest.raises(RunLockedError):
        pretrain(config, data=data, json_mode=True)
    monkeypatch.setattr("agents.pretraining.pretrain.Pretrainer", None)  # refused before it is made
    with pytest.raises(ConfigError, match=r"learner.batch_size is 8"):
        changed = replace(config, learner=replace(LEARNER, batch_size=8))
        pretrain(changed, data=data, json_mode=True)


def test_what_is_loaded_encodes_and_steps(tmp_path, data, capsys):
    pretrain(tiny_config(tmp_path / "run"), data=data, json_mode=True)
    assert is_pretrained(tmp_path / "run") and not is_pretrained(tmp_path)
    trained = load(tmp_path / "run")
    assert is_pretrained(trained.path) and trained.spec is None
    obs = data.arrays["obs"]
    latent = trained.net.encode(trained.params, obs[0, :2])
    following = trained.net.step(trained.params, latent, data.arrays["action"][0, 1])
    assert trained.net.embed(trained.params, following).shape == (8,)
    mean = trained.params["normalizer"]["mean"]
    np.testing.assert_allclose(mean, obs[data.ids["train"]].mean((0, 1)), atol=0.1)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["updates"] == 12 and result["num_params"] > 1000
    for argv in (["export", "--out", str(tmp_path / "out")], ["profile"], ["play"], ["serve"]):
        capsys.readouterr()
        assert main([argv[0], str(tmp_path / "run"), *argv[1:]]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and "give a run of `latentmpc train`" in said[0]


def fresh(net):
    return jax.jit(lambda key: jepa.init(net, key))(jax.random.key(1))


def test_the_encoder_of_a_run_is_what_its_file_would_hold(tmp_path, monkeypatch):
    """Of a run of single pictures; one of several is refused in one line."""
    single = replace(MODEL, encoder="cnn", history=1)
    net = jepa.build(single, LEARNER, JepaSpec((16, 16, 3), 2))
    params = fresh(net)
    run = SimpleNamespace(net=net, params=params)
    monkeypatch.setattr("agents.runs.load_pretrained.load", lambda path: run)
    found, file = encoder_of_run(str(tmp_path)), tmp_path / "encoder.safetensors"
    encoder_file.save(file, single, params["encoder"], frozen.PLAIN._replace(size=16))
    assert found is not None and found.preprocess == encoder_file.load(file).preprocess
    about = {"format": encoder_file.FORMAT, **json.loads(json.dumps(found.about))}
    assert about == encoder_file.load(file).about
    jax.tree.map(np.testing.assert_array_equal, found.params, encoder_file.load(file).params)
    assert encoder_of_run(str(file)) is None and encoder_of_run("") is None
    run.net = SimpleNamespace(config=replace(single, history=2), spec=net.spec)
    with pytest.raises(ConfigError, match=r"frozen_file .*: only an encoder of single pictures"):
        encoder_of_run(str(tmp_path))


def test_a_frozen_encoder_travels_with_its_checkpoint(tmp_path, point_data):
    """From a file, which may be gone later; or any callable, which must be given again."""
    data = point_data(12, 12, pixels=True)
    source = replace(MODEL, encoder="cnn", history=1)
    net = jepa.build(source, LEARNER, JepaSpec((16, 16, 3), 2))
    small = frozen.PLAIN._replace(size=16)
    path = tmp_path / "encoder.safetensors"
    encoder_file.save(path, source, fresh(net)["encoder"], small)
    model = replace(MODEL, encoder="frozen", frozen_file=str(path))
    config = tiny_config(tmp_path / "run", objective="frozen", model=model, updates=3)
    pretrain(config, data=data, json_mode=True)
    given = encoder_file.load(path)
    path.unlink()
    trained = load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, trained.params["encoder"], given.params)
    frames = data.arrays["pixels"][0, :2]
    latent = trained.net.encode(trained.params, frames)
    features = np.stack([given.apply(given.params, small(frame)) for frame in frames])
    norm = {k: np.asarray(v) for k, v in trained.params["normalizer"].items()}
    expected = ((features - norm["mean"]) / norm["std"]).reshape(-1)
    np.testing.assert_allclose(latent, expected, rtol=1e-4, atol=1e-5)

    callable_ = given._replace(apply=lambda params, x: x.mean((0, 1)), features=3, about={})
    config = tiny_config(
        tmp_path / "own",
        objective="frozen",
        model=replace(MODEL, encoder="frozen"),
        updates=3,
    )
    pretrain(config, data=data, frozen=callable_, json_mode=True)
    with pytest.raises(ConfigError, match="callable of your own"):
        load(tmp_path / "own")
    assert load(tmp_path / "own", callable_).net.latent_dim == 6


def test_settings_survive_their_file_and_strange_ones_are_refused():
    config = preset_config("lewm", data="somewhere", seed=3)
    stored = json.loads(json.dumps({"settings": asdict(config), "kind": "jepa"}))
    assert pretrain_config_from(stored, "here") == config
    stored["settings"]["modle"] = {}
    with pytest.raises(CheckpointError, match="did you mean model"):
        pretrain_config_from(stored, "here")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "which data"),
        (["nowhere"], "nowhere is no folder"),
        ([".", "--objective", "lewn"], "lewn"),
        ([".", "--learner.sigreg-coef", "-1"], r"sigreg_coef must lie in \[0, "),
        ([".", "--model.history", "0"], r"model.history must lie in \[1, "),
        ([".", "--preset", "huge"], "preset must be one of"),
    ],
)
def test_mistakes_are_told_in_one_line(argv, message):
    with pytest.raises(ConfigError, match=message):
        settings_of(VERB, argv)


def test_a_folder_without_data_is_told(tmp_path):
    with pytest.raises(ConfigError, match="is no dataset"):
        pretrain(tiny_config(tmp_path / "run", data=str(tmp_path)), json_mode=True)
