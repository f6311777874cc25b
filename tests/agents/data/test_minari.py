"""Exchange with Minari: a round trip keeps everything, foreign data are taken or refused."""

import numpy as np
import pytest

from agents.data import minari as minari_io
from agents.data.collect import collect
from agents.data.config import CollectConfig
from agents.data.dataset import Dataset
from agents.runs.config import ConfigError
from scripts.cli import main

minari = pytest.importorskip("minari")


def small(path, **changes):
    config = {"episodes": 18, "steps": 4, "pixels": False, **changes}
    collect(CollectConfig("point_mass-easy", str(path), **config))
    return Dataset.open(path)


def test_a_round_trip_keeps_everything(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "home"))
    data = small(tmp_path / "data")
    minari_io.export(data, tmp_path / "out")
    theirs = minari.MinariDataset(tmp_path / "out" / "data")
    assert theirs.total_episodes == 18 and theirs.total_steps == 72
    assert theirs.env_spec.id == "latentmpc/point_mass-easy-v0"
    np.testing.assert_array_equal(theirs[3].observations, data.episode(3)["obs"])
    np.testing.assert_array_equal(theirs[3].actions, data.episode(3)["action"][:-1])
    assert theirs[3].truncations.tolist() == [False] * 3 + [True]
    result = minari_io.load(str(tmp_path / "out"), tmp_path / "back")
    back = Dataset.open(tmp_path / "back")
    assert result["decisions"] == 72 and back.info == data.info
    assert back.arrays.keys() == data.arrays.keys()
    for name, values in data.arrays.items():
        np.testing.assert_array_equal(values, back.arrays[name])


def test_pictures_travel_uncompressed(tmp_path):
    data = small(tmp_path / "data", episodes=2)
    pixels = np.random.default_rng(0).integers(0, 255, (10, 8, 8, 3)).astype(np.uint8)
    data.arrays["pixels"] = pixels
    minari_io.export(data, tmp_path / "out")
    minari_io.load(str(tmp_path / "out"), tmp_path / "back")
    back = Dataset.open(tmp_path / "back")
    np.testing.assert_array_equal(back.arrays["pixels"], pixels)


def foreign(path, action_high=2.0, env="Pendulum-v1"):
    """A dataset that others recorded with gymnasium's own pendulum."""
    import gymnasium
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    space = gymnasium.spaces.Box(-action_high, action_high, (1,), np.float32)
    obs = gymnasium.spaces.Box(-8, 8, (3,), np.float32)
    path.mkdir()
    storage = MinariStorage.new(path / "data", obs, space, gymnasium.spec(env) if env else None)
    storage.update_metadata({"dataset_id": "theirs-v0", "minari_version": minari.__version__})
    rng = np.random.default_rng(0)
    for length in (3, 5, 2, 4):
        action = rng.uniform(-action_high, action_high, (length, 1)).astype(np.float32)
        ended = np.zeros(length, bool)
        truncated = ended.copy()
        truncated[-1] = True
        buffer = EpisodeBuffer(
            observations=rng.standard_normal((length + 1, 3)).astype(np.float32),
            actions=action,
            rewards=rng.standard_normal(length),
            terminations=ended,
            truncations=truncated,
            infos={},
        )
        storage.update_episodes([buffer])
    return minari.MinariDataset(path / "data")


def test_what_others_recorded_is_taken(tmp_path):
    theirs = foreign(tmp_path / "theirs")
    minari_io.load(str(tmp_path / "theirs"), tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    assert [e.length for e in data.episodes] == [3, 5, 2, 4]
    np.testing.assert_array_equal(data.episode(1)["obs"], theirs[1].observations)
    np.testing.assert_allclose(data.episode(1)["action"][:-1], theirs[1].actions / 2, atol=1e-6)
    assert data.episodes[2].ret == pytest.approx(theirs[2].rewards.sum())
    assert {q.kind for q in data.info.state} == {"obs"} and len(data.split("test")) == 1


def test_what_does_not_fit_is_refused(tmp_path, capsys):
    foreign(tmp_path / "theirs", env="")
    with pytest.raises(ConfigError, match="give --env-id"):
        minari_io.load(str(tmp_path / "theirs"), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"have 3 numbers, reacher-easy has 6"):
        minari_io.load(str(tmp_path / "theirs"), tmp_path / "b", "reacher-easy")
    with pytest.raises(ConfigError, match="no local Minari dataset"):
        minari_io.load(str(tmp_path / "nothing"), tmp_path / "c")
    with pytest.raises(ConfigError, match="not empty"):
        minari_io.load(str(tmp_path / "theirs"), tmp_path)
    assert main(["data", str(tmp_path / "d"), "--import-minari", str(tmp_path / "theirs")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_without_the_extra_it_says_what_to_type(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ConfigError, match=r"pip install 'latentmpc\[data\]'"):
        minari_io.load("x", tmp_path / "out")


def test_the_verb_checks_a_dataset(tmp_path, monkeypatch, capsys):
    data = small(tmp_path / "data", episodes=3)
    assert main(["data", str(data.path), "--json"]) == 0
    assert '"decisions": 12' in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    assert main(["data", str(data.path), "--export-minari", "out"]) == 0
    path = data.path / "arrays" / "obs.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert main(["data", str(data.path)]) == 3
    assert "obs.npy is damaged" in capsys.readouterr().err
