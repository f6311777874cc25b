"""Environments of strangers: saved if they can be, learned as they are, refused in a line."""

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agents.robots import check_gym
from agents.robots.config import CheckConfig
from envs import imports
from envs.registry import make_spec, make_vec
from envs.spec import EnvError, UnfitEnvError, UnknownTaskError
from envs.task_options import task_options, with_options


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    imports.permit([imports.ANY])
    yield
    imports.permit(())


def simulator(env_id):
    """One simulator, with its vector environment and what it is."""
    env = make_vec(f"toys:{env_id}", 1)
    env.reset(seed=0)
    return env, env.simulators[0].env.unwrapped


@pytest.mark.parametrize(
    "name",
    "Toy Goal GoalDict Queue OwnRandom OtherStream OwnState Phases Kinds Suite NoMuJoCo "
    "normalized".split(),
)
def test_whatever_is_in_attributes_is_saved(name):
    """A fresh environment goes on to the same observations, rewards and ends, past resets."""
    env, other = (make_vec(f"toys:{name}-v0", 2) for _ in range(2))
    assert env.unsaved == "" and not env.restarts.any()
    rng = np.random.default_rng(0)
    env.reset(seed=1)
    for _ in range(13):
        env.step(rng.uniform(-1, 1, (2, 1)))
    state = env.get_state()
    assert all(value.dtype.kind in "biuf" for value in state.values()), "nothing is pickled"
    other.reset(seed=2)
    other.set_state(state)
    for action in rng.uniform(-1, 1, (50, 2, 1)):
        for one, two in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["GlobalRandom", "InClosure"])
def test_what_is_kept_elsewhere_is_found_out_and_begins_anew(name):
    env, other = (make_vec(f"toys:{name}-v0", 2) for _ in range(2))
    assert "another reward" in env.unsaved and env.restarts.all()
    env.reset(seed=3)
    last = env.step(np.zeros((2, 1)))[0]
    state = env.get_state()
    other.reset(seed=4)
    other.set_state(state)
    obs, reward, _, _, info = other.step(np.zeros((2, 1)))
    assert info["is_reset"].all() and not reward.any() and not np.array_equal(obs, last)
    other.set_state(state)
    np.testing.assert_array_equal(other.step(np.zeros((2, 1)))[0], obs)  # by the run's own seed


def test_an_object_of_all_environments_is_not_written_into():
    env, core = simulator("Sharing-v0")
    assert "used (SimpleNamespace) is one object for all environments" in env.unsaved
    env.step(np.zeros((1, 1)))
    state, steps = env.get_state(), core.settings.steps
    core.settings.steps += 5
    env.set_state(state)
    assert core.settings.steps == steps + 5


@pytest.mark.parametrize(
    "env_id", ["Pendulum-v1", "MountainCarContinuous-v0", "InvertedPendulum-v5"]
)
def test_gymnasiums_own_are_saved(env_id):
    assert make_vec(env_id, 1).unsaved == ""


def test_stored_state_is_data_and_checked():
    env, _ = simulator("Goal-v0")
    state = env.get_state()
    kept = state["0/attributes"]
    for broken in (kept[:-9], kept[::-1].copy(), np.zeros(3, np.uint8)):
        with pytest.raises(EnvError, match="not one of this environment"):
            env.set_state(state | {"0/attributes": broken})


@pytest.mark.parametrize(
    ("name", "seconds", "note"),
    [
        ("Periods-v0", 0.1, ""),
        ("Toy-v0", 0.04, ""),
        ("Disputed-v0", 0.01, "0.01 s by its dt and 0.04 s by metadata"),
        ("Rate-v0", 0.05, ""),
        ("Broken-v0", 0.04, ""),
        ("Unknown-v0", 0.02, "taken as 0.02 s (--control-dt"),
        ("Unknown-v0#control_dt=0.5", 0.5, ""),
    ],
)
def test_the_control_period_is_given_or_said_to_be_assumed(name, seconds, note):
    env = make_vec(f"toys:{name}", 1)
    assert env.env_spec.control_dt == pytest.approx(seconds)
    assert note in " ".join(env.notes) and bool(env.notes) == bool(note)


def test_whole_numbers_reach_both_bounds():
    env, core = simulator("Whole-v0")
    sent = []
    for action in np.linspace(-1, 1, 301):
        env.simulators[0].frame(np.array([action]))
        sent.append(core.sent)
    assert np.bincount(sent).tolist() == [100, 100, 101]


