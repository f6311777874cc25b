"""Recipes: each fits its verbs, stages run in order and go on, mistakes are one line."""

import json
from pathlib import Path

import pytest

import scripts
from agents.runs.config import ConfigError
from envs.registry import make_spec
from scripts import cli, train
from scripts import eval as eval_verb
from scripts.cli import verb_of
from scripts.command import parse, settings_of
from scripts.recipes import read

WHERE = {"collect": "out", "train": "run_dir", "pretrain": "run_dir"}
"""The setting of a verb that names what later stages read."""


def one_line(capsys):
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("name", read.names())
def test_every_stage_fits_its_verb(name):
    """The real parsers take its settings, ids exist, and what is read an earlier stage made."""
    recipe, made = read.load(name), set()
    assert recipe.task and recipe.reaches and recipe.time
    for stage, settings in recipe.stages.items():
        verb, argv = verb_of(recipe.argv(stage, "elsewhere"))
        parsed, _ = parse(verb, argv)
        assert isinstance(parsed, verb.config)
        if settings.get("env_id"):
            make_spec(settings["env_id"])
        model = settings.get("model", {})
        for path in (settings.get("data"), settings.get("path"), model.get("frozen_file")):
            assert path is None or path in made, f"{name}/{stage} reads {path}, which nothing made"
        made.add(settings.get(WHERE.get(settings["verb"], "")))


def test_a_recipe_lies_under_toml_and_flags(tmp_path):
    """Defaults < preset < recipe < --config < flags; paths are in the folder of the recipe."""
    mine, file = tmp_path / "mine.toml", tmp_path / "settings.toml"
    mine.write_text(
        '[stages.one]\nverb = "train"\nenv_id = "walker-walk"\npreset = "1M"\nseed = 3\n'
        'run_dir = "{out}/one"\nnum_envs = 8\nplanner.horizon = 5\nlearner.batch_size = 32\n'
    )
    file.write_text("num_envs = 6\nplanner.horizon = 4\n")
    argv = ["--recipe", str(mine), "--config", str(file), "--planner.horizon", "2"]
    config = settings_of(train.VERB, argv).config_of()
    assert (config.env_id, config.seed, config.run_dir) == ("walker-walk", 3, "runs/mine/one")
    assert (config.num_envs, config.planner.horizon, config.learner.batch_size) == (6, 2, 32)
    assert config.learner.learning_rate == 3e-4, "of the preset"
    assert settings_of(train.VERB, ["walker-run", *argv[:2]]).env_id == "walker-run"


