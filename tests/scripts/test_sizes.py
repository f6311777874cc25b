"""Numbers that nobody can mean: one line and exit code 2 at once, for every setting, or it runs."""

import contextlib
import json
import resource
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from agents.goals.config import DistillConfig, memory_needed
from agents.runs import needs
from agents.runs.bounds import ConfigError, Meta, parts, read
from agents.runs.config import EvalConfig, PlannerOverrides, TrainConfig, preset_config
from agents.runs.pretrain_config import PretrainConfig
from agents.runs.settings import flat_types, flatten, overlay, train_config_from
from agents.storage.files import CheckpointError
from agents.training import setup
from planning.config import PlannerConfig
from scripts import bench, cli, collect, pretrain, serve, sweep, train
from scripts import eval as eval_verb
from scripts.cli import main, verb_of
from scripts.command import settings_of
from scripts.verb import flags_class
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import PRESETS
from wm.types import Spec

VERBS = {
    **{name: verb_of([name])[0] for name in cli.VERBS},
    "eval goals": eval_verb.GOALS,
    "bench --shift": bench.SHIFT,
}
ABSURD = ("-inf", "inf", "nan", "1e30", "-1e30", "1" + "0" * 23, "9" * 5000)
DOUBTFUL = ("0", "-1", "1e9", "1000000000")
GIB = 2**30


@pytest.fixture
def laptop(monkeypatch):
    """A machine with 8 GiB and no accelerator."""
    monkeypatch.setattr(needs, "available", lambda: 8 * GIB)
    monkeypatch.setattr(needs, "accelerated", lambda: False)


def numeric(cls) -> dict:
    """Name to type of the settings that are numbers."""
    return {name: kind for name, kind in flat_types(cls).items() if parts(kind)[0] in (int, float)}


def bounds_of(kind) -> Meta:
    """The bounds that a type states."""
    _, meta = parts(kind)
    assert meta, kind
    return meta


def weigh(config) -> None:
    """What a verb looks at once it has its settings: the planner, and bytes."""
    planner = getattr(config, "planner", None)
    if isinstance(config, PretrainConfig):
        needs.require(needs.pretraining(config))
    elif isinstance(config, DistillConfig):
        needs.require(memory_needed(config.goal_heads))
    elif isinstance(config, TrainConfig):
        needs.require(needs.training(config))
    elif isinstance(planner, PlannerOverrides):
        sims = getattr(config, "episodes", 1) if isinstance(config, EvalConfig) else 1
        made = planner.apply(PlannerConfig())
        needs.require(needs.evaluation(TrainConfig(), made, getattr(config, "clients", sims)))


def tried(cls, name: str, value, *, text: bool) -> bool:
    """Whether a value is accepted, as a flag or in a file; refusals are one line of ours."""
    try:
        if text:
            flat = {name: read(f"--{name}", value, flat_types(cls)[name])}
        else:
            block, _, key = name.rpartition(".")
            table: dict = {key: value}
            for part in reversed(block.split(".") if block else []):
                table = {part: table}
            flat = flatten(cls, table, "a.toml")
        weigh(overlay(cls(), flat))
    except ConfigError as error:
        said = str(error)
        assert "\n" not in said and len(said) < 400
        last = name.rpartition(".")[2]
        assert last in said.replace("-", "_") or "env_steps" in said, said
        return False
    return True


@pytest.mark.parametrize("verb", VERBS)
def test_every_number_has_bounds_and_is_held_to_them(verb, laptop):
    """As flags and in files: what lies outside is refused, what lies at the bounds judged."""
    cls = flags_class(VERBS[verb])
    for name, kind in numeric(cls).items():
        meta = bounds_of(kind)
        low, high = (meta.ge, meta.gt), (meta.le, meta.lt)
        assert low.count(None) == high.count(None) == 1, f"{name} has no bounds"
        whole = parts(kind)[0] is int
        for text in ABSURD:
            assert not tried(cls, name, text, text=True), (name, text)
            with contextlib.suppress(ValueError):  # no file holds thousands of digits
                value = int(text) if text.isdigit() else float(text)
                assert not tried(cls, name, value, text=False), (name, value)
        for text in (*DOUBTFUL, str(max(x for x in high if x is not None))):
            as_flag = tried(cls, name, text, text=True)
            if not (whole and "e" in text):
                assert as_flag == tried(cls, name, json.loads(text), text=False)
        edges = [x for x in (meta.lt, meta.gt) if x is not None]
        assert not any(tried(cls, name, x, text=False) for x in edges), name


