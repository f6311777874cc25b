"""Every planner on problems whose optimum is known, and on models that break.

One world serves most tests: it is data to the compiled planner, not another program.
"""

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning import registry
from planning.config import METHODS, SAMPLING, PlannerConfig, evaluations
from planning.types import Model, Plan, shift

KEY = jax.random.key(0)
PRECISE = {
    "horizon": 5,
    "num_samples": 256,
    "num_prior_samples": 8,
    "num_elites": 32,
    "num_iterations": 10,
    "min_std": 0.02,
    "init_std": 1.0,
}
OWN = {
    "mppi": {"temperature": 0.2},
    "cem": {},
    "icem": {"noise_beta": 0.5},
    "predictive_sampling": {"init_std": 0.15},
    "gradient": {"num_iterations": 60},
}
CONFIGS = {m: PlannerConfig(method=m, **(PRECISE | OWN[m])) for m in METHODS}
ACCURACY = {
    "mppi": 0.02,
    "cem": 0.01,
    "icem": 0.02,
    "predictive_sampling": 0.1,
    "gradient": 0.05,
}
"""Of the first action. A best sample is never refined below the noise it is drawn with."""

every_planner = pytest.mark.parametrize("method", METHODS)


class World(NamedTuple):
    """On a line z' = z + a, with the reward offset - curve (z' - target)^2 - pull (a - want)^2
    + slope a, or `bad` for actions above `limit`; its prior is the constant `lead`."""

    target: float = 0.6
    curve: float = 1.0
    pull: float = 0.0
    want: float = 0.0
    slope: float = 0.0
    offset: float = 0.0
    limit: float = 9.0
    bad: float = float("nan")
    lead: float = 0.0


def _step(w, z, a):
    z = z + a
    good = w.offset - w.curve * (z[0] - w.target) ** 2 - w.pull * (a[0] - w.want) ** 2
    return z, jnp.where(a[0] > w.limit, w.bad, good + w.slope * a[0]), jnp.ones(())


LINE = Model(
    step=_step, value=lambda w, z, key: jnp.zeros(()), prior=lambda w, z, key: jnp.full(1, w.lead)
)


@functools.cache
def compiled(method):
    return jax.jit(partial(registry.improve, CONFIGS[method], LINE))


def as_data(world):
    return World(*[jnp.asarray(x, jnp.float32) for x in world])


def planned(method, world, start=0.0, key=KEY, plan=None):
    plan = registry.init(CONFIGS[method], 1) if plan is None else plan
    return compiled(method)(as_data(world), jnp.full(1, start, jnp.float32), plan, key)


def _plan(actions, std):
    mean = jnp.asarray(actions[:, None], jnp.float32)  # of a type of its own, not a weak one
    return Plan(mean, jnp.full_like(mean, std), jnp.zeros_like(mean))


@every_planner
@pytest.mark.parametrize("start", [-0.3, 0.0, 0.5, 1.2])
def test_point_mass_reaches_the_optimum(method, start):
    """Where it is after one step; from there on it stays."""
    plan, info = planned(method, World(), start)
    assert float(plan.mean[0, 0]) == pytest.approx(0.6 - start, abs=ACCURACY[method])
    assert float(info.best_value) == pytest.approx(0, abs=0.03)
    assert float(info.best_value) >= float(info.mean_value) - 1e-6
    assert 1 <= float(info.effective_samples) <= CONFIGS[method].num_elites + 1e-3
    assert float(info.iterations) == CONFIGS[method].num_iterations
    assert float(info.fallback) == float(info.invalid) == 0


def lqr():
    """A double integrator: matrices a, b, q, the cost of an action, gain and cost-to-go."""
    a, b = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
    q, r = np.diag([1.0, 0.1]), 0.1
    p = q.copy()
    for _ in range(5000):
        gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        p = q + a.T @ p @ (a - b @ gain)
    return a, b, q, r, gain, p


