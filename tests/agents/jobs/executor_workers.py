"""Workers for the tests of the executors: quick, no jax; workers find them through sys.path."""

import os
import signal
import time
from pathlib import Path


def run_all(points, worker, directory, **how):
    """Outcomes in the order of `points`: one session, one submit."""
    from agents.jobs.queue import JobQueue

    with JobQueue(worker, directory, **how) as session:
        return session.submit(points)


def note(point):
    """One line for every execution: how often a point was really done."""
    if "log" in point:
        with open(point["log"], "ab", buffering=0) as log:
            log.write(f"{point['x']} {os.getpid()}\n".encode())


def square(point):
    note(point)
    return {"x": point["x"], "y": point["x"] ** 2, "third": point["x"] / 3}


def chatty(point):
    print("said in Python")
    os.write(1, b"said below Python\n")
    return square(point)


def odd_fails(point):
    note(point)
    if point["x"] % 2 and not Path(point["repaired"]).exists():
        raise ValueError(f"{point['x']} is odd\nand that is all")
    return {"y": point["x"]}


def dies_once(point):
    """Killed at the first try of every odd point."""
    note(point)
    flag = Path(f"{point['flag']}{point['x']}")
    if point["x"] % 2 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": point["x"]}


def poisoned(point):
    note(point)
    if point["x"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": point["x"]}


def gives_up(point):
    raise SystemExit(3)


def returns_nothing(point):
    note(point)


def slow(point):
    """Says that it began, then takes `seconds`."""
    note(point)
    time.sleep(point["seconds"])
    return {"y": point["x"]}


def with_child(point):
    """Starts a process of its own that would outlive it."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    Path(point["child"]).write_text(str(child.pid))
    return slow(point)


def process(point):
    """Where it ran: its process, its cores, its thread limits."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return {"pid": os.getpid(), "cores": cores, "threads": os.environ.get("OMP_NUM_THREADS")}
