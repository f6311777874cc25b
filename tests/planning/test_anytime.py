"""A search one iteration at a time is the same search."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planning import anytime, registry
from planning.config import METHODS, PlannerConfig
from planning.types import Model

KEY = jax.random.key(3)


def _step(target, z, a):
    z = z + a
    return z, -((z[0] - target) ** 2), jnp.ones(())


LINE = Model(
    step=_step, value=lambda w, z, key: jnp.zeros(()), prior=lambda w, z, key: jnp.zeros(1)
)
TARGET, START = jnp.float32(0.6), jnp.zeros(1)


def settings(method, **changes):
    small = {"horizon": 4, "num_samples": 24, "num_prior_samples": 4, "num_elites": 4}
    return PlannerConfig.customary(method, **(small | {"num_iterations": 4} | changes))


def whole(config, model=LINE):
    plan = registry.init(config, 1)
    return jax.jit(partial(registry.improve, config, model))(TARGET, START, plan, KEY)


def stepwise(config, most=99, model=LINE):
    """The plan after each iteration."""
    session = jax.jit(partial(anytime.begin, config, model))(
        TARGET, START, registry.init(config, 1), KEY
    )
    refine = jax.jit(partial(anytime.refine, config, model), static_argnums=2)
    conclude, results = jax.jit(partial(anytime.conclude, config, model)), []
    for count in anytime.counts(config)[:most]:
        session = refine(TARGET, session, count)
        results.append(conclude(TARGET, session))
    return results


@pytest.mark.exact
@pytest.mark.parametrize("method", METHODS)
def test_all_iterations_give_the_same_plan(method):
    """To the last bit, and the report but for the rounding of its means."""
    config = settings(method, **({"sample_decay": 1.3} if method == "icem" else {}))
    plan, info = whole(config)
    again, info_again = stepwise(config)[-1]
    for a, b in zip(plan, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(info, info_again, rtol=1e-5)


@pytest.mark.exact
def test_it_stops_where_the_whole_search_does():
    config = settings("mppi", stop_spread=0.5, num_iterations=8)
    plan, info = whole(config)
    assert 1 < float(info.iterations) < 8
    again, info_again = stepwise(config)[-1]
    np.testing.assert_array_equal(plan.mean, again.mean)
    np.testing.assert_array_equal(info.iterations, info_again.iterations)


@pytest.mark.parametrize("method", ["mppi", "cem", "icem"])
def test_every_iteration_leaves_a_plan_and_more_of_them_a_better_one(method):
    results = stepwise(settings(method, num_samples=128, num_elites=16, num_iterations=6))
    errors = [abs(float(plan.mean[0, 0]) - 0.6) for plan, _ in results]
    assert [float(info.iterations) for _, info in results] == [1, 2, 3, 4, 5, 6]
    assert errors[-1] < 0.05 and errors[-1] <= errors[0]


def test_a_model_that_breaks_leaves_the_prior():
    broken = LINE._replace(step=lambda w, z, a: (z, jnp.asarray(jnp.nan), jnp.ones(())))
    plan, info = stepwise(settings("mppi"), most=1, model=broken)[0]
    assert float(info.fallback) == 1 and np.isfinite(plan.mean).all()


def test_the_gradient_planner_goes_in_one():
    assert len(anytime.counts(settings("gradient"))) == 1
    assert anytime.counts(settings("mppi")) == (20, 20, 20, 20)
