"""What is MPPI's own, and scores; what it shares with every planner is in test_planning_zoo."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning import registry
from planning.config import PlannerConfig
from planning.methods import mppi
from planning.rollout import prior_sequences, score
from planning.types import Model, Plan, shift

KEY = jax.random.key(0)
CONFIG = PlannerConfig(horizon=5, num_samples=256, num_prior_samples=8, num_elites=32)


def no_prior(params, z, key):
    return jnp.zeros(1)


def point_mass(value=lambda p, z, k: jnp.zeros(())) -> Model:
    """On a line, z' = z + a; reward -(z' - 0.6)^2: the best first action is 0.6 - z."""

    def step(params, z, a):
        z = z + a
        return z, -jnp.sum((z - 0.6) ** 2), jnp.ones(())

    return Model(step=step, value=value, prior=no_prior)


def planned(config, model, latent):
    return jax.jit(partial(registry.improve, config, model))(
        None, latent, registry.init(config, 1), KEY
    )


def test_the_default_search_is_this_loop():
    """The same draws through a few lines of numpy, key by key: other settings are off."""
    config = PlannerConfig(num_samples=24, num_prior_samples=4, num_elites=6)
    model = point_mass()._replace(prior=_mode_or_draw)

    def value(actions):  # from 0.1
        return -((0.1 + np.cumsum(actions[:, :, 0], axis=1) - 0.6) ** 2).sum(1)

    key_prior, key_noise, _, key_pick = jax.random.split(KEY, 4)
    prior = np.zeros((4, 3, 1))
    for i, key in enumerate(jax.random.split(key_prior, 4)):
        z = 0.1
        for t, k in enumerate(jax.random.split(key, 3)):
            draw = float(jax.random.normal(k, (1,))[0])
            prior[i, t] = np.clip(0.3 - z + 0.2 * draw, -1, 1)
            z += prior[i, t, 0]
    mean, std = np.zeros((3, 1)), np.full((3, 1), 2.0)
    for key in jax.random.split(key_noise, 3):
        noise = np.array(jax.random.normal(key, (20, 3, 1)))
        noise[0] = 0
        candidates = np.concatenate([np.clip(mean + std * noise, -1, 1), prior])
        order = np.argsort(-value(candidates), kind="stable")[:6]
        elites, values = candidates[order], value(candidates)[order]
        weights = np.exp((values - values[0]) / 2.0)
        weights /= weights.sum()
        mean = np.einsum("k,kha->ha", weights, elites)
        variance = np.einsum("k,kha->ha", weights, (elites - mean) ** 2)
        std = np.clip(np.sqrt(variance), 0.05, 2.0)
    plan, info = planned(config, model, jnp.full(1, 0.1))
    np.testing.assert_allclose(plan.mean, mean, atol=1e-5)
    np.testing.assert_allclose(plan.std, std, atol=1e-5)
    pick = jax.random.categorical(key_pick, jnp.log(jnp.asarray(weights, jnp.float32)))
    np.testing.assert_allclose(plan.sample, elites[int(pick)], atol=1e-5)
    assert float(info.best_value) == pytest.approx(values[0], abs=1e-5)
    assert float(info.effective_samples) == pytest.approx(1 / (weights**2).sum(), rel=1e-4)


def _mode_or_draw(params, z, key):
    return 0.3 - z if key is None else 0.3 - z + 0.2 * jax.random.normal(key, (1,))


def test_a_warm_start_is_worth_an_iteration():
    """A narrow search over five steps: from the last plan it gets closer than from nothing."""
    config = PlannerConfig(
        horizon=8, num_samples=24, num_prior_samples=0, num_elites=4, num_iterations=1
    )

    def step(params, z, a):  # wants the alternating plan +-0.8
        target = jnp.where(z[0] % 2 == 0, 0.8, -0.8)
        return z + jnp.array([1.0]), -((a[0] - target) ** 2), jnp.ones(())

    model = Model(step=step, value=lambda p, z, k: jnp.zeros(()), prior=no_prior)
    improve = jax.jit(partial(registry.improve, config, model))
    plan = registry.init(config, 1)
    cold, warm = [], []
    for t in range(40):
        key, z = jax.random.fold_in(KEY, t), jnp.array([float(t)])
        fresh, _ = improve(None, z, registry.init(config, 1), key)
        plan, _ = improve(None, z, plan, key)
        target = 0.8 if t % 2 == 0 else -0.8
        cold.append(abs(float(fresh.mean[0, 0]) - target))
        warm.append(abs(float(plan.mean[0, 0]) - target))
        plan = shift(plan, 1, config.init_std)
    assert np.mean(warm[5:]) < np.mean(cold[5:])


def test_shift_moves_on_repeats_the_last_and_widens():
    plan = Plan(jnp.arange(4.0)[:, None], jnp.full((4, 1), 0.1), jnp.arange(4.0)[:, None] + 10)
    moved = shift(plan, 2, 2.0)
    assert moved.mean[:, 0].tolist() == [2, 3, 3, 3]
    assert moved.sample[:, 0].tolist() == [12, 13, 13, 13]
    assert (moved.std == 2.0).all()
    jax.tree.map(np.testing.assert_array_equal, shift(plan, 0, 0.1), plan)


finite_or_not = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(finite_or_not, min_size=1, max_size=12), st.floats(0.01, 100))
@settings(max_examples=80, deadline=None)
def test_weights_are_a_distribution_over_the_finite(values, temperature):
    x = jnp.asarray(values, jnp.float32)
    weights, any_valid = mppi.weigh(x, temperature)
    weights, finite = np.asarray(weights), np.isfinite(np.asarray(x))
    assert bool(any_valid) == finite.any()
    assert (weights[~finite] == 0).all() and (weights >= 0).all()
    if finite.any():
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert weights[np.where(finite, np.asarray(x), -np.inf).argmax()] == weights.max()


def test_temperature_divides():
    values = jnp.array([1.0, 0.0])
    for temperature in (0.5, 2.0):
        weights, _ = mppi.weigh(values, temperature)
        assert float(weights[0] / weights[1]) == pytest.approx(np.exp(1 / temperature), rel=1e-5)
    cold, _ = mppi.weigh(values, 1e-3)
    assert cold.tolist() == [1, 0]


def test_scores_are_discounted_sums_with_a_terminal_value():
    model = Model(
        step=lambda p, z, a: (z + 1, a[0], jnp.asarray(0.5)),
        value=lambda p, z, k: 100 * z[0],
        prior=no_prior,
    )
    actions = jnp.array([[[1.0], [2.0]], [[0.0], [4.0]]])
    values = score(model, None, jnp.zeros(1), actions, KEY)
    assert values.tolist() == [1 + 0.5 * 2 + 0.25 * 200, 0.5 * 4 + 0.25 * 200]


def test_termination_ends_what_counts():
    """A discount of zero: neither later rewards nor the terminal value are seen."""
    model = Model(
        step=lambda p, z, a: (z, jnp.ones(()), jnp.where(a[0] > 0, 0.0, 1.0)),
        value=lambda p, z, k: jnp.asarray(100.0),
        prior=no_prior,
    )
    actions = jnp.array([[[1.0], [0.0], [0.0]], [[0.0], [0.0], [0.0]]])
    assert score(model, None, jnp.zeros(1), actions, KEY).tolist() == [1, 103]


def test_the_prior_is_rolled_out_in_the_model():
    model = Model(
        step=lambda p, z, a: (z + a, jnp.zeros(()), jnp.ones(())),
        value=lambda p, z, k: jnp.zeros(()),
        prior=lambda p, z, k: -0.5 * z,
    )
    prior = prior_sequences(model, None, jnp.ones(1), jax.random.split(KEY, 2), 3)
    np.testing.assert_allclose(prior[:, :, 0], [[-0.5, -0.25, -0.125]] * 2)


def test_a_good_prior_leads_the_search():
    """Few samples and a far optimum: the prior's sequences carry the plan there."""
    model = point_mass()._replace(prior=lambda p, z, k: jnp.clip(0.6 - z, -1, 1))
    config = PlannerConfig(
        horizon=6,
        num_samples=12,
        num_prior_samples=4,
        num_elites=4,
        num_iterations=1,
        temperature=0.1,
    )
    plan, _ = planned(config, model, jnp.array([-0.2]))
    assert float(plan.mean[0, 0]) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("horizon", [1, 2, 7])
def test_any_horizon(horizon):
    config = PlannerConfig(horizon=horizon, num_samples=64, num_elites=8)
    plan, info = planned(config, point_mass(), jnp.zeros(1))
    assert plan.mean.shape == (horizon, 1)
    assert 1 <= float(info.effective_samples) <= config.num_elites + 1e-3
