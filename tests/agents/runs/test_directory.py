"""Run directories: lock, metrics, configuration, unusable disks."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from agents.runs.config import ConfigError, TrainConfig
from agents.runs.directory import RunDir, RunLockedError
from agents.storage import files as durable
from agents.storage.files import CheckpointError, StorageError

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from agents.runs.directory import RunDir
RunDir.create(sys.argv[1]).acquire()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path) -> RunDir:
    return RunDir.create(tmp_path / "run")


def test_a_new_run_has_its_places(run):
    assert run.checkpoints.is_dir()
    assert run.replay.is_dir()
    assert not run.metrics.exists()
    assert RunDir.create(run.path).path == run.path


def test_opening_what_is_no_run_says_what_to_type(tmp_path):
    with pytest.raises(ConfigError, match=r"no run directory .*latentmpc train") as caught:
        RunDir.open(tmp_path)
    assert caught.value.exit_code == 2


def test_a_second_process_is_told_who_holds_the_lock_until_it_is_killed(run):
    command = [sys.executable, "-c", HOLDER, run.path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        with pytest.raises(RunLockedError, match=f"process {child.pid}") as caught:
            run.acquire()
        assert caught.value.exit_code == 6
        assert "\n" not in str(caught.value)
        child.send_signal(signal.SIGKILL)
        child.wait()
    with run:
        assert (run.path / "lock").read_text().strip() == str(os.getpid())


def test_the_lock_is_exclusive_and_reusable(run):
    other = RunDir(run.path)
    with run:
        run.acquire()
        with pytest.raises(RunLockedError):
            other.acquire()
    with other, pytest.raises(RunLockedError):
        run.acquire()
    run.release()


def write_rows(run: RunDir, first: int, last: int):
    for step in range(first, last + 1):
        run.append_metrics({"kind": "train", "env_steps": step, "loss/value": step / 7})


def test_metrics_of_a_resumed_run_equal_those_of_an_uninterrupted_one(run, tmp_path):
    write_rows(run, 1, 10)
    with open(run.metrics, "ab") as file:
        file.write(b'{"kind": "train", "env_st')
    assert len(run.read_metrics()) == 10
    run.truncate_metrics(6)
    write_rows(run, 7, 12)
    straight = RunDir.create(tmp_path / "straight")
    write_rows(straight, 1, 12)
    assert run.metrics.read_bytes() == straight.metrics.read_bytes()
    assert [row["env_steps"] for row in run.read_metrics()] == list(range(1, 13))


def test_a_run_without_checkpoint_starts_its_metrics_again(run):
    run.truncate_metrics(-1)
    assert run.read_metrics() == []
    write_rows(run, 0, 3)
    run.truncate_metrics(-1)
    assert run.metrics.read_bytes() == b""


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_last_line_torn_anywhere_goes(run, cut):
    write_rows(run, 1, 2)
    run.metrics.write_bytes(run.metrics.read_bytes()[:-cut])
    run.truncate_metrics(2)
    assert [row["env_steps"] for row in run.read_metrics()] == [1]


def test_rows_hold_arrays_and_turn_nan_into_null(run):
    row = {
        "a": np.float32(0.5),
        "b": np.nan,
        "c": np.arange(2),
        "d": [np.inf, True],
        "e": Path("x"),
    }
    run.append_metrics(row)
    text = run.metrics.read_text()
    assert json.loads(text) == {"a": 0.5, "b": None, "c": [0, 1], "d": [None, True], "e": "x"}
    assert run.read_metrics() == [json.loads(text)]


def test_json_files_are_replaced_in_one_step(run, monkeypatch):
    path = run.write_json("result.json", {"return_mean": 1.0})
    assert path == run.result

    def full(path, data):
        path.write_bytes(data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "write_synced", full)
    with pytest.raises(StorageError, match=r"result\.json: No space left"):
        run.write_json("result.json", {"return_mean": 2.0})
    assert run.read_json("result.json") == {"return_mean": 1.0}
    assert not list(run.path.glob(".tmp-*"))


def test_the_same_settings_resume(run):
    config = asdict(TrainConfig(run_dir="a"))
    assert not run.ensure_config(config)
    assert run.ensure_config(config)
    other = asdict(TrainConfig(run_dir="b", video=False))
    assert run.ensure_config(other, ignore=("run_dir", "video"))
    assert RunDir.open(run.path).ensure_config(config)


def test_a_setting_that_differs_is_named_with_both_values(run):
    config = TrainConfig()
    run.ensure_config(asdict(config))
    rate = config.learner.learning_rate
    other = replace(config, learner=replace(config.learner, learning_rate=2 * rate), seed=0)
    with pytest.raises(ConfigError) as caught:
        run.ensure_config(asdict(other))
    line = str(caught.value)
    assert f"learner.learning_rate is {2 * rate}, " in line
    assert f"made with {rate}" in line
    assert "another --run-dir" in line
    assert run.ensure_config(asdict(other), ignore=("learner",))
    with pytest.raises(ConfigError, match="learner"):
        run.ensure_config(asdict(other), ignore=("learn",))


def test_a_setting_that_is_gone_or_new_is_named(run):
    run.ensure_config({"a": 1, "shape": (2, 3)})
    assert run.ensure_config({"a": 1, "shape": [2, 3]})
    with pytest.raises(ConfigError, match=r"b is 2, but .* made with not set"):
        run.ensure_config({"a": 1, "shape": [2, 3], "b": 2})
    with pytest.raises(ConfigError, match=r"a is not set, but .* made with 1"):
        run.ensure_config({"shape": [2, 3]})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_config_is_refused(run, content):
    run.config.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read") as caught:
        run.ensure_config({"a": 1})
    assert caught.value.exit_code == 3


def test_unusable_places_are_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/run") as caught:
        RunDir.create(tmp_path / "file" / "run")
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    with pytest.raises(StorageError):
        RunDir(tmp_path / "none").acquire()

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        RunDir.create(tmp_path / "run")


def test_metrics_that_cannot_be_written(run):
    run.metrics.mkdir()
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is a folder"):
        run.append_metrics({"env_steps": 1})
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: not a regular file"):
        run.read_metrics()
