"""The planner on problems whose optimum is known, and on models that break."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning import mppi
from planning.config import PlannerConfig
from planning.rollout import prior_sequences, score
from planning.types import Model, Plan, shift

KEY = jax.random.key(0)
CONFIG = PlannerConfig(horizon=5, num_samples=256, num_prior_samples=8, num_elites=32)
PRECISE = PlannerConfig(
    horizon=5,
    num_samples=512,
    num_prior_samples=0,
    num_elites=64,
    num_iterations=12,
    temperature=0.2,
    min_std=0.02,
    init_std=1.0,
)


def no_prior(params, z, key):
    return jnp.zeros(1)


def point_mass(value=lambda p, z, k: jnp.zeros(())) -> Model:
    """On a line, z' = z + a; reward -(z' - 0.6)^2: the best first action is 0.6 - z."""

    def step(params, z, a):
        z = z + a
        return z, -jnp.sum((z - 0.6) ** 2), jnp.ones(())

    return Model(step=step, value=value, prior=no_prior)


def planned(config, model, latent, key=KEY, plan=None, params=None):
    plan = mppi.init(config, 1) if plan is None else plan
    return jax.jit(partial(mppi.improve, config, model))(params, latent, plan, key)


@pytest.mark.parametrize("start", [-0.3, 0.0, 0.5, 1.2])
def test_point_mass_reaches_the_optimum(start):
    plan, info = planned(PRECISE, point_mass(), jnp.array([start]))
    assert float(plan.mean[0, 0]) == pytest.approx(0.6 - start, abs=0.02)
    assert float(info.mean_value) == pytest.approx(0, abs=0.01)
    assert float(info.best_value) >= float(info.mean_value) - 1e-6


def test_lqr_costs_what_riccati_says():
    """Closed loop on a double integrator with the exact cost-to-go as terminal value."""
    a, b = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
    q, r = np.diag([1.0, 0.1]), 0.1
    p = q.copy()
    for _ in range(5000):
        gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        p = q + a.T @ p @ (a - b @ gain)
    matrices = tuple(jnp.asarray(x, jnp.float32) for x in (a, b[:, 0], q, p))

    def step(params, z, u):
        a, b, q, _ = params
        return a @ z + b * u[0], -(z @ q @ z + r * u[0] ** 2), jnp.ones(())

    def value(params, z, key):
        return -(z @ params[3] @ z)

    model = Model(step=step, value=value, prior=no_prior)
    improve = jax.jit(partial(mppi.improve, PRECISE, model))
    x, cost, plan = np.array([0.3, 0.0]), 0.0, mppi.init(PRECISE, 1)
    optimal = x @ p @ x
    for t in range(80):
        plan, _ = improve(matrices, jnp.asarray(x, jnp.float32), plan, jax.random.fold_in(KEY, t))
        u = float(plan.mean[0, 0])
        if t == 0:
            assert u == pytest.approx(float(-(gain @ x)[0]), abs=0.06)
        cost += x @ q @ x + r * u * u
        x = a @ x + b[:, 0] * u
        plan = shift(plan, 1, PRECISE.init_std)
    assert cost + x @ p @ x <= 1.02 * optimal


def test_bounds_are_never_left():
    far = Model(
        step=lambda p, z, a: (z + a, a.sum(), jnp.ones(())),
        value=lambda p, z, k: z.sum(),
        prior=lambda p, z, k: jnp.full(1, 9.0),
    )
    plan, info = planned(CONFIG, far, jnp.zeros(1))
    for x in (plan.mean, plan.sample):
        assert float(jnp.abs(x).max()) <= 1
    assert float(plan.mean[0, 0]) > 0.9
    assert 0 < float(info.clip_fraction) < 1


def test_sequences_that_are_not_finite_are_never_chosen():
    """Half the actions lead to NaN, and every value is negative: zero would win."""

    def step(params, z, a):
        z = z + a
        reward = jnp.where(a[0] > 0.2, jnp.nan, -10 - (a[0] + 0.5) ** 2)
        return z, reward, jnp.ones(())

    model = Model(step=step, value=lambda p, z, k: jnp.zeros(()), prior=no_prior)
    plan, info = planned(CONFIG, model, jnp.zeros(1))
    assert np.isfinite(np.asarray(plan.mean)).all()
    assert float(plan.mean[0, 0]) == pytest.approx(-0.5, abs=0.15)
    assert 0.1 < float(info.invalid) < 1
    assert float(info.fallback) == 0


def broken(prior_action, bad=jnp.nan) -> Model:
    return Model(
        step=lambda p, z, a: (z, jnp.asarray(bad), jnp.ones(())),
        value=lambda p, z, k: jnp.zeros(()),
        prior=lambda p, z, k: jnp.full(1, prior_action),
    )


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_when_nothing_is_valid_the_prior_acts(bad):
    plan, info = planned(CONFIG, broken(0.3, bad), jnp.zeros(1))
    np.testing.assert_allclose(plan.mean, 0.3, rtol=1e-6)
    np.testing.assert_allclose(plan.sample, 0.3, rtol=1e-6)
    assert float(info.fallback) == 1 and float(info.invalid) == 1
    assert np.isfinite(np.asarray(plan.std)).all()


def test_when_the_prior_is_broken_too_the_plan_is_kept():
    before = Plan(jnp.full((5, 1), 0.25), jnp.ones((5, 1)), jnp.zeros((5, 1)))
    plan, info = planned(CONFIG, broken(jnp.nan), jnp.zeros(1), plan=before)
    np.testing.assert_array_equal(plan.mean, before.mean)
    assert float(info.fallback) == 1


def test_vmapped_equals_alone():
    model = point_mass()
    improve = partial(mppi.improve, CONFIG, model)
    starts = jnp.array([[-0.5], [0.0], [0.9]])
    keys = jax.random.split(KEY, 3)
    plans = jax.tree.map(lambda x: jnp.stack([x] * 3), mppi.init(CONFIG, 1))
    together, info = jax.jit(jax.vmap(improve, (None, 0, 0, 0)))(None, starts, plans, keys)
    for i in range(3):
        alone, one = planned(CONFIG, model, starts[i], keys[i])
        np.testing.assert_allclose(together.mean[i], alone.mean, atol=1e-5)
        np.testing.assert_allclose(info.mean_value[i], one.mean_value, atol=1e-5)
    assert len({float(x) for x in together.sample[:, 0, 0]}) == 3  # their noise is their own


def test_deterministic_and_compiled_once():
    model, improve = point_mass(), None
    improve = jax.jit(partial(mppi.improve, CONFIG, model))
    plan = mppi.init(CONFIG, 1)
    for i in range(3):
        first, _ = improve(None, jnp.zeros(1), plan, jax.random.fold_in(KEY, i))
        again, _ = improve(None, jnp.zeros(1), plan, jax.random.fold_in(KEY, i))
        jax.tree.map(np.testing.assert_array_equal, first, again)
        plan = shift(first, 1, CONFIG.init_std)
    assert improve._cache_size() == 1


def test_a_warm_start_is_worth_an_iteration():
    """A narrow search over five steps: from the last plan it gets closer than from nothing."""
    config = PlannerConfig(
        horizon=8, num_samples=24, num_prior_samples=0, num_elites=4, num_iterations=1
    )

    def step(params, z, a):  # wants the alternating plan +-0.8
        target = jnp.where(z[0] % 2 == 0, 0.8, -0.8)
        return z + jnp.array([1.0]), -((a[0] - target) ** 2), jnp.ones(())

    model = Model(step=step, value=lambda p, z, k: jnp.zeros(()), prior=no_prior)
    improve = jax.jit(partial(mppi.improve, config, model))
    plan = mppi.init(config, 1)
    cold, warm = [], []
    for t in range(40):
        key, z = jax.random.fold_in(KEY, t), jnp.array([float(t)])
        fresh, _ = improve(None, z, mppi.init(config, 1), key)
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
    led = prior_sequences(model, None, jnp.ones(1), jax.random.split(KEY, 2), 3)
    np.testing.assert_allclose(led[:, :, 0], [[-0.5, -0.25, -0.125]] * 2)


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


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"horizon": 0}, "horizon"),
        ({"temperature": 0.0}, "temperature"),
        ({"num_elites": 500}, "num_elites"),
        ({"num_prior_samples": 128}, "num_prior_samples"),
    ],
)
def test_settings_that_cannot_plan_are_named(changes, field):
    with pytest.raises(ValueError, match=field):
        PlannerConfig(**changes)
