"""The player behind the viewer: same actions as an evaluation, settings swapped while it runs."""

import time
from dataclasses import replace

import numpy as np
import pytest

from agents.deployment.viewer import play
from agents.deployment.viewer.config import PlayConfig
from agents.deployment.viewer.play import Player
from agents.runs.config import ConfigError
from envs.registry import make_vec
from tests.soak import mutations


@pytest.fixture(scope="module")
def trained():
    return mutations.specimen()


@pytest.fixture(scope="module")
def player(trained):
    made = Player(trained, seed=3)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(play, "SETTLE", 0.0)


def tip(data):
    return data.xpos[-1]


def wait(player):
    """Until what is wanted is compiled."""
    while player._wanted not in player._made:
        time.sleep(0.01)


def test_names_in_the_text_are_no_markup(player, monkeypatch):
    name = "[*task*](javascript:x) <b>|`"
    monkeypatch.setattr(player.env, "env_spec", replace(player.env.env_spec, env_id=name))
    monkeypatch.setattr(player, "_problem", "**no** <i>")
    shown = player.summary()
    assert "](" not in shown and "\\*task\\*" in shown
    assert "\\<b\\>" in shown and shown.endswith("\\*\\*no\\*\\* \\<i\\>")


def test_the_plan_is_rolled_on_the_true_model_at_no_ones_expense(player, trained):
    player.reset()
    for _ in range(5):
        player.step(player.decide())
    action = player.decide()
    before = player.env.get_state()
    paths = player.foresee(tip)
    after = player.env.get_state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert {name: len(path) for name, path in paths.items()} == {"mean": 3, "sample": 3}
    player.step(action)  # without noise the first action of the plan is the one carried out
    _, data = play.physics_of(player.env)
    np.testing.assert_allclose(paths["mean"][1], tip(data), atol=1e-6)


def test_a_reset_begins_an_episode_and_its_plan(player):
    player.step(player.decide())
    player.reset()
    assert (player.decisions, player.ret) == (0, 0.0)
    assert not np.asarray(player.carry.plan.mean).any()
    env = make_vec("cartpole-swingup", 1)
    obs, _ = env.reset(seed=player.seed + player.episode - 1)
    np.testing.assert_array_equal(player.obs, obs)
    env.close()


def test_new_settings_act_when_they_are_compiled(player, trained):
    longer = replace(trained.config.planner, horizon=4)
    player.configure(longer, "plan")
    assert "compiling" in player.note
    wait(player)
    player.step(player.decide())
    assert player.ready.planner == longer and not player.busy
    assert player.carry.plan.mean.shape == (1, 4, 1)
    assert len(player.foresee(tip)["mean"]) == 5
    player.configure(longer, "prior")
    wait(player)
    player.step(player.decide())
    assert player.foresee(tip) == {}
    player.configure(trained.config.planner, "plan")
    wait(player)
    player.decide()
    assert player.carry.plan.mean.shape == (1, 2, 1)


def test_settings_that_cannot_be_compiled_leave_the_old_ones(player, trained, monkeypatch):
    def fail(wanted):
        raise RuntimeError("no memory\nmore")

    old = player.ready
    monkeypatch.setattr(player, "_compile", fail)
    player.configure(replace(trained.config.planner, horizon=9), "plan")
    player._compiling.join(60)
    player.decide()
    assert player.ready is old and player.note == "no memory"


def test_an_episode_ends_and_another_begins(player):
    player.reset()
    episode = player.episode
    player.env._frames[:] = player.env.env_spec.episode_frames - player.env.env_spec.action_repeat
    player.step(player.decide())
    assert player.foresee(tip) == {} and player.last_return is not None
    player.step(player.decide())
    assert player.episode == episode + 1 and player.decisions == 0


@pytest.mark.parametrize(
    ("field", "value"), [("port", 0), ("speed", 0.0), ("seconds", -1.0), ("seed", -1)]
)
def test_impossible_settings_are_named(field, value):
    with pytest.raises(ConfigError, match=field):
        PlayConfig("x", **{field: value})
