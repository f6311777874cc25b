"""Progress of a training: what a terminal and what a log file get to see."""

import io

import pytest
from rich.console import Console

from agents.runs import progress
from agents.runs.progress import TrainProgress, clock


@pytest.fixture
def now(monkeypatch):
    """A clock that is set by hand."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def console(terminal, width=160):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)


def test_without_a_terminal_a_line_now_and_then(now):
    out = console(False)
    with TrainProgress(1000, out) as shown:
        for step in range(0, 1000, 10):
            now[0] += 1
            shown.update(step, **{"return": step / 2, "loss/reward": 0.125, "ignored": 1})
        shown.update(1000, updates_per_s=34.56)
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 11
    assert lines[0] == "90/1000 return 45  reward 0.125  0:10 gone  1:31 to go"
    assert lines[-1] == "1000/1000 return 495  reward 0.125  updates/s 34.6  1:40 gone  0:00 to go"


def test_a_resumed_run_judges_its_own_pace(now):
    out = console(False)
    with TrainProgress(1000, out) as shown:
        shown.update(500)
        now[0] += 50
        shown.update(600)
    assert "0:50 gone  3:20 to go" in out.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_gets_a_bar_and_messages_above_it():
    out = console(True)
    with TrainProgress(100, out) as shown:
        shown.update(40, **{"return": 12.5, "loss/value": None})
        shown.message("saved [100]")
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert all(part in text for part in ("40/100", "return 12.5", "saved [100]"))


def test_eighty_columns_hold_the_bar_the_count_and_the_time_to_go(now):
    out = console(True, 80)
    losses = {f"loss/{name}": 0.01234 for name in ("consistency", "reward", "value", "prior")}
    with TrainProgress(50_000, out) as shown:
        shown.update(20_000)
        now[0] += 60
        shown.update(30_000, **{"return": 812.3, **losses, "updates_per_s": 55.5})
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert all(part in text for part in ("30000/50000", "2:00 to go", "return 812", "prior 0.01"))


def test_quiet_says_nothing():
    out = console(True)
    with TrainProgress(10, out, quiet=True) as shown:
        shown.update(10)
        shown.message("never")
    assert out.file.getvalue() == ""  # type: ignore[attr-defined]


def test_the_default_console_leaves_standard_output_alone(capsys):
    with TrainProgress(10) as shown:
        shown.update(10)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("10/10")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text