def test_what_a_recipe_says_makes_an_evaluation_one_of_goals():
    assert eval_verb.choose(["--recipe", "push-t/policy"]) is eval_verb.GOALS
    assert eval_verb.choose(["--recipe=goal-oracle"]) is eval_verb.GOALS
    assert eval_verb.choose(["runs/x"]) is eval_verb.VERB


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("recipe run pusht", "unknown recipe pusht: did you mean push-t?"),
        ("recipe run", "which recipe? latentmpc recipe run NAME"),
        ("recipe rnu push-t", "rnu"),
        ("recipe run nowhere.toml", "recipe nowhere.toml cannot be read: No such file"),
        ("recipes qqqqqq", "unknown recipe qqqqqq; `latentmpc recipes` lists them"),
        ("train --recipe dmeo", "unknown recipe dmeo: did you mean demo?"),
        ("train --recipe push-t", "which stage of recipe push-t is for train? it has none, but"),
        (
            "collect --recipe two-room",
            "it has several: --recipe two-room/STAGE, STAGE one of noise",
        ),
        (
            "collect --recipe two-room/scirpt",
            "unknown stage of recipe two-room: scirpt: did you mean",
        ),
        (
            "collect --recipe two-room/model",
            "stage model of recipe two-room is for pretrain, not for",
        ),
    ],
)
def test_mistakes_are_one_line(line, said, capsys):
    assert cli.main(line.split()) == 2
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages = 1", "a recipe has stages"),
        ("[stages.a]\nepisodes = 1", "stages.a must be a table with its `verb`"),
        ('tsak = "x"', "unknown key in FILE: tsak: did you mean task?"),
        ('[stages.a]\nverb = "colect"', "unknown verb colect: did you mean collect?"),
        ('[stages.a]\nverb = "collect"\nepisods = 1', "stage a: episods: did you mean episodes?"),
        ("stages", "is not valid TOML"),
    ],
)
def test_broken_files_say_where(text, said, tmp_path, capsys):
    file = tmp_path / "r.toml"
    file.write_text(text)
    assert cli.main(["recipe", "run", str(file), "--out", str(tmp_path / "out")]) == 2
    assert said.replace("FILE", str(file)) in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_the_list_is_columns_in_a_pipe_and_json(capsys):
    assert cli.main(["recipes", "push-t"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["recipe", "task", "reaches", "two", "cores"]
    assert [row.split()[0] for row in rows] == ["goal-oracle", "push-t", "push-t-pixels"]
    assert "0.715 (0.649 to 0.773)" in rows[-1]
    assert cli.main(["recipes", "push-t-pixels", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["stages"]["data"] == {
        **{"verb": "collect", "env_id": "push-t", "out": "{out}/data"},
        **{"policy": "scripted", "episodes": 900},
    }


COLLECT = """
task = "pendulum-swingup"
[stages.first]
verb = "collect"
env_id = "pendulum-swingup"
out = "{out}/first"
episodes = 4
steps = 5
pixels = false

[stages.second]
verb = "data"
path = "{out}/first"
"""


def test_the_recipe_of_the_page_fits_its_verbs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(scripts.__file__).parents[1] / "docs/how-to/recipes.md").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    assert cli.main(["recipe", "show", "mine.toml"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "latentmpc eval --recipe mine.toml/success"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(COLLECT)
    return tmp_path / "mine.toml"


def test_stages_run_in_order_and_go_on_where_they_were_stopped(recipe, monkeypatch, capsys):
    from agents.data import collect as collecting

    run = ["recipe", "run", "mine.toml", "--out", "there"]
    with monkeypatch.context() as patched:
        summarise = collecting.summarise
        patched.setattr(collecting, "summarise", lambda data: _interrupt(summarise, data))
        assert cli.main(run) == 130
    said = capsys.readouterr().err
    assert "stage 1/2 first: latentmpc collect --recipe mine.toml/first --out there/first" in said
    assert "stage 2/2 second" in said and "interrupted; the same command resumes" in said
    assert cli.main([*run, "--json"]) == 0
    said = capsys.readouterr()
    assert "stage 1/2 first: done before" in said.err
    stages = json.loads(said.out)
    assert [*stages] == ["first", "second"] and stages["second"]["episodes"] == 4
    assert cli.main(run) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["stage", "verb", "reached"]
    recipe.write_text(COLLECT.replace("steps = 5", "steps = 6"))
    assert cli.main(run) == 2
    assert "there was begun with another recipe, whose stage first differs" in one_line(capsys)


def _interrupt(summarise, data):
    """The first stage goes through, the second is interrupted."""
    if json.loads(Path("there/recipe.json").read_bytes())["done"]:
        raise KeyboardInterrupt
    return summarise(data)


def test_a_stage_is_a_command_of_its_own(recipe, capsys):
    assert cli.main(["collect", "--recipe", "mine.toml", "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dataset"] == "runs/mine/first"
    assert cli.main(["recipe", "show", "mine.toml"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "latentmpc collect --recipe mine.toml/first",
        "latentmpc data --recipe mine.toml/second",
    ]


TINY = """
[stages.data]
verb = "collect"
env_id = "two-room"
out = "{out}/data"
policy = "scripted"
episodes = 12
steps = 20
pixels = false

[stages.model]
verb = "pretrain"
data = "{out}/data"
run_dir = "{out}/model"
updates = 4
updates_per_call = 2
model.latent_dim = 4
model.encoder_width = 8
model.predictor_width = 8
learner.batch_size = 8
learner.sigreg_directions = 8

[stages.goals]
verb = "distill"
path = "{out}/model"
guide.updates = 2
guide.batch_size = 8
guide.width = 8

[stages.policy]
verb = "eval"
path = "{out}/model"
out = "{out}/policy"
mode = "prior"
goals = 2
floor = false
"""


@pytest.mark.slow
def test_from_nothing_to_success_on_goals(recipe, capsys):
    recipe.write_text(TINY)
    assert cli.main(["recipe", "run", "mine.toml"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[:3] == ["policy", "eval", "success"]
    stored = json.loads((recipe.parent / "runs/mine/recipe.json").read_text())
    assert stored["done"]["policy"]["goals"] == 2


def test_a_stage_that_fails_stops_with_its_code(recipe, capsys):
    recipe.write_text(COLLECT.replace('path = "{out}/first"', 'path = "{out}/other"'))
    with pytest.raises(ConfigError):
        parse(*verb_of(["collect", "--recipe", "mine.toml/second"]))
    assert cli.main(["recipe", "run", "mine.toml"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("latentmpc: error: ") and "runs/mine/other" in said