def test_programs_and_stored_settings_are_held_to_the_same_bounds():
    with pytest.raises(ValueError, match=r"planner\.num_samples must lie in \[1, 2\*\*20\]"):
        PlannerConfig(num_samples=2**28)
    with pytest.raises(ConfigError, match=r"planner\.horizon must lie in"):
        PlannerOverrides(horizon=10**9)
    stored = asdict(TrainConfig())
    stored["planner"]["num_samples"] = 2**28
    with pytest.raises(CheckpointError, match=r"run: planner\.num_samples must lie in"):
        train_config_from(stored, "run")


WORDS = {
    "--num-envs 100000": "num_envs must lie in [1, 65536], got 100000",
    "--num-envs 65536 --planner.num-samples 4096": "lower --planner.num-samples or --num-envs",
    "--planner.num-samples 1000000000": "planner.num_samples must lie in [1, 2**20]",
    "--planner.num-samples 1000000 --planner.horizon 900 --planner.num-iterations 900": "at most",
    "--learner.batch-size 1000000 --learner.horizon 1000": "lower --learner.batch-size",
    "--model.latent-dim 1000000000": "model.latent_dim must lie in [1, 16384]",
    "--model.mlp-width 16384 --model.num-heads 500": "GiB of it for parameters) and 8.0 GiB are",
    "--model.num-bins 1000000000": "model.num_bins must lie in [2, 10001]",
    "--replay-capacity 2000000000": "lower --replay-capacity",
    "--env-steps 100000000000000000000000": "env_steps must lie in [1, 2**31)",
    "--env-steps 1000000000 --utd 1000": "env_steps x utd must lie in [0, 2**31)",
    "--utd 1e30": "utd must lie in [0, 1000], got 1e+30",
    "--utd 1e-320": "utd must lie in [1e-06, 1000]",
    "--model.bin-limit 1e30": "model.bin_limit must lie in (0, 80]",
    "--randomize mass=1e300": "randomize: shift mass must lie in [0.001, 1000], got 1e+300",
    "--randomize obs_delay=1:1000000": "randomize: shift obs_delay must lie in [0, 1000]",
    "--seeds 256 --replay-capacity 100000000": "lower --replay-capacity",
    "--run-dir a\0b": "--run-dir must be text of at most 65536 characters, without NUL",
    "--tasks :,;": "env_id must be the id of a task",
}


@pytest.mark.parametrize("line", WORDS)
def test_what_nobody_can_mean_is_told_in_one_line(line, laptop):
    task = [] if line.startswith("--tasks") else ["cartpole-swingup"]
    with pytest.raises(ConfigError) as caught:
        settings_of(train.VERB, [*task, *line.split(" ")])
    said = str(caught.value)
    assert WORDS[line] in said and "\n" not in said and len(said) < 400


WEIGHED = {
    "--model.encoder-width 16384 --model.encoder-layers 100": "lower --model.encoder-width",
    "--preset vit --model.embed-dim 16384 --model.encoder-layers 100": "GiB of it for parameters",
    "--preset lewm --model.latent-dim 16384 --model.predictor-layers 128": "for parameters",
    "--learner.batch-size 1000000 --learner.rollout 1000": "lower --learner.batch-size",
}


@pytest.mark.parametrize("line", WEIGHED)
def test_a_pretraining_is_weighed_too(line, laptop, tmp_path):
    with pytest.raises(ConfigError) as caught:
        settings_of(pretrain.VERB, [str(tmp_path), *line.split()])
    assert WEIGHED[line] in str(caught.value)
    for preset in ("state", "pixels", "vit", "lewm"):
        settings_of(pretrain.VERB, [str(tmp_path), "--preset", preset])


@pytest.mark.parametrize("env_id", [":", "::", ".", "//", "a:", ":a", "a\nb", "a\0", "a" * 3000])
def test_what_can_be_no_task_is_refused_at_once(env_id):
    for page in (train, collect, bench):
        with pytest.raises(ConfigError, match="must be the id of a task"):
            settings_of(page.VERB, [env_id])


