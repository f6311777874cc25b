"""The command line of a sweep: grids gathered and refused, TOML that other verbs read."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from functools import partial
from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.benchmarks.sweep.config import plan_sweep
from agents.benchmarks.sweep.summary import recommended_toml, training_toml
from agents.runs.axes import ALLOWED
from agents.runs.config import ConfigError, TrainConfig
from agents.storage.files import CheckpointError
from planning.config import PlannerConfig
from scripts import eval as eval_verb
from scripts import sweep
from scripts.cli import VERBS, main, verb_of
from scripts.command import settings_of
from scripts.sweep import gathered
from scripts.train import VERB
from scripts.verb import Verb

parse_sweep = partial(settings_of, sweep.VERB)
parse_eval = partial(settings_of, eval_verb.VERB)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory as far as the command line looks into it."""
    path = tmp_path_factory.mktemp("run")
    stored = {**asdict(TrainConfig()), "env": {"control_dt": 0.01, "action_repeat": 2}}
    (path / "config.json").write_text(json.dumps(stored))
    return str(path)


def test_grid_takes_what_follows_up_to_the_next_flag():
    argv = ["runs/x", "--grid", "a=1,2", "b=3", "--episodes", "3", "--grid=c=4", "d=5", "--json"]
    expected = ["runs/x", "--episodes", "3", "--json", "--grid=a=1,2 b=3 c=4 d=5"]
    assert gathered(argv) == expected
    assert gathered(["runs/x"]) == ["runs/x"]


@pytest.mark.parametrize("rest", [[], ["--json"]])
def test_grid_without_a_value(run, rest):
    with pytest.raises(ConfigError, match="--grid needs a value"):
        parse_sweep([run, "--grid", *rest])


def test_flags(run):
    config = parse_sweep(
        [run, "--grid", "planner.horizon=1,2", "seed=1", "--no-eliminate", "--rate-hz", "50"]
    )
    assert (config.path, config.grid) == (run, "planner.horizon=1,2 seed=1")
    assert not config.eliminate and config.rate_hz == 50 and config.jobs == 1


def test_toml(run, tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('grid = "planner.horizon=1,2"\nepisodes = 3\nbudget_ms = 5\n')
    flags = parse_sweep([run, "--config", str(path), "--episodes", "4"])
    assert (flags.grid, flags.episodes, flags.budget_ms) == ("planner.horizon=1,2", 4, 5.0)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--grid", "planner.horizon=1"], ["which run"]),
        (["RUN"], ["--grid NAME=V1,V2"]),
        (["RUN", "--grid", "planner.horizon=0"], ["planner.horizon"]),
        (["RUN", "--grid", "planner.horizon=1", "--episodes", "0"], ["episodes"]),
        (["RUN", "--grid", "planner.horizon=1", "--seed", "-1"], ["seed"]),
        (["RUN", "--grid", "planner.horizon=1", "--latency", "fast"], ["latency", "fixed:MS"]),
        (["RUN", "--grid", "planner.horizon=1", "--budget-ms", "-1"], ["budget_ms"]),
        (["RUN", "--grid", "planner.horizon=1", "--budget-ms=1", "--rate-hz=2"], ["rate_hz"]),
        (["RUN", "--grid", "planner.horizon=1", "--executor", "rai"], ["executor", "ray"]),
        (["RUN", "--grid", "planner.horizon=1", "--jobs", "-1"], ["jobs"]),
        (["RUN", "--grid", "planner.horizon=1", "--jbos", "1"], ["--jbos", "--jobs"]),
    ],
)
def test_mistakes(run, argv, words):
    with pytest.raises(ConfigError) as caught:
        parse_sweep([run if token == "RUN" else token for token in argv])
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_run_that_is_not_there():
    with pytest.raises(CheckpointError, match="no/where is no directory"):
        parse_sweep(["no/where", "--grid", "planner.horizon=1"])


NUMBERS = st.integers(-2, 600).map(str) | st.sampled_from(["0.5", "nan", "1e400", "mppi", "", "-"])
TOKENS = st.tuples(st.sampled_from([*ALLOWED, "planner.horzon", "x"]), st.lists(NUMBERS)).map(
    lambda token: f"{token[0]}={','.join(token[1])}"
)
FLAGS = st.sampled_from([["--episodes", "3"], ["--no-eliminate"], ["--rate-hz", "0"], ["--jobs=x"]])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(TOKENS | st.text(max_size=8), max_size=4), FLAGS)
def test_any_command_line_is_settings_or_one_clear_line(run, grid, flags):
    begin = time.process_time()
    with contextlib.suppress(ConfigError):
        assert parse_sweep([run, "--grid", *grid, *flags]).grid
    assert time.process_time() - begin < 1