def lqr_cost(config):
    """Cost over 80 closed-loop steps, to-go included, over Riccati's; error of the first action."""
    a, b, q, r, gain, p = lqr()
    matrices = tuple(jnp.asarray(x, jnp.float32) for x in (a, b[:, 0], q, p))

    def step(params, z, u):
        a, b, q, _ = params
        return a @ z + b * u[0], -(z @ q @ z + r * u[0] ** 2), jnp.ones(())

    model = Model(
        step=step,
        value=lambda params, z, key: -(z @ params[3] @ z),
        prior=lambda params, z, key: jnp.zeros(1),
    )
    improve = jax.jit(partial(registry.improve, config, model))
    x, cost, plan = np.array([0.3, 0.0]), 0.0, registry.init(config, 1)
    optimal, first, actions = x @ p @ x, float(-(gain @ x)[0]), []
    for t in range(80):
        plan, _ = improve(matrices, jnp.asarray(x, jnp.float32), plan, jax.random.fold_in(KEY, t))
        actions.append(u := float(plan.mean[0, 0]))
        cost += x @ q @ x + r * u * u
        x = a @ x + b[:, 0] * u
        plan = shift(plan, 1, config.init_std)
    assert improve._cache_size() == 1
    return (cost + x @ p @ x) / optimal, abs(actions[0] - first)


@functools.cache
def lqr_result(method):
    return lqr_cost(CONFIGS[method])


@every_planner
def test_lqr_costs_what_riccati_says(method):
    """In closed loop, with the exact cost-to-go as terminal value."""
    ratio, error = lqr_result(method)
    assert 1 - 1e-4 <= ratio <= 1.03
    assert error < 0.15


def test_mppi_is_no_worse_than_cem_at_equal_budget():
    assert evaluations(CONFIGS["mppi"]) == evaluations(CONFIGS["cem"])
    assert lqr_result("mppi")[0] <= lqr_result("cem")[0] * 1.01


@every_planner
def test_bounds_are_never_left(method):
    plan, info = planned(method, World(curve=0.0, slope=1.0, lead=9.0))
    for x in (plan.mean, plan.sample):
        assert float(jnp.abs(x).max()) <= 1
    assert float(plan.mean[0, 0]) > 0.9
    assert 0 < float(info.clip_fraction) <= 1


@every_planner
def test_sequences_that_are_not_finite_are_never_chosen(method):
    """Half the actions lead to NaN, and every value is negative: zero would win."""
    world = World(curve=0.0, pull=1.0, want=-0.5, offset=-10.0, limit=0.2)
    plan, info = planned(method, world)
    assert np.isfinite(np.asarray(plan.mean)).all() and np.isfinite(np.asarray(plan.std)).all()
    assert float(plan.mean[0, 0]) == pytest.approx(-0.5, abs=0.15)
    assert 0 < float(info.invalid) < 1
    assert float(info.fallback) == 0


@every_planner
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_when_nothing_is_valid_the_prior_acts(method, bad):
    plan, info = planned(method, World(limit=-9.0, bad=bad, lead=0.3))
    np.testing.assert_allclose(plan.mean, 0.3, rtol=1e-6)
    np.testing.assert_allclose(plan.sample, 0.3, rtol=1e-6)
    assert float(info.fallback) == 1 and float(info.invalid) == 1
    assert np.isfinite(np.asarray(plan.std)).all()


@every_planner
def test_when_the_prior_is_broken_too_the_plan_is_kept(method):
    before = _plan(np.full(5, 0.25), 1.0)
    plan, info = planned(method, World(limit=-9.0, lead=np.nan), plan=before)
    np.testing.assert_array_equal(plan.mean, before.mean)
    assert float(info.fallback) == 1


@every_planner
def test_a_broken_prior_does_not_spoil_the_search(method):
    plan, info = planned(method, World(lead=np.nan))
    assert float(plan.mean[0, 0]) == pytest.approx(0.6, abs=2 * ACCURACY[method])
    assert float(info.fallback) == 0


@pytest.mark.parametrize("method", SAMPLING)
def test_a_broken_prior_weighs_nothing_even_among_the_elites(method):
    """More elites than sequences that hold: what is left over is not finite."""
    counts = {"num_samples": 16, "num_prior_samples": 8, "num_elites": 16}
    config = PlannerConfig.customary(method, **counts)
    improve = jax.jit(partial(registry.improve, config, LINE))
    plan, info = improve(as_data(World(lead=np.nan)), jnp.zeros(1), registry.init(config, 1), KEY)
    for x in plan:
        assert np.isfinite(np.asarray(x)).all()
    assert float(info.fallback) == 0 and float(info.invalid) == 0.5