def test_whole_numbers_without_a_bound_have_an_assumed_one():
    env, _ = simulator("OpenWhole-v0")
    assert "1 of 1 actions have no bounds" in env.notes[0]
    assert [env.simulators[0].actions.of(np.array([a]))[0] for a in (-1, 1)] == [0, 2]


def test_missing_bounds_are_said_and_given_ones_are_used():
    env, core = simulator("HalfOpen-v0")
    assert "2 of 3 actions have no bounds" in env.notes[0] and "--action-range" in env.notes[0]
    for action, expected in ((-1, [2, -1, -4e6]), (1, [4, 1, 4e6])):
        env.simulators[0].frame(np.full(3, action))
        np.testing.assert_allclose(core.sent, expected)
    env = make_vec("toys:HalfOpen-v0#action_range=-5:5", 1)
    assert not env.notes
    np.testing.assert_allclose(env.simulators[0].actions.of(np.ones(3)), [12, 5, 4e6])


def test_goals_and_choices_join_the_observation():
    env, _ = simulator("GoalDict-v0")
    parts = (("achieved_goal", 1), ("desired_goal.0", 1), ("desired_goal.1", 3), ("observation", 2))
    assert env.env_spec.obs_names == parts
    obs = env.step(np.zeros((1, 1)))[0][0]
    np.testing.assert_array_equal(obs, [obs[5], obs[6], 0, 0, 1, *obs[5:]])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Pictured-v0", "Box(0, 255, (64, 64, 3), uint8) in 'eye': pictures"),
        ("NoActions-v0", "has no actions"),
        (
            "Endless-v0",
            "has no time limit, so that an episode may never end: give one with --episo",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_with_its_reason(name, told):
    with pytest.raises(UnfitEnvError) as caught:
        make_vec(f"toys:{name}", 1)
    assert told in str(caught.value) and caught.value.exit_code == 2


def test_a_limit_of_ones_own_ends_episodes():
    for env_id in ("toys:Endless-v0#episode_steps=3", "toys:Toy-v0#episode_steps=40"):
        env = make_vec(env_id, 1, action_repeat=2)
        steps = task_options(env_id).episode_steps
        assert env.env_spec.episode_steps == steps
        env.reset(seed=0)
        ends = [bool(env.step(-np.ones((1, 1)))[3][0]) for _ in range(steps)]
        assert ends == [False] * (steps - 1) + [True]


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("constructor", "its constructor raised ValueError: no such robot ("),
        ("reset", "reset() raised KeyError: 'arm' ("),
        ("bare reset", "reset() gave an array of shape (2,); expected (obs, info)"),
        ("step", "step() raised RuntimeError: motor 3 is hot ("),
        ("exit", "step() raised SystemExit: 7 ("),
        ("four", "step() raised ValueError: not enough values to unpack"),
        ("none", "step() gave the reward None; expected a number"),
        ("text", "step() gave the reward '1.0'; expected a number"),
        ("vector", "step() gave the reward an array of shape (1,); expected a number"),
        ("ends", "step() gave terminated 'no'; expected True or False"),
    ],
)
def test_what_strangers_raise_is_one_line_with_their_line(way, told):
    env_id = with_options("toys:Failing-v0", {"way": way}, {})
    with pytest.raises(EnvError) as caught:
        env = make_vec(env_id, 2)
        env.reset(seed=0)
        env.step(np.zeros((2, 1)))
    text = str(caught.value)
    assert told in text and "\n" not in text and caught.value.exit_code == 4
    assert text.startswith(env_id)
    if way in ("constructor", "reset", "step", "exit"):
        assert f"({sys.modules['toys'].__file__}:" in text


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("gear", 2, r"\(gear\) is 2.0, its space says Discrete\(3, start=-1\)"),
        ("gear", [0, 1], r"\(gear\) has shape \(2,\), its space says \(\)"),
        ("lamps", [1, 2], r"\(lamps\) is \[1. 2.\], its space says MultiBinary"),
        ("lamps", [1], r"\(lamps\) has shape \(1,\)"),
        ("tools", [-1, 5], r"\(tools\) is \[-1.  ?5.\], its space says MultiDiscrete"),
        ("tools", [0.5, 5], r"\(tools\) is \[0.5 5. \]"),
    ],
)
def test_choices_that_are_none_are_refused_by_name(part, value, told):
    env, core = simulator("Choosing-v0")
    np.testing.assert_array_equal(
        env.step(np.zeros((1, 1)))[0][0], [0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 1]
    )
    core.seen = core.seen | {part: value}
    with pytest.raises(EnvError, match=told):
        env.step(np.zeros((1, 1)))


