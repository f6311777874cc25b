"""The host loop: rows, episodes, bad data, exact continuation."""

import numpy as np
import pytest

from agents.training.driver import Driver
from envs.native.env import make_native
from envs.spec import EnvError


@pytest.fixture
def driver():
    env = make_native("cartpole-balance", 3, action_repeat=50)  # episodes of 20 decisions
    yield Driver(env, seed=3)
    env.close()


def test_rows_hold_what_happened(driver):
    obs = driver.obs.copy()
    actions = driver.random_actions(0)
    cycle = driver.step(actions)
    np.testing.assert_allclose(cycle.rows[:, :5], obs, rtol=1e-6)
    np.testing.assert_array_equal(cycle.rows[:, 5:6], actions)
    assert not cycle.rows[:, -1].any()
    assert cycle.decisions == 3


def test_an_episode_ends_with_a_last_row_that_takes_no_decision(driver):
    cycles = [driver.step(driver.random_actions(i)) for i in range(22)]
    last = np.stack([c.rows[:, -1] for c in cycles])
    assert (last[20] == 1).all()  # final observation of the episode
    assert last.sum() == 3
    assert [c.decisions for c in cycles] == [3] * 20 + [0, 3]
    assert [len(c.episodes) for c in cycles] == [0] * 19 + [3, 0, 0]
    assert all(e.length == 20 and not e.invalid for e in cycles[19].episodes)
    rewards = np.stack([c.rows[:, -3] for c in cycles[:20]]).sum(0)
    np.testing.assert_allclose([e.ret for e in cycles[19].episodes], rewards, rtol=1e-5)
    assert (last[:20, :] == 0).all()


def test_continues_exactly_across_an_episode_end(driver):
    for i in range(18):
        driver.step(driver.random_actions(i))
    state = driver.get_state()
    ahead = [driver.step(driver.random_actions(i)) for i in range(18, 24)]
    driver.set_state(state)
    for i, cycle in zip(range(18, 24), ahead, strict=True):
        again = driver.step(driver.random_actions(i))
        np.testing.assert_array_equal(again.rows, cycle.rows)
        assert again.episodes == cycle.episodes


@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_data_that_is_not_finite_never_reaches_the_replay(driver, monkeypatch, value):
    """In the type in which it would be stored."""
    step = driver.env.step

    def broken(actions):
        obs, *rest = step(actions)
        obs[1, 2] = value
        return obs, *rest

    monkeypatch.setattr(driver.env, "step", broken)
    with pytest.raises(EnvError, match=r"simulator 1 of cartpole-balance: obs\[2\] is") as caught:
        driver.step(driver.random_actions(0))
    assert caught.value.exit_code == 4


def test_an_invalid_episode_is_counted_and_its_transition_masked(driver):
    state = driver.env.simulators.batch.bind("qvel")
    driver.step(driver.random_actions(0))
    state[1] = 1e30  # MuJoCo warns and would silently reset
    cycle = driver.step(driver.random_actions(1))
    assert cycle.rows[:, -1].tolist() == [0, 1, 0]
    assert [e.invalid for e in cycle.episodes] == [True]
