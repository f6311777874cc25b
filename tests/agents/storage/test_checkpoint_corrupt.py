"""Damaged checkpoints: every change of every file is found, named, and nothing is unpickled."""

import itertools
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.storage import checkpoint, manifest
from agents.storage.checkpoint import CheckpointError


def save(directory: Path, step: int, arrays=None, **more) -> Path:
    arrays = {"kernel": np.full((3, 4), step), "key": [np.arange(2)]} if arrays is None else arrays
    return checkpoint.save(directory, step, arrays, config={"a": step}, spec={}, **more)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints")
    save(directory, 1)
    return save(directory, 2, extra_files={"refs.json": b"[]", "empty.bin": b""})


def files_of(path: Path) -> list[str]:
    return sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def link(file: Path):
    shutil.move(file, file.parents[2] / "elsewhere")
    file.symlink_to(file.parents[2] / "elsewhere")


def flip(at: float):
    def mutate(file: Path):
        data = bytearray(file.read_bytes() or b"\0")
        data[min(int(at * len(data)), len(data) - 1)] ^= 4
        file.write_bytes(data)

    return mutate


MUTATIONS = {
    "flip first": flip(0),
    "flip middle": flip(0.5),
    "flip last": flip(1),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:-1] or b"x"),
    "grow": lambda f: f.write_bytes(f.read_bytes() + b"\n"),
    "zero": lambda f: f.write_bytes(bytes(max(f.stat().st_size, 1))),
    "delete": Path.unlink,
    "link": link,
    "pipe": lambda f: (f.unlink(), os.mkfifo(f)),
    "directory": lambda f: (f.unlink(), f.mkdir()),
    "pickle": lambda f: f.write_bytes(pickle.dumps(Bomb(f.parents[-2] / "never"))),
}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_every_mutation_of_every_file_is_refused(saved, tmp_path, kind):
    for number, name in enumerate(files_of(saved)):
        directory = tmp_path / str(number)
        shutil.copytree(saved.parent, directory)
        path = directory / saved.name
        MUTATIONS[kind](path / name)
        with pytest.raises(CheckpointError) as caught:
            checkpoint.latest(directory)
        line = str(caught.value)
        assert name in line
        assert f"last good checkpoint: {directory / '000000001'}" in line
        assert "\n" not in line
        assert caught.value.exit_code == 3


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_flipped_bit_is_found(saved, data):
    name = data.draw(st.sampled_from([n for n in files_of(saved) if n != "empty.bin"]))
    original = (saved / name).read_bytes()
    mutated = bytearray(original)
    at = data.draw(st.integers(0, len(original) - 1))
    mutated[at] ^= 1 << data.draw(st.integers(0, 7))
    (saved / name).write_bytes(mutated)
    try:
        with pytest.raises(CheckpointError, match=name):
            checkpoint.verify(saved)
    finally:
        (saved / name).write_bytes(original)
    checkpoint.verify(saved)


def test_swapped_and_added_files_are_found(saved, tmp_path):
    names = files_of(saved)
    for number, (one, other) in enumerate(itertools.pairwise(names)):
        path = shutil.copytree(saved, tmp_path / str(number) / saved.name)
        a, b = (path / one).read_bytes(), (path / other).read_bytes()
        (path / one).write_bytes(b)
        (path / other).write_bytes(a)
        with pytest.raises(CheckpointError, match="no other good checkpoint there"):
            checkpoint.restore(path)
    path = shutil.copytree(saved, tmp_path / "more" / saved.name)
    (path / "arrays" / "extra").write_bytes(b"")
    with pytest.raises(CheckpointError, match="arrays/extra: unexpected"):
        checkpoint.verify(path)


def test_the_manifest_of_another_checkpoint_is_refused(saved, tmp_path):
    path = shutil.copytree(saved, tmp_path / "000000003")
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json is damaged"):
        checkpoint.verify(path)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json cannot be read"):
        checkpoint.restore(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["arrays/manifest.ocdbt", "tree.json", "config.json"])
def test_a_pickle_with_a_matching_manifest_is_not_executed(saved, tmp_path, name):
    path = shutil.copytree(saved, tmp_path / saved.name)
    (path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    (path / "MANIFEST.json").unlink()
    manifest.write(path, 2)
    with pytest.raises(CheckpointError):
        checkpoint.read_json(path, "config.json")
        checkpoint.restore(path)
    assert not (tmp_path / "executed").exists()


def test_read_json_refuses_what_is_not_as_written(saved, tmp_path):
    path = shutil.copytree(saved, tmp_path / saved.name)
    (path / "config.json").write_text('{"a": 3}')
    with pytest.raises(CheckpointError, match=r"config\.json has 8 bytes, expected 11"):
        checkpoint.read_json(path, "config.json")
