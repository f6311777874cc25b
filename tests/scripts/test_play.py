"""`latentmpc play`: mistakes are told before anything heavy is loaded."""

import importlib.util

import pytest

from scripts import cli, play
from scripts.command import settings_of


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "which run?"),
        ([".", "--port", "0"], "port must lie in"),
        ([".", "--mode", "random"], "mode"),
        ([".", "--planner.horizn", "2"], "did you mean"),
    ],
)
def test_mistakes_are_one_line(argv, said, capsys):
    assert cli.main(["play", *argv]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_missing_run_is_a_missing_checkpoint(capsys):
    assert cli.main(["play", "nowhere"]) == 3
    assert "nowhere is no directory" in capsys.readouterr().err


def test_without_viser_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["play", "."]) == 2
    assert "pip install 'latentmpc[viewer]'" in capsys.readouterr().err


def test_listens_on_this_machine_by_default():
    pytest.importorskip("viser", reason="the extra [viewer] is not installed")
    assert settings_of(play.VERB, ["."]).host == "127.0.0.1"
