"""Soaks of `run` and `serve`: a good client among bad ones, and ten minutes in real time."""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from websockets.sync.client import connect

from agents.deployment.realtime.config import RunConfig
from agents.deployment.realtime.pacing import Pacer, ask_for_priority
from agents.deployment.serving.wire import pack, unpack
from agents.jobs import children
from agents.storage import checkpoint
from tests.soak.controller_soak import untrained


class Line(Protocol):
    """A connection that answers arrive on."""

    def recv(self, timeout: float) -> bytes | str:
        """The next message. Raises TimeoutError."""
        ...


TOLERANCE, MIN_SHARE = 1.1, 0.99
MAX_LATE_MS, MAX_SLOPE_MB = 5.0, 1.0
START_S = 600.0
BUSY = """\
import os, time
if hasattr(os, "sched_setscheduler"):  # ordinary work, whatever priority the controller was given
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
while True:
    end = time.monotonic() + {busy}
    while time.monotonic() < end:
        sum(range(10_000))
    time.sleep({idle})
"""


def frames(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """`count` bad frames from two clients while a good one runs at rate.

    A tick of the good client is in time when its action is there within 1.1 periods of its
    deadline and nothing was held against it.
    """
    with run_directory(path) as run, server(run) as (host, port, process):
        fuzzers = [_fuzzer(host, port, count // 2 + i * (count % 2), seed + i) for i in range(2)]
        share, ticks, slowest = _good_client(host, port, fuzzers)
        sent = [json.loads(fuzzer.communicate()[0] or b"{}") for fuzzer in fuzzers]
        alive = process.poll() is None
        process.terminate()
        report = json.loads(process.communicate(timeout=60)[0])
    total = {k: sum(s.get(k, 0) for s in sent) for k in sorted({k for s in sent for k in s})}
    failed = [f.returncode for f in fuzzers if f.returncode]
    broken = {
        "the server died": not alive,
        "errors inside the server": report["errors"] > 0,
        "compilations": report["compilations"] > 0,
        "a fuzzer could not connect": bool(failed),
        f"under {MIN_SHARE:.0%} of good ticks in time": share < MIN_SHARE,
    }
    return {
        "sent": total,
        "good_ticks": ticks,
        "good_share": share,
        "slowest_ms": slowest,
        "server": report,
        "violations": [what for what, bad in broken.items() if bad],
    }


def realtime(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """`count` seconds at the model's rate, with another process that loads a core half the time."""
    from agents.deployment.realtime.run import run

    with run_directory(path) as folder, _busy(2.0, 2.0):
        config = RunConfig(
            path=str(folder), seconds=float(count), seed=seed, max_misses=0, realtime=True
        )
        result = run(config)
    late, slope = result["lateness_ms"]["p99"], result["rss_slope_mb_per_min"]
    due = int(count * result["rate_hz"])
    broken = {
        f"{result['skipped']} ticks were skipped": result["skipped"] > 0,
        f"{result['ticks']} ticks of {due}": abs(result["ticks"] - due) > 1,
        f"p99 lateness of {late:.1f} ms": late >= MAX_LATE_MS,
        f"{result['compilations']} compilations": result["compilations"] > 0,
        f"memory grows by {slope:.1f} MB a minute": slope > MAX_SLOPE_MB,
        f"stopped: {result['stopped']}": bool(result["stopped"]),
    }
    return {**result, "violations": [what for what, bad in broken.items() if bad]}


@contextlib.contextmanager
def run_directory(path: str) -> Iterator[Path]:
    """The given run, or an untrained one on disk."""
    if path:
        yield Path(path)
        return
    trained = untrained()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(
            Path(folder, "checkpoints"),
            1,
            {"train": {"average": trained.params}},
            config={"settings": asdict(trained.config)},
            spec=trained.spec.to_json(),
        )
        yield Path(folder)


@contextlib.contextmanager
def server(run: Path, *flags: str) -> Iterator[tuple[str, int, subprocess.Popen]]:
    """`latentmpc serve` in a process of its own; where it listens."""
    words = ["serve", str(run), "--port", "0", "--json", "--realtime", *flags]
    process = subprocess.Popen(
        children.calling("scripts.cli:main", words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield *_address(process), process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def _address(process: subprocess.Popen) -> tuple[str, int]:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("ws://"):
            host, _, port = line.split()[0].removeprefix("ws://").rpartition(":")
            return host, int(port)
    raise RuntimeError(f"the server did not start: {''.join(lines)[-500:]}")


def _fuzzer(host: str, port: int, count: int, seed: int) -> subprocess.Popen:
    words = children.calling("tests.soak.fuzz:main", host, port, count, seed)
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def _good_client(host: str, port: int, others: list[subprocess.Popen]) -> tuple[float, int, float]:
    """Run at rate until the others are done: share of ticks in time, ticks, slowest in ms."""
    ask_for_priority()
    with connect(f"ws://{host}:{port}/?client=good", compression=None) as client:
        about = received(client)
        obs, period = np.zeros(about["obs"]["shape"], np.float32), about["period_s"]
        pacer = Pacer(period, time.monotonic() + 0.1)
        took, good, end = [], 0, time.monotonic() + START_S * 6
        while any(other.poll() is None for other in others) and time.monotonic() < end:
            pacer.wait()
            due = pacer.due - period
            client.send(pack({"obs": obs, "sequence": pacer.number}))
            answer = received(client)
            took.append(time.monotonic() - due)
            good += took[-1] <= TOLERANCE * period and answer["state"] == "ok"
    ticks = len(took) + pacer.skipped
    return good / max(1, ticks), ticks, 1e3 * max(took, default=0.0)


def received(client: Line) -> dict:
    """An answer. Raises RuntimeError with the server's words when it is none."""
    data = client.recv(timeout=10)
    if isinstance(data, str):
        raise RuntimeError(data)
    return unpack(data)


@contextlib.contextmanager
def _busy(busy: float, idle: float) -> Iterator[None]:
    """Another process that needs a whole core for some of the time."""
    process = subprocess.Popen(children.python(BUSY.format(busy=busy, idle=idle)))
    try:
        yield
    finally:
        process.kill()
        process.wait()