def test_mistakes_are_told_before_jax_loads(run):
    program = (
        "import sys\n"
        "from scripts import cli\n"
        f"code = cli.main(['sweep', {run!r}, '--grid', 'planner.horizon=1,x'])\n"
        "sys.exit(9 if 'jax' in sys.modules else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and "planner.horizon" in done.stderr


PLANNER = PlannerConfig(
    horizon=5, num_samples=64, method="icem", noise_beta=0.5, min_std=1e-05, temperature=1 / 3
)


def test_recommendation_is_read_by_eval_and_train(run, tmp_path):
    """The real parsers take the file, and come to the recommended planner."""
    path = recommendation(tmp_path / "recommended.toml")
    evaluated = parse_eval([run, "--config", path])
    assert evaluated.planner.apply(PlannerConfig()) == PLANNER
    trained = settings_of(VERB, ["walker-walk", "--config", path]).config_of()
    assert trained.planner == PLANNER and trained.env_id == "walker-walk"
    changed = settings_of(VERB, ["walker-walk", "--config", path, "--planner.horizon", "2"])
    assert changed.planner.horizon == 2


def test_recommended_training_is_read_by_train(tmp_path):
    base = TrainConfig("walker-walk", preset="1M", seed=3, planner=PLANNER, utd=0.5, video=False)
    path = tmp_path / "recommended-train.toml"
    path.write_text(training_toml(replace(base, run_dir="elsewhere")))
    assert settings_of(VERB, ["--config", str(path)]).config_of() == replace(
        base, run_dir="runs/walker-walk-3"
    )


@pytest.mark.parametrize(
    ("failures", "found", "code"), [([], True, 0), ([1], True, 1), ([], False, 5)]
)
def test_exit_codes(monkeypatch, capsys, run, failures, found, code):
    """0 with a recommendation, 1 when settings failed, 5 when nothing keeps the budget."""
    summary = {"failures": failures, "recommendation": {"name": "x"} if found else None}
    monkeypatch.setattr("agents.benchmarks.sweep.sweep.sweep", lambda config, say: summary)
    assert main(["sweep", run, "--grid", "planner.horizon=1", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == summary


def recommendation(path):
    """A file as a sweep writes it for PLANNER."""
    found = {"planner": asdict(PLANNER), "plan_ms": {"p50": 1.0, "p99": 2.0}}
    found |= {"return_mean": 800.0, "return_ci95": [790.0, 810.0]}
    found["name"] = "num_samples=64"
    written = {"task": "cartpole-swingup", "episodes": 10, "budget_ms": 20.0, "settings": [found]}
    path.write_text(recommended_toml({**written, "recommendation": found}))
    return str(path)


RUN = {
    "collect": ["walker-walk", "--policy", "checkpoint", "--checkpoint", "RUN"],
    "train": ["walker-walk"],
    "bench": [],
    "sweep": ["RUN", "--grid", "seed=1,2"],
    "export": ["RUN", "--out", "bundle"],
    **{verb: ["RUN"] for verb in ("eval", "run", "serve", "play", "inspect", "profile")},
}
GOALS = {"eval": "GOALS", "bench": "SHIFT"}
PARSERS = [(v, "VERB", RUN[v]) for v in RUN] + [(v, GOALS[v], ["PRETRAINED"]) for v in GOALS]


@pytest.mark.parametrize(("verb", "record", "argv"), PARSERS)
def test_every_verb_that_plans_reads_the_recommendation(run, tmp_path, verb, record, argv):
    """With the real parsers; what stands in its place is the recommended planner."""
    (tmp_path / "config.json").write_text(json.dumps({"kind": "jepa"}))
    paths = {"RUN": run, "PRETRAINED": str(tmp_path)}
    file = recommendation(tmp_path / "recommended.toml")
    parse = partial(settings_of, getattr(import_module(VERBS[verb][0]), record))
    planner = parse([*[paths.get(t, t) for t in argv], "--config", file]).planner
    made = planner if isinstance(planner, PlannerConfig) else planner.apply(PlannerConfig())
    assert made == PLANNER


def test_no_verb_with_planner_settings_is_left_out():
    known = set()
    for verb, (module, _) in VERBS.items():
        verbs = [x for x in vars(import_module(module)).values() if isinstance(x, Verb)]
        if any(f.name == "planner" for x in verbs for f in fields(x.config)):
            known.add(verb)
    assert known == set(RUN)


def test_settings_of_a_sweep_lie_under_its_grid(run, tmp_path):
    """Those of an earlier recommendation, all of them given, and those of a flag."""
    file = recommendation(tmp_path / "recommended.toml")
    argv = [run, "--grid", "planner.horizon=1,2", "--config", file, "--planner.num-elites", "8"]
    settings = plan_sweep(parse_sweep(argv)).settings
    wanted = [replace(PLANNER, num_elites=8, horizon=h) for h in (1, 2)]
    assert [s.config.planner for s in settings] == wanted


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["collect", "walker-walk"], ["planner.horizon", "--policy checkpoint"]),
        (["inspect", "RUN", "--data", "x"], ["planner.horizon", "data"]),
        (["inspect", "PRETRAINED"], ["planner.horizon", "nothing is planned"]),
    ],
)
def test_planner_settings_where_nothing_plans_are_refused(run, tmp_path, argv, words):
    (tmp_path / "config.json").write_text(json.dumps({"kind": "jepa"}))
    paths = {"RUN": run, "PRETRAINED": str(tmp_path)}
    parse = partial(settings_of, verb_of(argv)[0])
    with pytest.raises(ConfigError) as caught:
        parse([*[paths.get(t, t) for t in argv[1:]], "--planner.horizon", "2"])
    assert all(word in str(caught.value) for word in words), caught.value