def test_overrides_of_a_stored_run_are_weighed_before_it_is_loaded(tmp_path, laptop):
    (tmp_path / "config.json").write_text(
        json.dumps({**asdict(TrainConfig()), "env": {"control_dt": 0.01, "action_repeat": 2}})
    )
    run, much = str(tmp_path), ["--planner.num-samples", "1000000", "--planner.horizon", "300"]
    with pytest.raises(ConfigError, match=r"lower --planner\.num-samples or --episodes"):
        settings_of(eval_verb.VERB, [run, *much])
    with pytest.raises(ConfigError, match=r"lower --planner\.num-samples or --clients"):
        settings_of(serve.VERB, [run, *much])
    with pytest.raises(ConfigError, match="GiB of it for planning"):
        settings_of(
            sweep.VERB,
            [run, "--grid", "planner.num_samples=1000000", "planner.horizon=300"],
        )
    with pytest.raises(ConfigError, match="lower --jobs"):
        settings_of(sweep.VERB, [run, "--grid", "planner.horizon=1", "--jobs", "900"])
    with pytest.raises(ConfigError, match="GiB of it for parameters"):
        settings_of(sweep.VERB, [run, "--grid", "model.mlp_width=16384", "model.num_heads=500"])
    chosen = settings_of(eval_verb.VERB, [run, "--planner.num-samples", "4096"])
    assert chosen.planner.num_samples == 4096


@pytest.mark.parametrize("preset", PRESETS)
def test_what_works_on_a_laptop_is_not_refused(preset, laptop):
    """A dog's observations (223) and actions (38), the default replay, every preset."""
    config = preset_config(preset, num_envs=16)
    needs.require(needs.training(config, 223, 38))
    full = replace(config, planner=PlannerConfig.full())
    needs.require(needs.evaluation(full, full.planner, 100))


@pytest.mark.parametrize("regularizer", ["simnorm", "sigreg"])
@pytest.mark.parametrize("tasks", [0, 3])
def test_parameters_are_counted_as_they_are_made(regularizer, tasks):
    import jax

    config = replace(PRESETS["5M"], regularizer=regularizer, episodic=tasks == 0)
    spec = Spec(24 + (tasks + 7 if tasks else 0), 6, 0.99, tasks)
    net = tdmpc.build(config, TrainConfig().learner, spec)
    made = jax.eval_shape(lambda: tdmpc.init(net, jax.random.key(0)))
    counted = needs.parameters(config, spec.obs_dim, spec.action_dim, tasks)
    assert counted == sum(leaf.size for leaf in jax.tree.leaves(made))


def test_sizes_of_an_environment_are_weighed_again(monkeypatch, laptop):
    """Known only after it is made: 10,000 observations a row are another replay."""
    from envs.native.env import native_spec

    spec = replace(native_spec("cartpole-swingup"), obs_dim=10_000)
    setup.check_memory(TrainConfig(), native_spec("cartpole-swingup"))
    with pytest.raises(ConfigError, match="lower --replay-capacity"):
        setup.check_memory(TrainConfig(), spec)


def test_a_container_has_what_its_group_may_use(monkeypatch):
    files = {"/proc/meminfo": "MemAvailable: 2048 kB\n", needs.LIMITS[0]: "max\n"}
    monkeypatch.setattr(needs, "_read", lambda path: files.get(path, ""))
    assert needs.available() == 2048 * 1024
    files[needs.LIMITS[1]] = "1000\n"
    assert needs.available() == 1000


COMMANDS = (
    ["train", "cartpole-swingup", "--num-envs", "100000"],
    ["train", "cartpole-swingup", "--randomize", "mass=1e300"],
    ["train", "cartpole-swingup", "--replay-capacity", "2000000000", "--num-envs", "60000"],
    ["train", ":"],
    ["eval", ".", "--planner.num-samples", "1000000000"],
    ["serve", ".", "--planner.horizon", "1000000000"],
    ["sweep", ".", "--episodes", "1000000000", "--grid", "planner.horizon=1"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_command_answers_at_once(command):
    """Without jax: 0.4 to 0.7 s of processor time; the bound is one for a busy machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-X", "importtime", "-m", "scripts.cli", *command]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = [line for line in run.stderr.splitlines() if not line.startswith("import time:")]
    assert run.returncode == 2 and len(said) == 1, said
    assert " jax\n" not in run.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 3.0


def test_the_exit_code_is_two(capsys):
    assert main(["train", "cartpole-swingup", "--utd", "1e30"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
