"""Keys of points and the files of their results."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.jobs.store import Store, canonical, key_of
from agents.runs.directory import RunLockedError

POINT = {"name": "cartpole swingup/h=3", "planner": {"horizon": 3}, "seed": 1}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_key_is_readable_and_fixed():
    """A key once given stays: results of older versions are found again."""
    assert key_of({"x": 1}) == "point-5041bf1f713df204"
    assert key_of(POINT).startswith("cartpole-swingup-h-3-")
    assert key_of({"name": "../.."})[:6] == "point-"
    assert len(key_of({"name": "a" * 500})) == 80 + 1 + 16


def test_key_follows_the_content_not_its_order():
    assert key_of(POINT) == key_of(dict(reversed(POINT.items())))
    assert key_of(POINT) != key_of(POINT | {"seed": 2})
    assert key_of({"a": (1, 2)}) == key_of({"a": [1, 2]})


@settings(deadline=None)
@given(point=st.dictionaries(st.text(), JSON))
def test_keys_survive_json(point):
    """What is read back from a file has the key it was written under."""
    key = key_of(point)
    assert key_of(json.loads(canonical(point))) == key
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_results_and_failures_come_back(tmp_path):
    key = key_of(POINT)
    with Store(tmp_path) as store:
        assert store.result(key) is None and store.failure(key) is None
        store.write_failure(key, POINT, "no\nluck")
        assert store.result(key) is None and store.failure(key) == "no luck"
        store.write(key, POINT, {"y": np.float64(0.1), "z": float("nan")})
        assert store.result(key) == {"y": 0.1, "z": None} and store.failure(key) is None
    assert [path.name for path in (tmp_path / "points").iterdir()] == [f"{key}.json"]


def test_damaged_and_foreign_files_count_as_missing(tmp_path):
    """Every shortened file, a flipped digit, another point's file, no file at all but a folder."""
    key, other = key_of(POINT), key_of({"x": 1})
    with Store(tmp_path) as store:
        store.write(key, POINT, {"y": 12345})
        data = store.path(key).read_bytes()
        store.path(other).write_bytes(data)
        assert store.result(other) is None
        for size in range(len(data) - 1):
            store.path(key).write_bytes(data[:size])
            assert store.result(key) is None
        for damaged in (data.replace(b"12345", b"12346"), b"[]", b'{"sha256":1}', b"\xff"):
            store.path(key).write_bytes(damaged)
            assert store.result(key) is None
        store.path(key).unlink()
        store.path(key).mkdir()
        assert store.result(key) is None


def test_reading_needs_no_lock_and_makes_nothing(tmp_path):
    assert Store(tmp_path / "none").result("x") is None
    assert not (tmp_path / "none").exists()


def test_leftovers_of_a_killed_writer_go(tmp_path):
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / ".tmp-x.json").write_text("half")
    with Store(tmp_path) as store:
        assert not list(store.points.iterdir())


HOLD = """
import sys
from agents.jobs.store import Store
with Store(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_process_is_locked_out(tmp_path):
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=pipe, stdout=pipe, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunLockedError, match=f"{holder.pid}.*another --out") as caught:
            Store(tmp_path).__enter__()
        assert caught.value.exit_code == 6
        holder.kill()
    with Store(tmp_path):
        pass
