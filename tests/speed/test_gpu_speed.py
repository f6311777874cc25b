"""Speeds come one by one, and none is lost to what goes wrong after it."""

import json

import pytest

from tests.speed import gpu_speed


def test_what_fails_or_comes_too_late_spoils_nothing(tmp_path):
    now = [0.0]

    def takes(seconds, **figures):
        def part():
            now[0] += seconds
            if not figures:
                raise RuntimeError("no such\ndevice")
            return figures

        return part

    measured = {"a": takes(10, x=1), "b": takes(5), "c": takes(30, y=2), "d": takes(1, z=3)}
    found = gpu_speed.measure(measured, 1.0, tmp_path, clock=lambda: now[0])
    assert found["a"] == {"x": 1.0, "seconds": 10.0, "compile_s": 0.0}
    assert found["b"]["error"] == "RuntimeError: no such device" and found["b"]["seconds"] == 5.0
    assert found["c"]["y"] == 2.0
    assert found["left_out"] == ["d"]  # 15 seconds were left
    stored = json.loads((tmp_path / gpu_speed.RESULT).read_text())
    assert stored["c"] == found["c"] and "d" not in stored
    assert stored["devices"] and stored["versions"]["jax"]


def test_an_unknown_part_is_refused_before_anything_is_measured(tmp_path, capsys):
    from tests.speed.bench_gpu import main

    with pytest.raises(SystemExit) as stop:
        main(["--parts", "learn", "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and not (tmp_path / "out").exists()
    assert "plan 5M, " in (said := capsys.readouterr().err) and "not 'learn'" in said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_miniature_measures_every_part(tmp_path, capfd):
    """On whatever this machine has, MJX included."""
    from tests.speed.bench_gpu import main

    assert main(["--small", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["simulators 8"]["decisions_per_s"] > 0 and found["plan tiny"]["p50"] > 0
    assert found["learning"]["env_steps"] >= 60 and found["learning"]["updates"] > 0
