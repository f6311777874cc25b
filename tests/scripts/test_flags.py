"""Flags and TOML files to settings: precedence, and one clear line for each mistake."""

import contextlib
import json
from dataclasses import asdict, replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.runs.config import ConfigError, EvalConfig, TrainConfig, preset_config
from agents.runs.directory import RunDir
from agents.runs.pretrain_config import pretrain_config_from
from agents.runs.settings import RENAMED, current, flat_types, flatten
from agents.storage.files import CheckpointError
from envs.task_options import task_options
from planning.config import PlannerConfig
from scripts import eval as eval_verb
from scripts import pretrain, train
from scripts.command import settings_of
from wm.tdmpc.config import PRESETS

parse_train = partial(settings_of, train.VERB)
parse_eval = partial(settings_of, eval_verb.VERB)


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_task_alone_gives_the_defaults():
    config = parse_train(["cartpole-swingup"]).config_of()
    assert config == replace(TrainConfig(), run_dir="runs/cartpole-swingup-0")
    assert type(config) is TrainConfig


@pytest.mark.parametrize("flags", [[], ["--seed", "1"], ["--run-dir", "runs/x"]])
def test_training_needs_a_task(flags):
    with pytest.raises(ConfigError, match=r"which task\?.*latentmpc tasks lists them"):
        parse_train(flags)


def test_flags_in_every_spelling():
    argv = ["walker-walk", "--run-dir", "runs/x", "--env-steps", "20000", "--seed=1"]
    argv += ["--num_envs", "8", "--no-video"]
    argv += ["--learner.log-std-min", "-5", "--model.regularizer", "sigreg", "--utd", "2"]
    config = parse_train(argv).config_of()
    expected = TrainConfig("walker-walk", "runs/x", env_steps=20000, seed=1, num_envs=8, utd=2.0)
    learner = replace(expected.learner, log_std_min=-5.0)
    model = replace(expected.model, regularizer="sigreg")
    assert config == replace(expected, video=False, learner=learner, model=model)
    assert isinstance(config.utd, float)


def test_defaults_then_preset_then_toml_then_flags(toml):
    path = toml('preset = "1M"\nseed = 3\n[model]\nlatent_dim = 256\nmlp_width = 99\n')
    config = parse_train(
        ["cartpole-swingup", "--config", path, "--model.latent-dim", "64", "--seed", "4"]
    ).config_of()
    base = preset_config("1M", seed=4, run_dir="runs/cartpole-swingup-4")
    assert config == replace(base, model=replace(PRESETS["1M"], latent_dim=64, mlp_width=99))
    assert (config.learner.batch_size, config.learner.learning_rate) == (256, 3e-4)


def test_a_preset_flag_wins_over_the_preset_in_the_file(toml):
    path = toml('preset = "1M"\nenv_id = "pendulum-swingup"\n')
    config = parse_train(["--preset", "tiny", "--config", path]).config_of()
    assert (config.preset, config.model, config.learner) == (
        "tiny",
        TrainConfig().model,
        TrainConfig().learner,
    )
    assert parse_train(["--config", path]).env_id == "pendulum-swingup"
    assert parse_train(["walker-run", "--config", path]).env_id == "walker-run"


def test_values_that_only_fit_together_are_judged_together(toml):
    path = toml("[model]\nlatent_dim = 12\n")  # no multiple of the default group of 8
    with pytest.raises(ConfigError, match=r"latent_dim \(12\) must be a multiple"):
        parse_train(["--config", path])
    config = parse_train(["a", "--config", path, "--model.simnorm-group", "4"]).config_of()
    assert (config.model.latent_dim, config.model.simnorm_group) == (12, 4)


def test_run_dir_follows_task_and_seed():
    config = parse_train(["dmc/cartpole-swingup", "--seed", "7"]).config_of()
    assert config.run_dir == "runs/dmc-cartpole-swingup-7"


