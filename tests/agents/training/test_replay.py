"""The replay against a plain list, and the agent's promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.acting.agent import CPU_BATCH, agent_for, make_agent, over_rows
from agents.training import replay as replay_lib
from planning.config import PlannerConfig
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import LearnerConfig, ModelConfig
from wm.types import Spec

E, O, A = 2, 3, 1  # noqa: E741
SPEC = Spec(4, 2, 0.99)
PLANNER = PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2)


def filled(rows: int, capacity: int, last_every: int = 10_000):
    """A buffer after `rows` rows, whose obs tell time and simulator, and the same as a list."""
    replay, history = replay_lib.init(capacity * E, E, O, A), []
    add = jax.jit(replay_lib.add)
    for t in range(rows):
        obs = np.stack([[t, e, 0.5] for e in range(E)])
        is_last = np.full(E, (t + 1) % last_every == 0)
        packed = replay_lib.pack(obs, np.full((E, A), t / 100), np.full(E, t), np.zeros(E), is_last)
        replay = add(replay, jnp.asarray(packed))
        history.append(packed)
    return replay, np.stack(history)


@pytest.mark.parametrize("rows", [9, 16, 41])
def test_slices_are_what_was_added_and_never_cross_the_seam(rows):
    replay, history = filled(rows, capacity=16)
    batch = replay_lib.sample(replay, jax.random.key(0), 400, 3, O)
    times, sims = np.asarray(batch.obs[..., 0]), np.asarray(batch.obs[..., 1])
    np.testing.assert_array_equal(np.diff(times, axis=1), 1)
    assert (sims == sims[:, :1]).all()
    oldest = max(rows - 16, 0)
    assert times.min() == oldest and times.max() == rows - 1  # every row is reachable
    assert set(times[:, 0]) == set(range(oldest, rows - 3))
    np.testing.assert_array_equal(batch.reward, times[:, :-1])
    np.testing.assert_allclose(batch.action[..., 0], times[:, :-1] / 100, rtol=1e-6)
    for i in range(20):
        row = history[int(times[i, 0]), int(sims[i, 0])]
        np.testing.assert_array_equal(batch.obs[i, 0], row[:O])


def test_sampling_is_uniform():
    replay, _ = filled(40, capacity=64)
    batch = replay_lib.sample(replay, jax.random.key(1), 37 * 2 * 200, 3, O)
    place = np.asarray(batch.obs[:, 0, 0] * E + batch.obs[:, 0, 1], int)
    counts = np.bincount(place, minlength=74)
    assert len(counts) == 74
    assert np.abs(counts - 200).max() < 6 * 200**0.5


def test_the_mask_ends_with_the_episode():
    replay, _ = filled(30, capacity=64, last_every=10)
    batch = replay_lib.sample(replay, jax.random.key(2), 300, 3, O)
    start = np.asarray(batch.obs[:, 0, 0], int)
    expected = np.ones((300, 3))
    for k in range(3):
        ended = (start + k) % 10 == 9
        expected[ended, k:] = 0
    np.testing.assert_array_equal(batch.mask, expected)


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(encoder_width=8, mlp_width=8, latent_dim=8, num_bins=21)
    net = tdmpc.build(config, LearnerConfig(), SPEC)
    params = tdmpc.init(net, jax.random.key(0))  # whose rewards and values are all zero
    noise = jax.random.normal(jax.random.key(1), (1000,))
    return net, jax.tree.map(lambda p: p + 0.5 * noise[: p.size].reshape(p.shape), params)


@pytest.fixture(scope="module")
def agent(model):
    return make_agent(model[0], PLANNER, explore=True)


def inputs(count):
    obs = jnp.sin(jnp.arange(count * 4.0).reshape(count, 4))
    return obs, jnp.zeros(count, bool)


@pytest.mark.exact
def test_actions_do_not_depend_on_how_many_simulators_there_are(model, agent):
    key = jax.random.key(3)
    four, _, _ = agent.act(model[1], agent.init_carry(4), *inputs(4), key)
    two, _, _ = agent.act(model[1], agent.init_carry(2), *inputs(2), key)
    np.testing.assert_allclose(four[:2], two, atol=1e-5)
    assert len({tuple(map(float, a)) for a in four}) == 4
    assert float(jnp.abs(four).max()) <= 1


def test_more_simulators_than_are_planned_for_at_once_act_as_they_would_alone(model, agent):
    """Also those of the last, smaller part."""
    count, key = 2 * CPU_BATCH + 1, jax.random.key(3)
    many, carry, info = agent.act(model[1], agent.init_carry(count), *inputs(count), key)
    few, _, _ = agent.act(model[1], agent.init_carry(2), *inputs(2), key)
    assert many.shape[0] == carry.plan.mean.shape[0] == info.best_value.shape[0] == count
    np.testing.assert_allclose(many[:2], few, atol=1e-5)
    assert len({tuple(map(float, a)) for a in many}) == count
    numbers = jnp.arange(float(count))
    np.testing.assert_array_equal(over_rows(lambda x: 2 * x, (numbers,), 5), 2 * numbers)


def test_a_reset_is_data(model, agent):
    """is_first makes the carry of that simulator irrelevant, inside the compiled function."""
    obs, _ = inputs(4)
    carry = agent.init_carry(4)
    _, used, _ = agent.act(model[1], carry, obs, jnp.zeros(4, bool), jax.random.key(0))
    first = jnp.array([True, False, True, False])
    key = jax.random.key(1)
    from_used, _, _ = agent.act(model[1], used, obs, first, key)
    from_fresh, _, _ = agent.act(model[1], carry, obs, jnp.ones(4, bool), key)
    np.testing.assert_array_equal(from_used[::2], from_fresh[::2])
    assert not np.array_equal(from_used[1::2], from_fresh[1::2])
    assert agent.act._cache_size() <= 3  # one program a number of simulators


def test_a_broken_observation_gives_a_bounded_action(model, agent):
    obs, first = inputs(4)
    action, carry, info = agent.act(
        model[1], agent.init_carry(4), obs.at[1].set(jnp.nan), first, jax.random.key(0)
    )
    assert np.isfinite(np.asarray(action)).all() and float(jnp.abs(action).max()) <= 1
    assert info.fallback.tolist() == [0, 1, 0, 0]
    again, _, info = agent.act(model[1], carry, obs, first, jax.random.key(1))
    assert np.isfinite(np.asarray(again)).all() and info.fallback.tolist() == [0] * 4


@pytest.mark.parametrize("mode", ["plan", "prior", "random", "zero"])
def test_modes_are_deterministic(model, mode):
    agent = agent_for(model[0], PLANNER, mode)
    carry, key = agent.init_carry(4), jax.random.key(5)
    one, _, _ = agent.act(model[1], carry, *inputs(4), key)
    two, _, _ = agent.act(model[1], carry, *inputs(4), key)
    np.testing.assert_array_equal(one, two)
    assert one.shape == (4, 2) and float(jnp.abs(one).max()) <= 1
    assert (float(jnp.abs(one).max()) == 0) == (mode == "zero")


def test_unknown_mode_is_named(model):
    with pytest.raises(ValueError, match="plan, prior, random or zero"):
        agent_for(model[0], PLANNER, "best")
