"""Replay segments: round trips, what belongs to a checkpoint, corruption."""

import errno
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest

from agents.storage import files as durable
from agents.storage import segments
from agents.storage.checkpoint import CheckpointError, StorageError, sha256_file
from agents.storage.segments import SegmentRef


def rows(start: int, count: int) -> dict[str, np.ndarray]:
    step = np.arange(start, start + count)
    return {
        "rows": np.outer(step, np.ones(4)).astype(np.float32).reshape(count, 2, 2),
        "step": step,
        "reward": step / 3,
        "terminated": step % 2 == 0,
    }


@pytest.fixture
def three(tmp_path):
    directory = tmp_path / "replay"
    refs = [segments.write_segment(directory, start, rows(start, 5)) for start in (0, 5, 10)]
    return directory, refs


def assert_rows(got, start, count):
    want = rows(start, count)
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value)


def test_rows_come_back_exactly(three):
    directory, refs = three
    assert [(ref.start, ref.stop) for ref in refs] == [(0, 5), (5, 10), (10, 15)]
    assert_rows(segments.read_segments(directory, refs), 0, 15)
    assert_rows(segments.read_segments(directory, refs[1:2]), 5, 5)
    assert segments.read_segments(directory, []) == {}
    assert sorted(p.name for p in directory.iterdir()) == [ref.name for ref in refs]


def test_references_survive_json(three):
    _, refs = three
    assert segments.load_refs(segments.dump_refs(refs)) == refs


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{}x",
        b"3",
        b'[{"name": "a"}]',
        segments.dump_refs([SegmentRef("../up.npz", 0, 1, "", 1)]),
        segments.dump_refs([SegmentRef("0-1.npz", 1, 1, "", 1)]),
        pickle.dumps([]),
    ],
)
def test_damaged_references_are_refused(data):
    with pytest.raises(CheckpointError, match="list of replay segments is damaged"):
        segments.load_refs(data)


def test_files_after_the_checkpoint_go(three):
    directory, refs = three
    (directory / ".tmp-half").write_bytes(b"x")
    segments.drop_after(directory, refs[:2])
    assert sorted(p.name for p in directory.iterdir()) == [ref.name for ref in refs[:2]]
    again = segments.write_segment(directory, 10, rows(10, 7))
    assert_rows(segments.read_segments(directory, [*refs[:2], again]), 0, 17)
    segments.drop_after(directory / "none", [])


@pytest.mark.parametrize(("oldest", "first"), [(0, 0), (4, 0), (5, 1), (12, 2), (15, 3)])
def test_segments_that_the_ring_has_overwritten_go(three, oldest, first):
    directory, refs = three
    segments.drop_before(directory, oldest)
    kept = refs[first:]
    assert sorted(p.name for p in directory.iterdir()) == [ref.name for ref in kept]
    segments.read_segments(directory, kept)


def test_what_an_older_checkpoint_needs_outlives_a_resume(three):
    directory, refs = three
    segments.drop_after(directory, refs[1:])
    assert sorted(p.name for p in directory.iterdir()) == [ref.name for ref in refs]


MUTATIONS = {
    "flip": lambda f, d: f.write_bytes(d[:40] + bytes([d[40] ^ 1]) + d[41:]),
    "cut": lambda f, d: f.write_bytes(d[:-1]),
    "zero": lambda f, d: f.write_bytes(bytes(len(d))),
    "empty": lambda f, d: f.write_bytes(b""),
    "delete": lambda f, d: f.unlink(),
    "directory": lambda f, d: (f.unlink(), f.mkdir()),
    "link": lambda f, d: (f.rename(f.parent / "x"), f.symlink_to(f.parent / "x")),
    "pickle": lambda f, d: f.write_bytes(pickle.dumps([1])),
}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_damaged_segments_are_refused_by_name(three, kind):
    directory, refs = three
    file = directory / refs[1].name
    MUTATIONS[kind](file, file.read_bytes())
    with pytest.raises(CheckpointError) as caught:
        segments.read_segments(directory, refs)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, target: str):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (self.target,))


@pytest.mark.parametrize("wrap", [True, False], ids=["in an archive", "bare"])
def test_pickles_with_a_matching_digest_are_not_executed(three, tmp_path, wrap):
    directory, refs = three
    file, bomb = directory / refs[0].name, Bomb(str(tmp_path / "executed"))
    if wrap:
        np.savez(file, rows=np.array([bomb] * 5, object))
    else:
        file.write_bytes(pickle.dumps(bomb))
    digest, size = sha256_file(file)
    with pytest.raises(CheckpointError, match="not an archive of number arrays"):
        segments.read_segments(directory, [replace(refs[0], sha256=digest, size=size)])
    assert not (tmp_path / "executed").exists()


def test_gaps_and_other_fields_are_refused(three):
    directory, refs = three
    with pytest.raises(CheckpointError, match="expected rows from 5"):
        segments.read_segments(directory, [refs[0], refs[2]])
    other = segments.write_segment(directory, 15, {"step": np.arange(3)})
    with pytest.raises(CheckpointError, match="expected the fields"):
        segments.read_segments(directory, [*refs, other])
    with pytest.raises(CheckpointError, match="expected 9 rows"):
        segments.read_segments(directory, [replace(refs[0], stop=9)])


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"a": np.zeros(0)},
        {"a": np.zeros(2), "b": np.zeros(3)},
        {"a": np.array([{}, {}])},
    ],
)
def test_rows_that_do_not_fit_are_refused_before_writing(tmp_path, bad):
    with pytest.raises(ValueError, match="field"):
        segments.write_segment(tmp_path / "replay", 0, bad)
    assert not (tmp_path / "replay").exists()


def test_a_full_disk_leaves_no_trace(three, monkeypatch):
    directory, refs = three

    def full(path, data):
        path.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "write_synced", full)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        segments.write_segment(directory, 15, rows(15, 2))
    assert caught.value.exit_code == 4
    assert sorted(p.name for p in directory.iterdir()) == [ref.name for ref in refs]


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "replay").write_text("")
    with pytest.raises(StorageError):
        segments.write_segment(tmp_path / "replay", 0, rows(0, 1))
