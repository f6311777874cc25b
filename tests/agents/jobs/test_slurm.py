"""Points as submitit jobs, run as processes of this machine instead of SLURM's."""

import time
from collections import Counter
from pathlib import Path

import pytest
from executor_workers import run_all

from agents.jobs.queue import JobQueue
from agents.jobs.slurm import _job
from agents.jobs.store import Store, key_of
from agents.jobs.worker import task_text
from agents.runs.config import ConfigError

LOCAL = {"executor": "slurm", "options": {"cluster": "local"}}
WORKERS = str(Path(__file__).parent)


def executions(log):
    """How often each point was really begun."""
    return Counter(int(line.split()[0]) for line in Path(log).read_text().splitlines())


def files(directory):
    """The files of the points, by name."""
    return {path.name: path.read_bytes() for path in (directory / "points").iterdir()}


def test_jobs_give_what_local_workers_give(tmp_path):
    """The same results and files; a killed job is tried again; nothing else is left."""
    log = tmp_path / "log"
    work = [{"x": x, "flag": str(tmp_path / "flag"), "log": str(log)} for x in (1, 2)]
    jobs = run_all(work, "executor_workers:dies_once", tmp_path / "slurm", jobs=2, **LOCAL)
    assert [outcome.result for outcome in jobs] == [{"y": 1}, {"y": 2}]
    assert executions(log) == {1: 2, 2: 1}
    here = run_all(work, "executor_workers:dies_once", tmp_path / "local", jobs=0)
    assert here == jobs and files(tmp_path / "local") == files(tmp_path / "slurm")
    again = run_all(work, "executor_workers:dies_once", tmp_path / "slurm", **LOCAL)
    assert [outcome.cached for outcome in again] == [True, True]


def test_a_worker_that_raises_is_a_failure(tmp_path):
    work = [{"x": 1, "repaired": str(tmp_path / "no")}]
    (outcome,) = run_all(work, "executor_workers:odd_fails", tmp_path / "out", **LOCAL)
    assert (outcome.result, outcome.error) == (None, "ValueError: 1 is odd and that is all")


def test_an_interruption_cancels_the_jobs(tmp_path, monkeypatch):
    """Promptly, though the job would take ten minutes."""
    log = tmp_path / "log"

    def interrupt(*_):
        while not log.exists():
            time.sleep(0.02)
        raise KeyboardInterrupt

    work = [{"x": 1, "seconds": 600, "log": str(log)}]
    with JobQueue("executor_workers:slow", tmp_path / "out", **LOCAL) as session:
        monkeypatch.setattr("agents.jobs.slurm.Slurm.wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            session.submit(work)
    (pid,) = (int(line.split()[1]) for line in log.read_text().splitlines())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the job goes on"
        time.sleep(0.05)


def test_a_job_keeps_its_result_itself(tmp_path):
    """So that it counts when the process that asked is gone; done again it is only read."""
    log = tmp_path / "log"
    point = {"x": 3, "log": str(log)}
    (tmp_path / "points").mkdir()
    task = task_text("executor_workers:square", point)
    answers = [_job(((), ""), [WORKERS], str(tmp_path), task) for _ in range(2)]
    assert answers[0] == answers[1] and answers[0][0] == "ok"
    assert Store(tmp_path).result(key_of(point)) == {"x": 3, "y": 9, "third": 1.0}
    assert executions(log) == {3: 1}


def test_without_slurm_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="needs the command sbatch"):
        run_all([{"x": 1}], "executor_workers:square", tmp_path, executor="slurm")
