"""Points over worker processes: order, retries, failures, interruption, kills."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from executor_workers import run_all

from agents.jobs.local import share_of_cores
from agents.jobs.queue import JobQueue
from agents.runs.config import ConfigError

HERE = str(Path(__file__).parent)
PARENT = """
import json, sys
sys.path.insert(0, {here!r})
from executor_workers import run_all
points, worker, directory, how = json.loads(sys.argv[1])
print(json.dumps([outcome.cached for outcome in run_all(points, worker, directory, **how)]))
"""


def points(count, **more):
    """Numbered points."""
    return [{"name": f"n{x}", "x": x, **more} for x in range(count)]


def values(outcomes, name="y"):
    """One field of the results."""
    return [outcome.result[name] for outcome in outcomes if outcome.result is not None]


def executions(log):
    """How often each point was really begun."""
    return Counter(int(line.split()[0]) for line in Path(log).read_text().splitlines())


def files(directory):
    """Every file of a directory but the lock, by name."""
    found = (path for path in Path(directory).rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def eventually(condition, seconds=60):
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def parent(work, worker, directory, **how):
    """A process of its own that runs points."""
    text = json.dumps([work, f"executor_workers:{worker}", str(directory), how])
    command = [sys.executable, "-c", PARENT.format(here=HERE), text]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("jobs", "step"), [(1, 1), (2, -1)])
def test_files_and_results_depend_on_nothing(tmp_path, jobs, step):
    """The same as in this process, for any number of jobs, in any order."""
    work = points(5)
    plain = run_all(work, "executor_workers:square", tmp_path / "plain", jobs=0)
    spread = run_all(work[::step], "executor_workers:square", tmp_path / "spread", jobs=jobs)
    assert plain == spread[::step]
    assert values(plain) == [0, 1, 4, 9, 16]
    assert files(tmp_path / "plain") == files(tmp_path / "spread")


def test_finished_points_are_not_redone(tmp_path):
    work, seen = points(3, log=str(tmp_path / "log")), []

    def on_done(key, point, outcome):
        assert outcome.key == key and outcome.point == point
        seen.append((point["x"], outcome.cached))

    for _ in range(2):
        run_all(work, "executor_workers:square", tmp_path / "out", jobs=0, on_done=on_done)
    assert seen == [(0, False), (1, False), (2, False), (0, True), (1, True), (2, True)]
    assert executions(tmp_path / "log") == {0: 1, 1: 1, 2: 1}


def test_points_asked_twice_are_done_once(tmp_path):
    work = points(2, log=str(tmp_path / "log"))
    outcomes = run_all(work + work, "executor_workers:square", tmp_path / "out", jobs=0)
    assert values(outcomes) == [0, 1, 0, 1]
    assert executions(tmp_path / "log") == {0: 1, 1: 1}


def test_torn_result_is_redone(tmp_path):
    work = points(3, log=str(tmp_path / "log"))
    outcomes = run_all(work, "executor_workers:square", tmp_path / "out", jobs=0)
    before = files(tmp_path / "out")
    torn = tmp_path / "out" / "points" / f"{outcomes[1].key}.json"
    torn.write_bytes(torn.read_bytes()[:-9])
    again = run_all(work, "executor_workers:square", tmp_path / "out", jobs=0)
    assert [outcome.cached for outcome in again] == [True, False, True]
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("jobs", [0, 2])
def test_failures_are_kept_and_tried_again(tmp_path, jobs):
    repaired = tmp_path / "repaired"
    work = points(4, log=str(tmp_path / "log"), repaired=str(repaired))
    with JobQueue("executor_workers:odd_fails", tmp_path / "out", jobs=jobs) as session:
        first = session.submit(work)
        assert [outcome.error for outcome in first] == [
            "",
            "ValueError: 1 is odd and that is all",
            "",
            "ValueError: 3 is odd and that is all",
        ]
        assert [outcome.result for outcome in first] == [{"y": 0}, None, {"y": 2}, None]
        assert session.store.failure(first[1].key) == first[1].error
        repaired.touch()
        second = session.submit(work)
    assert values(second) == [0, 1, 2, 3]
    assert [outcome.cached for outcome in second] == [True, False, True, False]
    assert executions(tmp_path / "log") == {0: 1, 1: 2, 2: 1, 3: 2}


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ("executor_workers:gives_up", "SystemExit: 3"),
        ("executor_workers:returns_nothing", "returned a NoneType, expected a dict"),
        ("executor_workers:nothing", "has no attribute 'nothing'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
    ],
)
def test_a_worker_that_does_not_work_is_a_failure(tmp_path, worker, reason):
    (outcome,) = run_all(points(1), worker, tmp_path, jobs=0)
    assert outcome.result is None and reason in outcome.error


def test_killed_workers_are_tried_again(tmp_path):
    log = tmp_path / "log"
    work = points(4, flag=str(tmp_path / "flag"), log=str(log))
    outcomes = run_all(work, "executor_workers:dies_once", tmp_path / "out", jobs=2)
    assert [outcome.result for outcome in outcomes] == [{"y": x} for x in range(4)]
    assert executions(log) == {0: 1, 1: 2, 2: 1, 3: 2}


def test_poison_takes_nothing_down(tmp_path):
    log = tmp_path / "log"
    work = points(4, log=str(log))
    outcomes = run_all(work, "executor_workers:poisoned", tmp_path / "out", jobs=2, retries=1)
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False, False]
    assert outcomes[1].error == (
        "its worker process was killed by SIGKILL (out of memory?), 2 times in a row"
    )
    assert executions(log) == {0: 1, 1: 2, 2: 1, 3: 1}


def test_workers_print_nowhere_but_on_standard_error(tmp_path):
    with parent(points(1), "chatty", tmp_path, jobs=1) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (0, "[false]\n")
    assert "said in Python" in err and "said below Python" in err
    with parent(points(1), "chatty", tmp_path / "here", jobs=0) as process:
        assert "said in Python" not in process.communicate()[0]


def test_processes_stay_and_are_replaced(tmp_path):
    with JobQueue("executor_workers:process", tmp_path, jobs=1, recycle=3) as session:
        rounds = [session.submit([{"x": x, "y": y} for x in range(2)]) for y in range(3)]
    processes = [pid for done in rounds for pid in values(done, "pid")]
    assert processes[:3] == processes[:1] * 3 and processes[3:] == processes[3:4] * 3
    assert processes[0] != processes[3] and os.getpid() not in processes
    assert not any(map(alive, processes))


def test_an_idle_worker_killed_is_replaced(tmp_path):
    with JobQueue("executor_workers:process", tmp_path, retries=0) as session:
        (first,) = values(session.submit([{"x": 1}]), "pid")
        os.kill(first, signal.SIGKILL)
        # "Z" comes before the last of its threads has ended and its socket has closed
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        (second,) = values(session.submit([{"x": 2}]), "pid")
    assert second != first


def test_workers_keep_to_their_share_of_the_cores(tmp_path):
    outcomes = run_all(points(4), "executor_workers:process", tmp_path, jobs=2)
    shares = [share_of_cores(slot, 2) for slot in range(2)]
    assert all(cores in shares for cores in values(outcomes, "cores"))
    assert set(values(outcomes, "threads")) <= {str(len(share)) for share in shares}


def test_cores_are_shared_out_evenly(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7, 8}, raising=False)
    assert share_of_cores(0, 1) == []  # no limit
    assert [share_of_cores(slot, 2) for slot in range(2)] == [[2, 3], [5, 7, 8]]
    assert [share_of_cores(slot, 7) for slot in range(7)] == [[2], [3], [5], [7], [8], [2], [3]]


def test_parent_killed_and_restarted(tmp_path):
    """kill -9: the workers end with it; the finished points stay done."""
    log, out = tmp_path / "log", tmp_path / "out"
    work = [*points(3, log=str(log), seconds=0), {"x": 9, "log": str(log), "seconds": 600}]
    with parent(work, "slow", out, jobs=1) as process:
        eventually(lambda: log.exists() and 9 in executions(log))
        process.kill()
    (worker,) = {int(line.split()[1]) for line in log.read_text().splitlines()}
    eventually(lambda: not alive(worker))
    late = [*work[:3], {"x": 10, "log": str(log), "seconds": 0}]
    outcomes = run_all(late, "executor_workers:slow", out, jobs=0)
    assert [outcome.cached for outcome in outcomes] == [True, True, True, False]
    assert executions(log) == {0: 1, 1: 1, 2: 1, 9: 1, 10: 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_keeps_what_is_done(tmp_path, number):
    """The workers go at once, with what they started; the parent raises KeyboardInterrupt."""
    log, child = tmp_path / "log", tmp_path / "child"
    more = {"log": str(log), "child": str(child)}
    work = [{"x": 0, "seconds": 0, **more}, {"x": 1, "seconds": 600, **more}]
    with parent(work, "with_child", tmp_path / "out", jobs=1) as process:
        eventually(lambda: log.exists() and 1 in executions(log))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert err.rstrip().endswith("KeyboardInterrupt")
    (worker,) = {int(line.split()[1]) for line in log.read_text().splitlines()}
    eventually(lambda: not alive(worker) and not alive(int(child.read_text())))
    assert len(files(tmp_path / "out")) == 1


def test_a_session_goes_on_after_an_interruption(tmp_path):
    """What was under way is dropped, not mistaken for the answer to the next point."""

    def interrupt(key, point, outcome):
        if point["x"] == 0:
            raise KeyboardInterrupt

    work = [{"x": 0, "seconds": 0}, {"x": 1, "seconds": 600}]
    with JobQueue("executor_workers:slow", tmp_path, jobs=2, on_done=interrupt) as session:
        with contextlib.suppress(KeyboardInterrupt):
            session.submit(work)
        session.worker = "executor_workers:square"
        assert values(session.submit([{"x": 7}])) == [49]


@pytest.mark.parametrize(
    ("how", "words"),
    [({"executor": "loca"}, "did you mean local"), ({"jobs": -1}, r"jobs must lie in \[0, ")],
)
def test_bad_settings_are_one_line(tmp_path, how, words):
    with pytest.raises(ConfigError, match=words):
        JobQueue("executor_workers:square", tmp_path, **how)
    assert not list(tmp_path.iterdir())
