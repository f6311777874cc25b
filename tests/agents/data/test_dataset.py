"""The dataset format: what is written is what is read; splits, slices, damage."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.data import files as dataset_files
from agents.data import writer as dataset_write
from agents.data.dataset import Dataset, DatasetError, Episode, Info, Quantity, split_names
from agents.runs.config import ConfigError
from agents.storage import sealed
from agents.storage.files import StorageError
from envs.registry import make_spec

LENGTHS = (5, 9, 1, 7, 12, 3)
SPEC = replace(make_spec("reacher-easy"), obs_dim=2, obs_names=(("row", 2),))


def episodes_of(lengths, seed=0):
    """Random rows; obs[t] is (episode, t) so that every row can be recognised."""
    rng = np.random.default_rng(seed)
    found = []
    for number, length in enumerate(lengths):
        rows = length + 1
        action = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
        action[-1] = 0
        found.append(
            {
                "obs": np.stack([np.full(rows, number), np.arange(rows)], 1).astype(np.float32),
                "action": action,
                "reward": np.append(rng.standard_normal(length), 0).astype(np.float32),
                "terminated": np.zeros(rows, bool),
                "state": rng.standard_normal((rows, 3)).astype(np.float32),
                "pixels": rng.integers(0, 255, (rows, 4, 4, 3)).astype(np.uint8),
                "invalid": np.asarray(False),
            }
        )
    return found


def make(folder, lengths=LENGTHS, splits=None):
    """A dataset in `folder`, in shards of two episodes, and the episodes it was made of."""
    made = episodes_of(lengths)
    shards = range(0, len(made), 2)
    for number, first in enumerate(shards):
        dataset_write.write_shard(folder, number, made[first : first + 2])
    found, invalid = dataset_write.assemble(folder, len(shards))
    assert tuple(found) == tuple(lengths) and not any(invalid)
    splits = splits or split_names(len(made), 0, 0.2, 0.2)
    starts = np.concatenate([[0], np.cumsum(np.array(lengths) + 1)])
    rows = [
        Episode(int(s), n, i, splits[i], "random", 0.0, False, False)
        for i, (s, n) in enumerate(zip(starts, lengths, strict=False))
    ]
    state = tuple(Quantity(f"q{i}", "position") for i in range(3))
    info = Info(SPEC, tuple(rows), state, (), {"policy": "random"}, {})
    dataset_write.finish(folder, info)
    return made


def test_what_is_written_is_read_back(tmp_path):
    made = make(tmp_path)
    data = Dataset.open(tmp_path)
    assert data.spec == SPEC and len(data.episodes) == len(LENGTHS)
    for i, rows in enumerate(made):
        for name, values in data.episode(i).items():
            np.testing.assert_array_equal(values, rows[name])
    assert not (tmp_path / "work").exists()
    assert isinstance(data.arrays["pixels"], np.memmap) and not data.arrays["obs"].flags.writeable


def test_slices_stay_within_an_episode_of_their_split(tmp_path):
    make(tmp_path, splits=["train", "test", "train", "train", "validation", "test"])
    data = Dataset.open(tmp_path)
    got = data.slices(np.random.default_rng(0), "train", 500, 4, pixels=True)
    assert got["pixels"].shape == (500, 4, 4, 4, 3) and got["action"].shape == (500, 4, 2)
    episode, t = got["obs"][..., 0], got["obs"][..., 1]
    assert set(np.unique(episode)) == {0, 3}, "episode 2 has two rows only; 1, 4, 5 are others'"
    assert (episode == episode[:, :1]).all() and (np.diff(t, axis=1) == 1).all()
    # 3 stretches in episode 0 (6 rows), 5 in episode 3 (8 rows): equally likely each
    pairs, counts = np.unique(np.stack([episode[:, 0], t[:, 0]]), axis=1, return_counts=True)
    assert pairs.shape[1] == 8 and counts.min() > 500 / 8 - 4 * np.sqrt(500 / 8)


def test_a_seed_gives_the_same_slices(tmp_path):
    make(tmp_path)
    data = Dataset.open(tmp_path)
    one, two = (data.slices(np.random.default_rng(3), "train", 9, 2) for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(0, 99), st.floats(0, 0.45), st.floats(0, 0.45))
def test_splits_are_a_partition_by_seed(count, seed, validation, test):
    names = split_names(count, seed, validation, test)
    assert names == split_names(count, seed, validation, test)
    assert len(names) == count and set(names) <= {"train", "validation", "test"}
    assert "train" in names
    for name, share in (("validation", validation), ("test", test)):
        if count >= 3:
            assert abs(names.count(name) - count * share) <= 1
            assert (name in names) == (share > 0)


def test_damage_is_found_and_named(tmp_path):
    make(tmp_path)
    path = tmp_path / "arrays" / "reward.npy"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DatasetError, match=r"reward.npy is damaged.*SHA-256"):
        Dataset.open(tmp_path)
    path.write_bytes(raw[:-1])
    with pytest.raises(DatasetError, match=r"reward.npy has \d+ bytes, expected \d+"):
        Dataset.open(tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match=r"reward.npy cannot be read") as found:
        Dataset.open(tmp_path)
    assert found.value.exit_code == 3 and "\n" not in str(found.value)


def test_sums_are_compared_once_and_on_demand(tmp_path, monkeypatch):
    make(tmp_path)
    hashed = []
    digest = sealed.digest
    monkeypatch.setattr(sealed, "digest", lambda f, n, *a: hashed.append(n) or digest(f, n, *a))
    Dataset.open(tmp_path)
    assert not hashed, "the writer has just made the sums"
    dataset_files.stamp_file(tmp_path).unlink()
    Dataset.open(tmp_path)
    assert "arrays/obs.npy" in hashed
    hashed.clear()
    Dataset.open(tmp_path)
    assert not hashed
    Dataset.open(tmp_path, full=True)
    assert "arrays/obs.npy" in hashed
    hashed.clear()
    stat = (tmp_path / "arrays/obs.npy").stat()
    os.utime(tmp_path / "arrays/obs.npy", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    Dataset.open(tmp_path)
    assert "arrays/obs.npy" in hashed, "a file that was touched is compared again"


def test_a_manifest_that_was_edited_is_refused(tmp_path):
    make(tmp_path)
    manifest = json.loads((tmp_path / "MANIFEST.json").read_bytes())
    manifest["files"]["data.json"]["size"] += 1
    (tmp_path / "MANIFEST.json").write_bytes(json.dumps(manifest, indent=1).encode())
    with pytest.raises(DatasetError, match=r"MANIFEST.json is damaged"):
        Dataset.open(tmp_path)


def test_what_is_no_dataset_is_told_apart(tmp_path):
    with pytest.raises(ConfigError, match=r"is no dataset.*latentmpc collect ENV"):
        Dataset.open(tmp_path)
    (tmp_path / "work").mkdir()
    with pytest.raises(ConfigError, match="the same `latentmpc collect` finishes it"):
        Dataset.open(tmp_path)


def test_impossible_slices_are_refused(tmp_path):
    make(tmp_path, splits=["train"] * 6)
    data, rng = Dataset.open(tmp_path), np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"no stretch of 14 rows in split train.*has 13"):
        data.slices(rng, "train", 1, 14)
    with pytest.raises(ConfigError, match="no stretch of 2 rows in split test"):
        data.slices(rng, "test", 1, 2)
    with pytest.raises(ConfigError, match="one of train, validation, test"):
        data.split("training")


def test_a_damaged_shard_is_not_used(tmp_path):
    made = episodes_of((4, 4))
    dataset_write.write_shard(tmp_path, 0, made)
    path = dataset_write.shard_path(tmp_path, 0)
    assert dataset_write.read_shard(tmp_path, 0) is not None
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert dataset_write.read_shard(tmp_path, 0) is None
    with pytest.raises(DatasetError, match="missing or damaged: the same command makes it again"):
        dataset_write.assemble(tmp_path, 1)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(
        dataset_write.shutil, "disk_usage", lambda path: type("", (), {"free": 10_000_000})
    )
    with pytest.raises(StorageError, match="needs 20 MB, 10 MB are free") as found:
        dataset_write.require_space(tmp_path, 20_000_000)
    assert found.value.exit_code == 4