@every_planner
def test_a_warm_start_is_not_lost(method):
    """From the optimal plan, what comes back is no worse than what went in."""
    before = _plan(np.array([0.6, 0, 0, 0, 0]), 0.15)
    plan, info = planned(method, World(), plan=before)
    assert float(info.best_value) >= -1e-3
    assert float(plan.mean[0, 0]) == pytest.approx(0.6, abs=0.02)


@every_planner
def test_vmapped_equals_alone(method):
    improve = partial(registry.improve, CONFIGS[method], LINE)
    starts = jnp.array([[-0.5], [0.9], [0.9]])
    keys = jax.random.split(KEY, 3)
    plans = jax.tree.map(lambda x: jnp.stack([x] * 3), registry.init(CONFIGS[method], 1))
    world = World()
    together, info = jax.jit(jax.vmap(improve, (None, 0, 0, 0)))(
        as_data(world), starts, plans, keys
    )
    for i in range(3):
        alone, one = planned(method, world, starts[i, 0], keys[i])
        np.testing.assert_allclose(together.mean[i], alone.mean, atol=1e-5)
        np.testing.assert_allclose(info.mean_value[i], one.mean_value, atol=1e-5)
    if method != "gradient":  # which may climb to one optimum from anywhere
        assert float(together.sample[1, 0, 0]) != float(together.sample[2, 0, 0])


@every_planner
def test_deterministic_and_compiled_once(method):
    plan = registry.init(CONFIGS[method], 1)
    for i in range(3):
        key = jax.random.fold_in(KEY, i)
        first, _ = planned(method, World(), key=key, plan=plan)
        again, _ = planned(method, World(), key=key, plan=plan)
        jax.tree.map(np.testing.assert_array_equal, first, again)
        plan = shift(first, 1, CONFIGS[method].init_std)
    assert compiled(method)._cache_size() == 1


numbers = st.floats(-2, 2, width=32)
worlds = st.builds(
    World,
    target=numbers,
    curve=st.sampled_from([0.0, 1.0, 1e6]),
    pull=st.just(0.0),
    want=st.just(0.0),
    slope=numbers,
    offset=st.sampled_from([-1e30, 0.0, 1e30]),
    limit=numbers,
    bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e38, -1e38]),
    lead=st.sampled_from([-5.0, 0.0, 0.5, np.nan, np.inf]),
)


@every_planner
@given(world=worlds, start=numbers, seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_whatever_the_world_the_plan_is_finite_and_inside(method, world, start, seed):
    config = CONFIGS[method]
    plan, info = planned(method, world, start, jax.random.key(seed))
    for x in (plan.mean, plan.sample):
        assert (np.abs(np.asarray(x)) <= 1).all()
    std = np.asarray(plan.std)
    assert (std >= config.min_std - 1e-6).all() and (std <= config.init_std + 1e-6).all()
    assert 0 <= float(info.invalid) <= 1 and 0 <= float(info.clip_fraction) <= 1
    assert float(info.fallback) == float(not np.isfinite(float(info.best_value)))


@pytest.mark.parametrize(
    ("method", "changes"),
    [*((method, {}) for method in METHODS), ("cem", {"num_prior_samples": 0, "horizon": 1})],
)
def test_evaluations_are_counted(method, changes):
    """Steps of the model that one decision really takes."""
    small = {"horizon": 2, "num_samples": 14, "num_prior_samples": 3, "num_elites": 2}
    decay = {} if method == "gradient" else {"sample_decay": 1.6}
    config = PlannerConfig(method=method, num_iterations=3, **(small | changes | decay))
    steps = []

    def step(params, z, a):
        jax.debug.callback(lambda _: steps.append(1), a)
        return z + a, -jnp.sum(z**2), jnp.ones(())

    def prior(params, z, key):  # another sequence for every key
        return jnp.zeros(1) if key is None else jax.random.uniform(key, (1,))

    model = LINE._replace(step=step, prior=prior)
    plan = registry.init(config, 1)
    jax.jit(partial(registry.improve, config, model))(as_data(World()), jnp.zeros(1), plan, KEY)
    jax.effects_barrier()
    assert len(steps) == evaluations(config)
