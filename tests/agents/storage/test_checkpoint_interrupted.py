"""Saves that are killed or that the disk refuses: earlier checkpoints stand, no trace is left."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agents.storage import arrays as array_store
from agents.storage import checkpoint, manifest
from agents.storage import files as durable
from agents.storage.checkpoint import StorageError

ROOT = Path(__file__).parents[3]


def save(directory: Path, step: int, arrays=None, **more) -> Path:
    arrays = {"kernel": np.full((3, 4), step), "key": [np.arange(2)]} if arrays is None else arrays
    return checkpoint.save(directory, step, arrays, config={"a": step}, spec={}, **more)


class Killed(BaseException):
    """Stands for kill -9: no handler of ordinary errors sees it."""


def kill_at(monkeypatch, owner, name: str, before: bool, calls: int = 1):
    original, count = getattr(owner, name), [0]

    def stop(*args, **kwargs):
        count[0] += 1
        if before and count[0] == calls:
            raise Killed
        original(*args, **kwargs)
        if count[0] == calls:
            raise Killed

    monkeypatch.setattr(owner, name, stop)


HOOKS = [
    (owner, name, before, calls)
    for owner, name, most in [
        (array_store, "write", 1),
        (Path, "write_bytes", 1),
        (manifest, "write_synced", 1),
        (durable, "sync_directory", 1),
        (checkpoint, "rename", 2),
    ]
    for before in (True, False)
    for calls in range(1, most + 1)
]


@pytest.mark.parametrize("step", [2, 1], ids=["next", "replaced"])
@pytest.mark.parametrize(("owner", "name", "before", "calls"), HOOKS)
def test_a_save_killed_at_any_point_loses_nothing(tmp_path, owner, name, before, calls, step):
    first = save(tmp_path, 1)
    new = {"kernel": np.full((3, 4), 50)}
    with pytest.MonkeyPatch.context() as patch:
        if owner is checkpoint:
            owner = SimpleNamespace(rename=os.rename, walk=os.walk)
            patch.setattr(checkpoint, "os", owner)
        kill_at(patch, owner, name, before, calls)
        with contextlib.suppress(Killed):
            save(tmp_path, step, new)
    newest = checkpoint.recover(tmp_path)
    assert newest is not None
    kernel = checkpoint.restore(newest)["kernel"]
    assert (kernel == 1).all() or (kernel == 50).all()
    assert all(p.name.isdigit() for p in tmp_path.iterdir())
    assert checkpoint.recover(tmp_path) == newest
    assert (checkpoint.restore(save(tmp_path, step, new))["kernel"] == 50).all()
    checkpoint.verify(first)


SAVER = """
import sys
import numpy as np
from agents.storage import checkpoint
directory, start = sys.argv[1], int(sys.argv[2])
for step in range(start, start + 10_000):
    checkpoint.save(directory, step, {"a": np.full(20_000, step), "b": np.array(step)},
                    config={"step": step}, spec={})
    checkpoint.prune(directory, keep=2)
"""


def test_kill_9_while_saving_leaves_the_previous_checkpoint(tmp_path):
    rng, start = np.random.default_rng(0), 1
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", SAVER, tmp_path, str(start)], cwd=ROOT)
        deadline = time.monotonic() + 30
        while not (tmp_path / f"{start + 1:09d}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        newest = checkpoint.recover(tmp_path)
        assert newest is not None
        state, step = checkpoint.restore(newest), int(newest.name)
        assert step > start
        assert (state["a"] == step).all()
        assert state["b"] == step
        assert checkpoint.read_json(newest, "config.json") == {"step": step}
        start = step + 1


def test_a_reader_leaves_a_save_in_progress_alone(tmp_path, monkeypatch):
    save(tmp_path, 1)
    original = array_store.write

    def read_meanwhile(directory, leaves):
        original(directory, leaves)
        assert checkpoint.latest(tmp_path) == tmp_path / "000000001"

    monkeypatch.setattr(array_store, "write", read_meanwhile)
    checkpoint.verify(save(tmp_path, 2))


@pytest.fixture
def small_files_only():
    """The disk refuses what makes a file larger than 64 KiB, as when it is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_refuses_the_arrays(tmp_path, small_files_only, capfd):
    first = save(tmp_path, 1)
    with pytest.raises(StorageError, match=f"previous checkpoint {first} is intact") as caught:
        save(tmp_path, 2, {"large": np.random.default_rng(0).normal(size=100_000)})
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert f"Orbax cannot write: {os.strerror(errno.EFBIG)} (" in str(caught.value)
    assert "MB free" in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == [first.name]
    assert checkpoint.latest(tmp_path) == first


@pytest.mark.parametrize("step", [2, 1], ids=["next", "replaced"])
@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [
        (array_store, "write", errno.ENOSPC),
        (Path, "write_bytes", errno.EACCES),
        (manifest, "write_synced", errno.EROFS),
        (durable, "sync_directory", errno.EDQUOT),
    ],
)
def test_a_failing_write_leaves_no_trace(tmp_path, monkeypatch, owner, name, code, step):
    first = save(tmp_path, 1)

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(StorageError, match=os.strerror(code)) as caught:
            save(tmp_path, step)
    assert str(first) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [first.name]
    assert checkpoint.latest(tmp_path) == first


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(StorageError, match="no earlier checkpoint"):
        save(tmp_path / "checkpoints", 1)
    with pytest.raises(StorageError):
        checkpoint.latest(tmp_path / "checkpoints")
