"""Grids: every value and combination checked, what cannot be is refused by name."""

import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.benchmarks.sweep.grid import combinations, label
from agents.runs.axes import ALLOWED, MOST_SETTINGS, parse_grid
from agents.runs.config import ConfigError, PlannerOverrides, TrainConfig
from planning.config import PlannerConfig

BASE = TrainConfig()


def planners(grid, base=BASE):
    return [s.config.planner for s in combinations(parse_grid(grid), base)]


def test_values_have_the_types_of_their_settings():
    axes = parse_grid(
        "planner.horizon=1,2 planner.temperature=1,0.5 planner.method=mppi,cem "
        "model.episodic=true,False learner.batch-size=64"
    )
    assert axes == {
        "planner.horizon": [1, 2],
        "planner.temperature": [1.0, 0.5],
        "planner.method": ["mppi", "cem"],
        "model.episodic": [True, False],
        "learner.batch_size": [64],
    }
    assert isinstance(axes["planner.temperature"][0], float)


def test_all_combinations_in_order():
    found = combinations(parse_grid("planner.horizon=1,2 planner.num_samples=32,128"), BASE)
    assert [s.name for s in found] == [
        "horizon=1 num_samples=32",
        "horizon=1 num_samples=128",
        "horizon=2 num_samples=32",
        "horizon=2 num_samples=128",
    ]
    assert found[1].planner == {"horizon": 1}, "only what differs from the base"
    assert found[0].config == replace(
        BASE, planner=replace(BASE.planner, horizon=1, num_samples=32)
    )


def test_a_value_given_twice_counts_once():
    assert len(planners("planner.temperature=1,1.0,1e0")) == 1


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("planner.num_samples=128,8", ["num_samples=8 is", "num_prior_samples", "num_samples=8)"]),
        ("planner.num_elites=16,200", ["num_elites=200 is", "at most num_samples=128"]),
        ("planner.horizon=8,2", ["horizon=2 is", "num_knots", "[0, horizon=2]"]),
        ("planner.num_elites=16,8", ["num_elites=8 is", "target_ess", "num_elites=8]"]),
    ],
)
def test_a_combination_that_cannot_be_is_refused_with_what_it_breaks(grid, words):
    base = replace(BASE, planner=PlannerConfig(horizon=8, num_knots=4, target_ess=12.0))
    with pytest.raises(ConfigError) as caught:
        combinations(parse_grid(grid), base)
    assert all(word in str(caught.value) for word in ["impossible", *words]), caught.value


def test_fewer_samples_take_fewer_of_the_others():
    fixed = {"num_elites": 4, "num_prior_samples": 4}
    found = combinations(parse_grid("planner.num_samples=8"), BASE, fixed)
    assert [s.planner for s in found] == [{"num_samples": 8, **fixed}]


def test_training_settings_are_apart():
    found = combinations(parse_grid("learner.horizon=3,5 planner.horizon=1 seed=0,7"), BASE)
    assert [s.training for s in found] == [
        {},
        {"seed": 7},
        {"learner.horizon": 5},
        {"learner.horizon": 5, "seed": 7},
    ]
    assert len({s.model for s in found}) == 4 and found[0].model == ""
    assert found[3].config.learner.horizon == 5 and found[3].config.seed == 7


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("", ["grid is empty"]),
        ("planner.horizon", ["planner.horizon", "NAME=V1,V2"]),
        ("=1,2", ["NAME=V1,V2"]),
        ("planner.horzon=1", ["planner.horzon", "did you mean planner.horizon?"]),
        ("horizon=1", ["horizon", "did you mean planner.horizon?"]),
        ("planner.horizon=1 planner.horizon=2", ["planner.horizon", "twice"]),
        ("planner.horizon=1,,2", ["planner.horizon", "empty"]),
        ("planner.horizon=1.5", ["planner.horizon", "an integer", "1.5"]),
        ("planner.horizon=1,0", ["planner.horizon", "[1, 1000]"]),
        ("planner.horizon=" + "9" * 40, ["planner.horizon", "[1, 1000]"]),
        ("planner.horizon=" + "9" * 5000, ["planner.horizon"]),
        ("planner.temperature=nan", ["planner.temperature", "lie in"]),
        ("planner.method=mpi", ["planner.method", "mppi"]),
        ("planner.num_samples=0", ["planner.num_samples"]),
        ("planner.method=gradient planner.noise_beta=1", ["planner.noise_beta", "gradient"]),
        ("model.episodic=yes", ["model.episodic", "true or false"]),
        ("model.latent_dim=63", ["model.latent_dim", "multiple"]),
        ("seed=-1", ["seed", "-1"]),
        ("run_dir=a,b", ["run_dir"]),
        ("env_id=a,b", ["env_id"]),
        ("action_repeat=1,2", ["action_repeat", "control period"]),
        ("loop=host,fused", ["loop", "changes no result"]),
        ("planner.risk_coef=0.5,1", ["planner.risk_coef", "no effect", "planner.risk is none"]),
        ("planner.spline=linear,cubic", ["planner.spline", "no effect", "num_knots is 0"]),
        ("planner.spline=linear,cubic planner.num_knots=0,2", ["planner.spline", "no effect"]),
        ("planner.keep_elites=0.3", ["planner.keep_elites", "icem", "planner.method is mppi"]),
        ("planner.learning_rate=0.1,1", ["planner.learning_rate", "gradient"]),
        ("planner.method=cem planner.temperature=1,2", ["planner.temperature", "is cem"]),
        ("planner.target_ess=4 planner.temperature=1,2", ["planner.temperature", "target_ess"]),
        ("planner.method=gradient planner.num_samples=64,99", ["planner.num_samples", "restarts"]),
        ("planner.num_iterations=1 planner.sample_decay=1,2", ["sample_decay", "iterations is 1"]),
        ("learner.sigreg_coef=0.1,1", ["learner.sigreg_coef", "no effect", "is simnorm"]),
        ("model.regularizer=sigreg model.simnorm_group=4", ["model.simnorm_group", "is sigreg"]),
        ("model.task_dim=8,32", ["model.task_dim", "cartpole-swingup is one task"]),
    ],
)
def test_mistakes_are_told_in_one_line_with_the_key(grid, words):
    with pytest.raises(ConfigError) as caught:
        combinations(parse_grid(grid), BASE)
    message = str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in message
    assert all(word in message for word in words), message


