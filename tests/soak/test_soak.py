"""A sample of the soak of command lines; `python -m tests.soak configs` tries 10,000."""

import json
import subprocess
import sys

import pytest

from tests.soak import config_soak


def test_a_sample_of_command_lines():
    """In a process of its own, where jax is not loaded and must not be."""
    command = [sys.executable, "-m", "tests.soak", "configs", "--count", "150", "--json"]
    done = subprocess.run([*command, "--seed", "7"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert (done.returncode, report["violations"]) == (0, []), done.stderr
    assert report["exit_0"] + report["exit_2"] == 150
    assert min(report["exit_0"], report["exit_2"]) > 30, "it tries both"


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        ((0, "", ["seed"], 0.1), ""),
        ((2, "--seed must be an integer", ["seed"], 0.1), ""),
        ((1, "ZeroDivisionError('seed')", ["seed"], 0.1), "exit 1"),
        ((2, "that is wrong", ["seed"], 0.1), "names no key"),
        ((0, "", ["seed"], 1.5), "took 1.5 s"),
    ],
)
def test_what_counts_as_wrong(monkeypatch, run, fault):
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert config_soak._wrong(*run) == fault


def test_with_jax_loaded_nothing_can_be_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", sys)
    assert config_soak._wrong(0, "", [], 0.1) == "jax was loaded"
    with pytest.raises(RuntimeError, match="a process of its own"):
        config_soak.soak(1)
