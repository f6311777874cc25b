"""The command line of a sweep: grids gathered and refused, TOML that other verbs read."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.config import ConfigError, TrainConfig
from agents.grid import ALLOWED
from agents.sweep_summary import recommended_toml, training_toml
from planning.config import PlannerConfig
from scripts.eval import parse_eval
from scripts.sweep import gathered, main, parse_sweep
from scripts.train import parse_train
from wm.durable import CheckpointError


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
    flags = parse_sweep(
        [run, "--grid", "planner.horizon=1,2", "seed=1", "--no-eliminate", "--rate-hz", "50"]
    )
    config = flags.config_of()
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
        (["RUN", "--grid", "planner.horizon=1", "--clock", "fast"], ["clock", "fixed:MS"]),
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
    path = tmp_path / "recommended.toml"
    found = {"planner": asdict(PLANNER), "plan_ms": {"p50": 1.0, "p99": 2.0}}
    found |= {"return_mean": 800.0, "return_ci95": [790.0, 810.0]}
    path.write_text(
        recommended_toml(
            {"task": "cartpole-swingup", "episodes": 10, "budget_ms": 20.0, "recommendation": found}
        )
    )
    evaluated = parse_eval([run, "--config", str(path)]).config_of()
    assert evaluated.planner.apply(PlannerConfig()) == PLANNER
    trained = parse_train(["walker-walk", "--config", str(path)]).config_of()
    assert trained.planner == PLANNER and trained.env_id == "walker-walk"
    assert parse_train(["--config", str(path), "--planner.horizon", "2"]).planner.horizon == 2


def test_recommended_training_is_read_by_train(tmp_path):
    base = TrainConfig("walker-walk", preset="1M", seed=3, planner=PLANNER, utd=0.5, video=False)
    path = tmp_path / "recommended-train.toml"
    path.write_text(training_toml(replace(base, run_dir="elsewhere")))
    assert parse_train(["--config", str(path)]).config_of() == replace(
        base, run_dir="runs/walker-walk-3"
    )


@pytest.mark.parametrize(
    ("failures", "found", "code"), [([], True, 0), ([1], True, 1), ([], False, 5)]
)
def test_exit_codes(monkeypatch, capsys, run, failures, found, code):
    """0 with a recommendation, 1 when settings failed, 5 when nothing keeps the budget."""
    summary = {"failures": failures, "recommendation": {"name": "x"} if found else None}
    monkeypatch.setattr("agents.sweep.sweep", lambda config, say: summary)
    assert main([run, "--grid", "planner.horizon=1", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == summary