def test_a_setting_without_effect_beside_some_others_is_swept_beside_the_rest():
    found = combinations(parse_grid("planner.risk=none,std planner.risk_coef=0.5,1,2"), BASE)
    assert [(s.config.planner.risk, s.config.planner.risk_coef) for s in found] == [
        ("none", 0.5),
        ("std", 0.5),
        ("std", 1.0),
        ("std", 2.0),
    ]
    methods = planners("planner.method=mppi,cem,icem planner.keep_elites=0.1,0.5")
    assert [p.keep_elites for p in methods] == [0.3, 0.3, 0.1, 0.5]
    assert methods[-1] == PlannerConfig.customary("icem", keep_elites=0.5)
    trained = combinations(
        parse_grid("model.regularizer=simnorm,sigreg learner.sigreg_coef=0.1,1"), BASE
    )
    assert [s.training for s in trained] == [
        {},
        {"model.regularizer": "sigreg", "learner.sigreg_coef": 0.1},
        {"model.regularizer": "sigreg", "learner.sigreg_coef": 1.0},
    ]


def test_fixed_settings_lie_under_the_grid():
    fixed = {"num_samples": 64, "horizon": 2, "num_knots": 4, "noise_beta": 1.0}
    found = combinations(parse_grid("planner.horizon=5,8"), BASE, fixed)
    assert [s.name for s in found] == ["horizon=5", "horizon=8"]
    assert found[0].planner == {"num_samples": 64, "horizon": 5, "num_knots": 4, "noise_beta": 1.0}
    (knots,) = combinations(parse_grid("planner.spline=cubic"), BASE, fixed | {"horizon": 8})
    assert knots.config.planner.spline == "cubic", "the fixed settings give it an effect"


def test_a_method_of_the_grid_brings_options_of_its_own():
    """Also beside settings that say every option of the old method, as a recommendation does."""
    fixed = asdict(PlannerConfig(num_samples=64, target_ess=8.0))
    mppi, icem = combinations(parse_grid("planner.method=mppi,icem"), BASE, fixed)
    assert mppi.config.planner == PlannerConfig(num_samples=64, target_ess=8.0)
    assert icem.config.planner == PlannerConfig.customary("icem", num_samples=64)


def test_grids_beyond_measure_are_refused_at_once():
    many = ",".join(map(str, range(1, 200)))
    grid = " ".join(f"planner.{n}={many}" for n in ("horizon", "num_samples", "num_iterations"))
    with pytest.raises(ConfigError, match=r"7,880,599 combinations.*shorten planner"):
        parse_grid(grid)


NUMBERS = st.integers(-3, 600).map(str) | st.floats().map(str)
VALUES = NUMBERS | st.sampled_from(["", "true", "mppi", "cem", "icem", "gradient", "cvar", "1e3"])
TOKENS = st.tuples(st.sampled_from(ALLOWED), st.lists(VALUES, min_size=1, max_size=4)).map(
    lambda token: f"{token[0]}={','.join(token[1])}"
)
JUNK = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(TOKENS | JUNK, max_size=4).map(" ".join))
def test_any_text_is_a_grid_that_can_run_or_an_error_with_the_key(text):
    message, found, axes = "", [], {}
    try:
        axes = parse_grid(text)
        found = combinations(axes, BASE)
    except ConfigError as error:
        message = str(error)
    if message:
        assert any(word in message for word in [*ALLOWED, "NAME=V1,V2", "setting in grid"])
        return
    assert 1 <= len(found) <= MOST_SETTINGS
    assert len(found) <= math.prod(map(len, axes.values()))
    assert len({s.name for s in found}) == len(found)
    assert all(s.name == label(s.asked) for s in found)


def test_a_setting_is_what_its_differences_make_of_the_base():
    """Also where another method brings options of its own and the grid says them otherwise."""
    grid = (
        "planner.method=mppi,cem,icem,predictive_sampling,gradient planner.horizon=2,3,5 "
        "planner.num_knots=0,2 planner.sample_decay=1"
    )
    for setting in combinations(parse_grid(grid.replace(",gradient", "")), BASE):
        assert PlannerOverrides(**setting.planner).apply(BASE.planner) == setting.config.planner
    (gradient,) = planners("planner.method=gradient")
    assert gradient == PlannerConfig.customary("gradient")
