"""Sweeps in processes of their own: the same bytes on every executor, kill -9 and restart."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import asdict
from pathlib import Path

import pytest

from agents.benchmarks.sweep.config import SweepConfig
from agents.benchmarks.sweep.sweep import sweep
from agents.runs.config import TrainConfig

HERE = str(Path(__file__).parent)
GRID = "planner.horizon=1,2,3,5 planner.num_samples=32,128"
SWEEP = """
import json, sys
sys.path.insert(0, {here!r})
from agents.benchmarks.sweep.sweep import sweep
from agents.benchmarks.sweep.config import SweepConfig
sweep(SweepConfig(**json.loads(sys.argv[1])), worker="sweep_workers:held")
"""
SLOW = pytest.param("ray", 2, marks=pytest.mark.slow)


@pytest.fixture
def model(tmp_path):
    """A checkpoint directory as far as a sweep looks into it."""
    found = tmp_path / "model"
    found.mkdir()
    (found / "MANIFEST.json").write_text("the model")
    (found / "spec.json").write_text(json.dumps({"control_dt": 0.01, "action_repeat": 2}))
    (found / "config.json").write_text(json.dumps({"settings": asdict(TrainConfig())}))
    return found


def begin(model, out, executor, jobs, mark="", grid=GRID):
    """A sweep in a process of its own; all its processes carry `mark` in their environment."""
    how = {"path": str(model), "grid": grid, "out": str(out), "executor": executor, "jobs": jobs}
    env = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"SWEEP_MARK": mark}
    command = [sys.executable, "-c", SWEEP.format(here=HERE), json.dumps(how)]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def alone(model, monkeypatch):
    """A sweep with all its points in this process."""
    monkeypatch.syspath_prepend(HERE)

    def run(out):
        config = SweepConfig(path=str(model), grid=GRID, out=str(out), executor="local", jobs=0)
        sweep(config, worker="sweep_workers:held")

    return run


def ended(process):
    """Wait for the end of a sweep that goes through."""
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said


def marked(mark):
    """Processes that live and carry a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"SWEEP_MARK={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def eventually(condition, seconds=200):
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def results(out):
    """What a sweep found: its rows, its points and its recommendation."""
    files = [out / "results.jsonl", out / "recommended.toml", *(out / "points").glob("*.json")]
    return {path.name: path.read_bytes() for path in files}


def finished(model):
    """The points that came to their end, as often as they did."""
    return sorted((model / "log").read_text().splitlines())


@pytest.mark.parametrize(("executor", "jobs"), [("local", 2), SLOW])
def test_executor_processes_and_order_change_no_byte(model, alone, tmp_path, executor, jobs):
    """Beside all points in the sweep's own process; rows are in the order of the grid."""
    alone(tmp_path / "plain")
    ended(begin(model, tmp_path / "spread", executor, jobs))
    assert results(tmp_path / "spread") == results(tmp_path / "plain")
    turned = " ".join(f"{n}={','.join(v.split(',')[::-1])}" for n, v in (
        token.split("=") for token in GRID.split()))  # fmt: skip
    ended(begin(model, tmp_path / "turned", executor, jobs, grid=turned))
    rows = [(tmp_path / out / "results.jsonl").read_text() for out in ("turned", "plain")]
    assert sorted(rows[0].splitlines()) == sorted(rows[1].splitlines())


@pytest.mark.parametrize(("executor", "jobs"), [("local", 1), ("local", 2), SLOW])
def test_killed_and_restarted_it_redoes_no_stored_point(model, alone, tmp_path, executor, jobs):
    """kill -9 in the middle of a round: every process goes, what is finished stays finished."""
    mark = uuid.uuid4().hex
    (model / "hold").touch()
    with begin(model, tmp_path / "out", executor, jobs, mark) as process:
        eventually(lambda: (model / "holding").exists() or process.poll() is not None)
        eventually(lambda: len(list((tmp_path / "out" / "points").glob("*.json"))) >= 5)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    eventually(lambda: not marked(mark))
    stored = {p.name: p.read_bytes() for p in (tmp_path / "out" / "points").glob("*.json")}
    # One may have come to its end in the very moment, before the sweep had it: that is done again.
    unstored = len(finished(model)) - len(stored)
    assert 0 <= unstored <= jobs
    (model / "hold").unlink()
    ended(begin(model, tmp_path / "out", executor, jobs))
    done = finished(model)
    assert len(done) - len(set(done)) <= unstored, "a stored point was done again"
    (model / "log").unlink()
    alone(tmp_path / "whole")
    assert finished(model) == sorted(set(done))
    after = results(tmp_path / "out")
    assert after == results(tmp_path / "whole")
    assert stored.items() <= after.items()
