"""Command lines of pretrained models: eval and bench know them, distill wants nothing else."""

import json

import pytest

from agents.runs.config import ConfigError
from scripts import bench, distill
from scripts import eval as eval_verb
from scripts.cli import main
from scripts.command import settings_of


@pytest.fixture
def pretrained(tmp_path):
    """A directory that says what it holds; nothing can be loaded from it."""
    (tmp_path / "config.json").write_text(json.dumps({"kind": "jepa"}))
    return str(tmp_path)


def test_eval_takes_goals_or_episodes_and_planner_settings(pretrained):
    argv = [pretrained, "--episodes", "50", "--planner.method", "cem", "--objective.effort=0.1"]
    flags = settings_of(eval_verb.GOALS, argv)
    assert (flags.goals, flags.planner.method, flags.objective.effort) == (50, "cem", 0.1)
    assert settings_of(eval_verb.GOALS, ["--goals=7", pretrained]).goals == 7
    assert settings_of(eval_verb.GOALS, [pretrained]).goals == 200


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--goals", "0"], "goals must lie in [1, 10000], got 0"),
        (["--planner.horizon", "0"], "planner.horizon must lie in [1, 1000]"),
        (["--objective.gaol", "1"], "did you mean --objective.goal"),
        (["--objective.goal", "-1"], "objective.goal must lie in [0, "),
        (["--mode", "plam"], "mode"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_loaded(pretrained, flags, message, capsys):
    assert main(["eval", pretrained, *flags]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


def test_distill_and_shift_want_a_pretrained_model(pretrained, tmp_path_factory, capsys):
    other = str(tmp_path_factory.mktemp("other"))
    assert main(["distill", other]) == 2
    assert "holds no reward-free model" in capsys.readouterr().err
    assert main(["distill"]) == 2
    assert "which run?" in capsys.readouterr().err
    assert main(["bench", "--shift", other]) == 2
    assert "give a run of `latentmpc pretrain`" in capsys.readouterr().err
    assert (
        settings_of(distill.VERB, [pretrained, "--goal-heads.stride", "2"]).goal_heads.stride == 2
    )
    assert settings_of(bench.SHIFT, [pretrained, "--kinds", "mass"]).kind_list == ("mass",)
    with pytest.raises(ConfigError, match="unknown kind of shift"):
        settings_of(bench.SHIFT, [pretrained, "--kinds", "colour,mass"])
