"""Points as tasks of a Ray cluster of two processors, started and ended here."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from executor_workers import run_all

from agents.jobs.queue import JobQueue
from agents.runs.config import ConfigError

WORKERS = str(Path(__file__).parent)
RUN = """
import json, os, signal, sys
sys.path.insert(0, {workers!r})
from agents.jobs.queue import JobQueue
folder = sys.argv[1]
work = [{{"x": x, "flag": folder + "/flag", "log": folder + "/log"}} for x in range(4)]
handler = lambda *_: None
signal.signal(signal.SIGTERM, handler)
with JobQueue("executor_workers:dies_once", folder + "/ray", executor="ray", jobs=2) as session:
    rounds = [session.submit(work), session.submit(work[:1] + [{{"x": 4, "flag": ""}}])]
    session.worker = "executor_workers:odd_fails"
    failed = session.submit([{{"x": 7, "repaired": folder + "/no"}}])
    session.worker = "executor_workers:poisoned"
    poisoned = session.submit([{{"x": 1}}, {{"x": 2}}])
    temporary = __import__("ray")._private.worker._global_node.get_temp_dir_path()
assert signal.getsignal(signal.SIGTERM) is handler
assert "RAY_USAGE_STATS_ENABLED" not in os.environ
print(json.dumps({{
    "results": [[outcome.result for outcome in done] for done in [*rounds, poisoned]],
    "errors": [failed[0].error, poisoned[0].error],
    "temporary": temporary,
}}))
"""


def files(directory):
    """The files of the points, by name."""
    return {path.name: path.read_bytes() for path in (directory / "points").iterdir()}


def commands():
    """Command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_cluster_gives_what_local_workers_give(tmp_path, monkeypatch):
    """Same files; killed tasks tried again; poison isolated; silent; nothing runs on."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    command = [sys.executable, "-c", RUN.format(workers=WORKERS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    first, second, poisoned = report["results"]
    assert first == [{"y": x} for x in range(4)] and second == [{"y": 0}, {"y": 4}]
    assert poisoned == [None, {"y": 2}]
    assert report["errors"][0] == "ValueError: 7 is odd and that is all"
    assert "its worker process ended without an answer" in report["errors"][1]
    assert "3 times in a row" in report["errors"][1]
    begun = sorted(int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines())
    assert begun == [0, 1, 1, 2, 3, 3]
    work = [
        {"x": x, "flag": str(tmp_path / "flag"), "log": str(tmp_path / "log")} for x in range(4)
    ]
    run_all(work, "executor_workers:dies_once", tmp_path / "local", jobs=0)
    assert files(tmp_path / "local").items() <= files(tmp_path / "ray").items()
    assert not Path(report["temporary"]).exists()
    assert not [text for text in commands() if report["temporary"] in text]


def test_without_ray_one_line_says_what_to_type(tmp_path, monkeypatch):
    """And nothing else is touched; a session of finished points needs no Ray."""
    run_all([{"x": 1}], "executor_workers:square", tmp_path, jobs=0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with JobQueue("executor_workers:square", tmp_path, executor="ray") as session:
        assert session.submit([{"x": 1}])[0].cached
        with pytest.raises(ConfigError, match=r"pip install 'latentmpc\[cluster\]'") as caught:
            session.submit([{"x": 2}])
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_no_cluster_at_the_address_is_one_line(tmp_path, monkeypatch):
    """What Ray says, and where it looked."""

    class Deaf:
        """A Ray that finds nobody."""

        _private = SimpleNamespace(worker=SimpleNamespace(_worker_logs_enabled=True))

        def is_initialized(self):
            return False

        def init(self, **settings):
            assert settings["address"] == "host:1"
            raise ConnectionError("nobody\nthere")

        def shutdown(self):
            pass

    monkeypatch.setenv("RAY_ADDRESS", "host:1")
    monkeypatch.setitem(sys.modules, "ray", Deaf())
    with pytest.raises(ConfigError, match=r"no Ray cluster at RAY_ADDRESS=host:1: Conn.*nobody"):
        run_all([{"x": 2}], "executor_workers:square", tmp_path, executor="ray")