WRONG_FLAGS = {
    "--env-stepz 3": "unknown flag --env-stepz: did you mean --env-steps?",
    "--model.latent-dimm 3": "unknown flag --model.latent-dimm: did you mean --model.latent-dim?",
    "--latent-dim 3": "unknown flag --latent-dim: did you mean --model.latent-dim?",
    "-env-steps 3": "unknown flag -env-steps: did you mean --env-steps?",
    "--zzzzzz 3": "unknown flag --zzzzzz; see latentmpc train --help",
    "--seed": "--seed needs a value; see latentmpc train --help",
    "--seed --no-video": "--seed needs a value; see latentmpc train --help",
    "--seed x": "--seed must be an integer, got 'x'",
    "--seed 1.5": "--seed must be an integer, got '1.5'",
    "--seed -1": "seed must lie in [0, 2**31), got -1",
    "--utd much": "--utd must be a number, got 'much'",
    "--utd nan": "utd must lie in [0, 1000], got nan",
    "--model.bin-limit inf": "model.bin_limit must lie in (0, 80], got inf",
    "--env-steps 0": "env_steps must lie in [1, 2**31), got 0",
    "--preset 1m": "preset must be one of tiny, 1M, 5M, 19M, 48M, 317M, got '1m'",
    "--model.regularizer vic": "--model.regularizer must be one of simnorm, sigreg, got 'vic'",
    "--model.latent-dim 7": "model.latent_dim (7) must be a multiple of model.simnorm_group (8)",
    "--planner.spline cubik": (
        "--planner.spline must be one of linear, cubic, got 'cubik'; did you mean cubic?"
    ),
    "--planner.num-elites 999": "planner.num_elites must be at most num_samples=128, got 999",
    "--learner.batch-size -1": "learner.batch_size must lie in [1, 2**20], got -1",
    "--video=yes": "--video takes no value; use --video or --no-video",
    "--no-video=yes": "--no-video takes no value; use --no-video or --video",
    "--env-id=-h": "--env-id must be the id of a task (`latentmpc tasks` lists them), got '-h'",
    "a b": "unexpected argument 'b'; see latentmpc train --help",
    "--config nowhere.toml": "nowhere.toml cannot be read: No such file or directory",
}


@pytest.mark.parametrize("line", WRONG_FLAGS)
def test_wrong_flags_say_what_was_expected(line):
    with pytest.raises(ConfigError) as caught:
        parse_train(line.split())
    assert str(caught.value) == WRONG_FLAGS[line]
    assert caught.value.exit_code == 2


WRONG_FILES = {
    "env_stepz = 1": "unknown key in {}: env_stepz: did you mean env_steps?",
    "latent_dim = 1": "unknown key in {}: latent_dim: did you mean model.latent_dim?",
    "[modle]\nlatent_dim = 1": "unknown key in {}: modle: did you mean model?",
    "[model]\nmlp-width = 1": "unknown key in {}: model.mlp-width: did you mean model.mlp_width?",
    "qqqqqq = 1": "unknown key in {}: qqqqqq; see --help for the names",
    "json = true": "unknown key in {}: json; see --help for the names",
    "model = 1": "{}: model must be a table ([model]), got 1",
    'env_steps = "many"': "{}: env_steps must be an integer, got 'many'",
    "env_steps = 1.5": "{}: env_steps must be an integer, got 1.5",
    "env_steps = true": "{}: env_steps must be an integer, got True",
    "utd = true": "{}: utd must be a number, got True",
    "video = 1": "{}: video must be true or false, got 1",
    "env_id = 3": "{}: env_id must be text, got 3",
    "seed = [1]": "{}: seed must be an integer, got [1]",
    'env_id = "--help"': (
        "{}: env_id must be the id of a task (`latentmpc tasks` lists them), got '--help'"
    ),
    "utd = nan": "{}: utd must lie in [0, 1000], got nan",
    'preset = "2M"': "preset must be one of tiny, 1M, 5M, 19M, 48M, 317M, got '2M'",
    "[planner]\nhorizon = 0": "{}: planner.horizon must lie in [1, 1000], got 0",
    "[model]\nregularizer = 3": "{}: model.regularizer must be one of simnorm, sigreg, got 3",
}


@pytest.mark.parametrize("text", WRONG_FILES)
def test_wrong_files_name_file_and_key(toml, text):
    path = toml(text)
    with pytest.raises(ConfigError) as caught:
        parse_train(["--config", path])
    assert str(caught.value) == WRONG_FILES[text].format(path)


@pytest.mark.parametrize("content", [b"env_steps = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_what_is_not_toml_names_the_file(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML"):
        parse_train(["--config", str(path)])


def test_the_message_survives_a_terminal_without_unicode(monkeypatch):
    import sys

    with open(sys.stdout.fileno(), "w", encoding="ascii", closefd=False) as plain:
        monkeypatch.setattr(sys, "stdout", plain)
        with pytest.raises(ConfigError) as caught:
            parse_train(["--model.latent-dim", "7"])
    assert str(caught.value) == WRONG_FLAGS["--model.latent-dim 7"]


def test_eval_overrides_only_what_is_given(tmp_path):
    argv = [str(tmp_path), "--mode", "prior", "--planner.horizon", "5", "--episodes", "3"]
    config = parse_eval(argv)
    assert (type(config), config.mode, config.episodes) == (EvalConfig, "prior", 3)
    run = PlannerConfig(num_samples=64, num_iterations=2)
    assert config.planner.apply(run) == replace(run, horizon=5)
    with pytest.raises(ConfigError, match=r"planner\.num_elites must be at most num_samples=64"):
        parse_eval([str(tmp_path), "--planner.num-elites", "65"]).planner.apply(run)


def test_eval_overrides_are_judged_with_the_run_beside_them(tmp_path):
    stored = tmp_path / "config.json"
    stored.write_text(json.dumps(asdict(TrainConfig(planner=PlannerConfig(num_samples=64)))))
    with pytest.raises(ConfigError, match=r"at most num_samples=64, got 65"):
        parse_eval([str(tmp_path), "--planner.num-elites", "65"])
    for broken in ("{", "[]", '{"modle": 1}'):  # told by the evaluation, which names the file
        stored.write_text(broken)
        assert parse_eval([str(tmp_path), "--planner.num-elites", "65"]).planner.num_elites == 65


def test_eval_overrides_cover_every_planner_setting():
    overrides = {k for k in flat_types(EvalConfig) if k.startswith("planner.")}
    assert overrides == {f"planner.{name}" for name in asdict(PlannerConfig())}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "which run"),
        ([".", "--mode", "wild"], "--mode must be one of plan, prior, random, zero, got 'wild'"),
        ([".", "--planner.horizon", "x"], "--planner.horizon must be an integer, got 'x'"),
        ([".", "--episodes", "0"], r"episodes must lie in \[1, 10000\], got 0"),
    ],
)
def test_wrong_eval_flags(argv, message):
    with pytest.raises(ConfigError, match=message):
        parse_eval(argv)