def test_a_mode_of_drawing_that_the_constructor_does_not_take_is_not_passed():
    env, core = simulator("Modeless-v0")
    assert core.render_mode is None
    with pytest.raises(EnvError, match="cannot render"):
        env.render(0, 8, 8)


def test_spaces_that_raise_are_one_line_too():
    with pytest.raises(EnvError, match=r"its spaces or control period raised .*: not connected"):
        make_vec("toys:NoSpace-v0", 1)


def test_pictures_are_red_green_blue_and_closing_raises_nothing(caplog):
    env, core = simulator("Drawn-v0")
    for shape in ((4, 6, 3), (4, 6, 4)):
        core.shape = shape
        assert env.render(0, 4, 6).shape == (4, 6, 3)
    for shape in ((4, 6), (4, 6, 1), (2, 4, 6, 3)):
        core.shape = shape
        with pytest.raises(EnvError, match=r"cannot render: render\(\) gave \(.*expected \[height"):
            env.render(0, 4, 6)
    env.close()
    assert "close() raised OSError: no such window" in caplog.text


def test_an_observation_of_another_size_is_not_spread():
    with pytest.raises(EnvError, match=r"shape \(1,\), its space says \(2,\)"):
        simulator("Narrow-v0")


def test_what_single_precision_does_not_hold_ends_the_episode_by_name():
    env, _ = simulator("Huge-v0")
    *_, truncated, info = env.step(np.zeros((1, 1)))
    assert truncated.all() and info["invalid"].all()
    assert env.faults == {"obs[1] is too large for float32": 1}


def test_check_bears_with_slow_environments_that_fail_now_and_then(monkeypatch):
    clock = SimpleNamespace(perf_counter=itertools.count(0, 10**6).__next__)
    monkeypatch.setattr(check_gym, "time", clock)
    result = check_gym.check_gym(CheckConfig("toys:Faulty-v0", steps=200), lambda *told: None)
    levels = {finding["what"]: finding["level"] for finding in result["findings"]}
    assert result["ends"]["invalid"] and result["ends"]["terminated"]
    assert {*levels.values()} == {"note"}
    for told in ("obs[0] is nan", "0 steps a second", "check_env: 2"):
        assert any(told in what for what in levels), levels


def test_an_id_holds_all_that_makes_the_environment_again():
    typed = {"label": "'25'", "gain": "2.5"}
    env_id = with_options("toys:Toy-v0", typed, {"episode_steps": 7})
    assert env_id == "toys:Toy-v0?gain=2.5&label=%2725%27#episode_steps=7"
    env = make_vec(env_id, 1)
    core = env.simulators[0].env.unwrapped
    assert (core.gain, core.label) == (2.5, "25")
    assert make_spec(env.env_spec.env_id) == env.env_spec
    assert with_options(env_id, {"gain": "3"}, {}).startswith("toys:Toy-v0?gain=3&label")


@pytest.mark.parametrize(
    "env_id",
    [
        "Pendulum-v1?render_mode=human",
        "Pendulum-v1?_x=1",
        "Pendulum-v1?g",
        "Pendulum-v1?g=" + "9" * 600,
        "Pendulum-v1#episode_steps=0",
        "Pendulum-v1#episode_steps=x",
        "Pendulum-v1#control_dt=nan",
        "Pendulum-v1#action_range=2:1",
        "Pendulum-v1#speed=1",
        "cartpole-swingup#episode_steps=5",
    ],
)
def test_options_that_cannot_be_are_refused(env_id):
    with pytest.raises(UnknownTaskError):
        make_spec(env_id)


def test_arguments_that_nobody_typed_are_not_passed():
    imports.permit(imports.modules_of("toys:Toy-v0?gain=2"), "type {id}")
    make_spec("toys:Toy-v0?gain=2")
    with pytest.raises(UnknownTaskError, match=r"may name any file, is not passed on: type 'toys"):
        make_spec("toys:Toy-v0?gain=3")
    with pytest.raises(UnknownTaskError, match="was not typed"):
        make_spec("multi:Pendulum-v1?g=9,Pendulum-v1")