def test_a_missing_run_is_a_missing_checkpoint():
    with pytest.raises(CheckpointError, match="no/such/run is no directory"):
        parse_eval(["no/such/run"])


NAMES = st.sampled_from([*flat_types(TrainConfig), "model", "sead", "planner.horizn", "", "model."])
TEXTS = st.one_of(
    st.integers(-2, 10**20).map(str),
    st.floats().map(str),
    st.text(max_size=5),
    st.sampled_from(["tiny", "5M", "true", "[]", "'", "=", "--", "None"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, TEXTS, max_size=3))
def test_any_flags_are_used_or_refused(flags):
    argv = [f"--{name.replace('_', '-')}={text}" for name, text in flags.items()]
    with contextlib.suppress(ConfigError):
        stored = asdict(parse_train(argv).config_of())
        for name, text in flags.items():
            block, _, last = name.rpartition(".")
            value = (stored[block] if block else stored)[last]
            assert name == "run_dir" or str(value) == text or float(value) == float(text)


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(NAMES, inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_file_is_used_or_refused_with_its_name_and_key(mapping):
    try:
        flat = flatten(TrainConfig, mapping, "a.toml")
    except ConfigError as error:
        named = str(error)
    else:
        named = ""
        assert set(flat) <= set(flat_types(TrainConfig))
    assert not named or ("a.toml" in named and any(key in named for key in mapping))


def test_names_of_0_1_0_are_understood_and_said(toml, tmp_path, capsys):
    """As flags, in files, and stored; what is stored is silent, and a run of old names goes on."""
    path = toml("recolour = 0.25\n")
    argv = [str(tmp_path), "--config", path, "--turned"]
    config = settings_of(pretrain.VERB, argv)
    assert config.rotation_augmentation and config.hue_jitter == 0.25
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == [
        "turned is called rotation_augmentation now",
        "recolour is called hue_jitter now",
    ]
    old = {"turned" if k == "rotation_augmentation" else k: v for k, v in asdict(config).items()}
    assert pretrain_config_from(old, "here") == config
    run = RunDir(tmp_path)
    run.write_json("config.json", old)
    assert run.ensure_config(asdict(config))
    assert not capsys.readouterr().err


def test_a_renamed_block_is_one_entry(monkeypatch):
    monkeypatch.setitem(RENAMED, "guide", "planner")
    monkeypatch.setitem(RENAMED, "leap", "horizon")
    assert current("guide.horizon", ["planner.horizon"]) == "planner.horizon"
    assert current("guide.width", ["planner.horizon"]) == "guide.width"
    assert current("guide.leap", ["planner.horizon"]) == "planner.horizon"
    assert current("guided", ["planner.horizon"]) == "guided"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Ant-v5 --env.frame-skip 25 --env.gain=-1", "Ant-v5?frame_skip=25&gain=-1"),
        ("X-v0?a=1#episode_steps=3 --episode-steps 9", "X-v0?a=1#episode_steps=9"),
        (
            "m:X-v0 --control-dt 0.1 --action-range -2:2",
            "m:X-v0#action_range=-2%3A2&control_dt=0.1",
        ),
    ],
)
def test_what_is_said_of_an_environment_becomes_part_of_its_id(words, found):
    config = parse_train(words.split()).config_of()
    assert config.env_id == found
    assert not set("?#&=%") & set(config.run_dir)


def test_a_file_that_an_environment_is_given_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "go1.xml").touch()
    found = parse_train(["Ant-v5", "--env.xml-file", "go1.xml"]).config_of().env_id
    assert task_options(found).arguments == {"xml_file": str(tmp_path / "go1.xml")}


@pytest.mark.parametrize(
    "words", ["runs/x --episode-steps 9", "runs/x --env.gain 2", "runs/x --env.gain"]
)
def test_what_is_said_of_no_environment_is_refused(words):
    with pytest.raises(ConfigError, match=r"typed beside it|needs a value"):
        parse_eval(words.split())
