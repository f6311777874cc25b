"""Settings: what is refused and how it is told, what is off by default, what each one buys."""

import dataclasses
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning import registry
from planning.config import CUSTOMARY, METHODS, USED_BY, PlannerConfig, evaluations, unused
from planning.methods import mppi
from planning.rollout import risk_averse
from planning.types import Model, shift

KEY = jax.random.key(0)
POINT_MASS = Model(
    step=lambda target, z, a: (z + a, -jnp.sum((z + a - target) ** 2), jnp.ones(())),
    value=lambda target, z, key: jnp.zeros(()),
    prior=lambda target, z, key: jnp.zeros(1),
)
RISKY = POINT_MASS._replace(
    prior=lambda target, z, key: jnp.zeros(1) if key is None else jax.random.normal(key, (1,)) / 2,
    values=lambda target, z, key: -jnp.stack([z.sum() ** 2, (3 * z.sum() - 1) ** 2]),
)
SEARCH = {
    "horizon": 4,
    "num_samples": 256,
    "num_prior_samples": 0,
    "num_elites": 16,
    "num_iterations": 8,
    "temperature": 0.05,
    "min_std": 0.02,
}


def planned(config, model=POINT_MASS, key=KEY):
    improve = jax.jit(partial(registry.improve, config, model))
    return improve(jnp.float32(0.6), jnp.zeros(1), registry.init(config, 1), key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 0}, r"planner.horizon must lie in \[1, 1000\], got 0"),
        ({"temperature": 0.0}, r"planner.temperature must lie in \(0, 1e\+06\], got 0.0"),
        ({"num_elites": 500}, "planner.num_elites must be at most num_samples=128, got 500"),
        (
            {"num_samples": 1, "num_prior_samples": 0, "num_elites": 1},
            "planner.num_samples must be at least 2: .*, got 1",
        ),
        ({"num_prior_samples": 128}, r"planner.num_prior_samples must lie in \[0, num_samples"),
        (
            {"method": "icme"},
            r"planner.method must be one of mppi.*, got 'icme'",
        ),
        ({"method": "qwxyz"}, r"planner.method must be one of .*, got 'qwxyz'$"),
        ({"spline": "cubik"}, "planner.spline must be one of linear, cubic, got 'cubik'"),
        ({"risk": "cvr"}, "planner.risk must be one of none, std, cvar, got 'cvr'"),
        ({"projection": "box"}, "planner.projection must be one of clip, tanh, got 'box'"),
        ({"noise_beta": -1.0}, r"planner.noise_beta must lie in \[0, 10\], got -1.0"),
        ({"noise_beta": float("nan")}, "planner.noise_beta"),
        ({"num_knots": 4}, r"planner.num_knots must lie in \[0, horizon=3\], got 4"),
        ({"target_ess": 0.5}, r"planner.target_ess must be 0 or lie in \[1, num_elites=16\]"),
        ({"risk": "cvar", "risk_coef": 1.5}, r"planner.risk_coef must lie in \(0, 1\] with risk"),
        ({"risk": "std", "risk_coef": -1.0}, r"planner.risk_coef must lie in \[0, 1e\+06\]"),
        ({"sample_decay": 0.9}, r"planner.sample_decay must lie in \[1, 1000\], got 0.9"),
        ({"stop_spread": -0.1}, r"planner.stop_spread must lie in \[0, 1e\+06\], got -0.1"),
        ({"keep_elites": 2.0}, r"planner.keep_elites must lie in \[0, 1\], got 2.0"),
        ({"num_restarts": 0}, r"planner.num_restarts must lie in \[1, 16384\], got 0"),
        ({"learning_rate": 0.0}, r"planner.learning_rate must lie in \(0, 10\], got 0.0"),
        (
            {"method": "cem", "target_ess": 4.0},
            "planner.target_ess is not used by cem but by mppi; leave it at 0.0",
        ),
        ({"method": "gradient", "noise_beta": 1.0}, "planner.noise_beta is not used by gradient"),
    ],
)
def test_settings_that_cannot_plan_are_named(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        PlannerConfig(**changes)
    assert "\n" not in str(caught.value)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "method": st.sampled_from(METHODS),
            "horizon": st.integers(-1, 9),
            "num_samples": st.integers(-1, 300),
            "num_prior_samples": st.integers(-1, 40),
            "num_elites": st.integers(-1, 40),
            "num_iterations": st.integers(-1, 9),
            "num_knots": st.integers(-1, 9),
            "sample_decay": st.floats(),
            "noise_beta": st.floats(),
            "target_ess": st.floats(),
            "risk_coef": st.floats(),
        },
    )
)
@settings(max_examples=200, deadline=None)
def test_any_settings_plan_or_are_named(changes):
    try:
        config = PlannerConfig(**changes)
    except ValueError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert told.startswith("planner.") and "\n" not in told
        return
    drawn = config.samples_drawn
    assert evaluations(config) >= config.horizon
    if config.method == "gradient":
        assert drawn == (config.num_restarts,)
        return
    assert len(drawn) == config.num_iterations and list(drawn) == sorted(drawn, reverse=True)
    assert drawn[0] == config.num_samples - config.num_prior_samples
    assert min(drawn) + config.num_prior_samples >= config.num_elites


def test_methods_are_known_everywhere():
    assert set(METHODS) == set(registry.PLANNERS) == set(CUSTOMARY)
    for method in METHODS:
        assert PlannerConfig.customary(method, horizon=4).method == method
    assert set().union(*USED_BY.values()) <= set(METHODS)


def test_another_method_brings_its_own_options_and_no_other():
    base = PlannerConfig(horizon=2, num_samples=64, target_ess=4.0)
    for method in METHODS[1:]:
        changed = base.changed(method=method)
        assert (changed.horizon, changed.num_samples, changed.target_ess) == (2, 64, 0.0)
        assert changed == base.changed(method=method).changed(method=method)
        assert base.changed(method=method, min_std=0.1).min_std == 0.1
    assert base.changed(method="predictive_sampling").num_knots == 2
    assert base.changed(method="icem").changed(method="mppi") == PlannerConfig(2, 64)
    assert base.changed(horizon=3) == PlannerConfig(3, 64, target_ess=4.0)


def test_methods_are_customarily_run_at_one_budget():
    plain = evaluations(PlannerConfig())
    for method in METHODS:
        backward = 3 if method == "gradient" else 1  # a step back costs about two forward
        steps = backward * evaluations(PlannerConfig.customary(method))
        assert 0.7 * plain <= steps <= 1.1 * plain, method


def test_evaluations_by_hand():
    assert evaluations(PlannerConfig()) == 3 * (2 * 16 + 3 * 112)
    full = PlannerConfig.full()
    assert evaluations(full) == 3 * (2 * 24 + 6 * 488)
    assert evaluations(PlannerConfig(sample_decay=2.0)) == 3 * (2 * 16 + 112 + 56 + 32)
    gradient = PlannerConfig(method="gradient", num_iterations=20)
    assert evaluations(gradient) == 3 * (2 + 4 * 21)


def test_the_settings_load_no_jax():
    code = "import sys, planning.config; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_options_that_are_off_change_nothing():
    """A search that may stop but never does, and one that never draws fewer, are the plain one."""
    plain, info = planned(PlannerConfig(**SEARCH))
    for changes in ({"stop_spread": 1e-30}, {"sample_decay": 1 + 1e-12}, {"num_knots": 4}):
        same, told = planned(PlannerConfig(**SEARCH, **changes))
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), plain, same)
        assert float(told.iterations) == float(info.iterations) == 8


CHEAP = {
    "decay": {"sample_decay": 2.0},
    "stop": {"stop_spread": 0.05},
    "both": {"sample_decay": 1.5, "stop_spread": 0.05},
}


@pytest.mark.parametrize("name", CHEAP)
def test_cheaper_searches_end_where_the_whole_one_does(name):
    whole = PlannerConfig(**SEARCH, init_std=1.0)
    cheap = dataclasses.replace(whole, **CHEAP[name])
    errors = []
    for config in (whole, cheap):
        improve = partial(registry.improve, config, POINT_MASS, jnp.float32(0.6), jnp.zeros(1))
        search = jax.jit(jax.vmap(partial(improve, registry.init(config, 1))))
        plan, info = search(jax.random.split(KEY, 16))
        errors.append(float(jnp.abs(plan.mean[:, 0, 0] - 0.6).mean()))
    assert errors[0] < 0.02 and errors[1] < 0.06
    if name != "stop":
        assert evaluations(cheap) < 0.5 * evaluations(whole)
    if name != "decay":
        assert 2 <= float(info.iterations.mean()) < 5


def test_simulators_stop_each_on_its_own():
    """Side by side each gets what it would get alone, though the loop runs for the slowest."""
    config = PlannerConfig(**SEARCH, stop_spread=0.05)
    keys, plan = jax.random.split(KEY, 12), registry.init(config, 1)
    improve = partial(registry.improve, config, POINT_MASS, jnp.float32(0.6))
    z = jnp.linspace(-0.3, 0.5, 12)[:, None]
    together, info = jax.jit(jax.vmap(improve, (0, None, 0)))(z, plan, keys)
    alone = jax.jit(improve)
    for i in range(12):
        one, told = alone(z[i], plan, keys[i])
        np.testing.assert_allclose(together.mean[i], one.mean, atol=1e-5)
        assert float(told.iterations) == float(info.iterations[i])
    assert len(set(info.iterations.tolist())) > 1


temperature_for = jax.jit(mppi.temperature_for)


@given(st.lists(st.integers(-1000, 1000), min_size=8, max_size=8), st.floats(1.5, 6.5))
@settings(max_examples=40, deadline=None)
def test_the_temperature_meets_its_target(values, target):
    x = jnp.sort(jnp.asarray(values, jnp.float32))[::-1]
    tied = int((x == x[0]).sum())  # no temperature tells these apart
    weights, _ = mppi.weigh(x, temperature_for(x, target))
    assert float(1 / jnp.sum(weights**2)) == pytest.approx(max(target, tied), rel=0.02)


def test_the_temperature_of_values_that_are_not_finite():
    nan, inf = float("nan"), float("inf")
    for values in ([nan] * 4, [-inf] * 4, [1.0, -inf, -inf, -inf], [2.0] * 4):
        temperature = temperature_for(jnp.asarray(values), 3.0)
        assert np.isfinite(float(temperature)) and float(temperature) > 0


def test_effective_samples_are_those_asked_for_at_any_scale_of_reward():
    config = PlannerConfig(**SEARCH, target_ess=6.0)
    improve = jax.jit(partial(registry.improve, config, scaled()))
    for scale in (1e-3, 1.0, 1e3):
        _, info = improve(jnp.float32(scale), jnp.zeros(1), registry.init(config, 1), KEY)
        assert float(info.effective_samples) == pytest.approx(6, rel=0.02)


def scaled():
    return POINT_MASS._replace(
        step=lambda scale, z, a: (z + a, -scale * jnp.sum((z + a - 0.6) ** 2), jnp.ones(()))
    )


def ensemble():
    """Two heads that agree at 0 and disagree the more, the farther the state; the mean likes it."""
    return Model(
        step=lambda p, z, a: (z + a, jnp.zeros(()), jnp.ones(())),
        value=lambda p, z, key: z[0],
        prior=lambda p, z, key: jnp.zeros(1),
        values=lambda p, z, key: jnp.stack([5 * z[0], -3 * z[0], z[0], z[0]]),
    )


def test_risk_by_hand():
    z = jnp.ones(1)
    for changes, value in (
        ({"risk": "none"}, 1.0),
        ({"risk": "std", "risk_coef": 0.0}, 1.0),
        ({"risk": "std", "risk_coef": 2.0}, 1 - 2 * np.std([5, -3, 1, 1])),
        ({"risk": "cvar", "risk_coef": 1.0}, 1.0),
        ({"risk": "cvar", "risk_coef": 0.5}, -1.0),
        ({"risk": "cvar", "risk_coef": 0.01}, -3.0),
    ):
        model = risk_averse(PlannerConfig(**changes), ensemble())
        assert float(model.value(None, z, KEY)) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("risk", ["none", "std", "cvar"])
def test_a_planner_that_minds_risk_stays_where_the_heads_agree(risk):
    config = PlannerConfig(**SEARCH, risk=risk, risk_coef=0.5)
    plan, _ = planned(config, ensemble())
    end = float(plan.mean.sum())
    assert end > 2 if risk == "none" else abs(end) < 0.3


@pytest.mark.parametrize("method", METHODS)
def test_risk_needs_an_ensemble(method):
    config = PlannerConfig(method=method, risk="std")
    with pytest.raises(ValueError, match=r"planner\.risk=std needs a model with a value ensemble"):
        registry.improve(config, POINT_MASS, None, jnp.zeros(1), registry.init(config, 1), KEY)


@pytest.mark.parametrize(
    "changes", [{"noise_beta": 1.0}, {"num_knots": 2}, {"num_knots": 3, "spline": "cubic"}]
)
def test_shaped_noise_finds_smooth_plans(changes):
    """A constant push is best; noise that drifts together finds it in one iteration."""
    model = POINT_MASS._replace(
        step=lambda target, z, a: (z + a, -jnp.sum((a - target) ** 2), jnp.ones(()))
    )
    few = SEARCH | {"horizon": 12, "num_samples": 64, "num_iterations": 2, "num_elites": 4}

    def value(config):
        improve = partial(registry.improve, config, model, jnp.float32(0.6), jnp.zeros(1))
        keys = jax.random.split(KEY, 32)
        run = jax.jit(jax.vmap(improve, (None, 0)))
        return float(run(registry.init(config, 1), keys)[1].best_value.mean())

    assert value(PlannerConfig(**few, **changes)) > value(PlannerConfig(**few)) / 1.2


def test_tanh_keeps_the_gradient_planner_inside():
    config = PlannerConfig(
        method="gradient", projection="tanh", horizon=4, num_iterations=60, num_prior_samples=2
    )
    plan, _ = planned(config)
    assert float(plan.mean[0, 0]) == pytest.approx(0.6, abs=0.1)
    assert float(jnp.abs(plan.mean).max()) < 1


def test_icem_carries_its_best_sequence_on():
    """With hardly any samples, the best of the last decision is still there in the next."""
    config = PlannerConfig(
        method="icem", horizon=3, num_samples=4, num_prior_samples=0, num_elites=2
    )
    target = jnp.float32(0.6)
    improve = jax.jit(partial(registry.improve, config, POINT_MASS))
    plan, values = registry.init(config, 1), []
    for t in range(12):
        plan, info = improve(target, jnp.zeros(1), plan, jax.random.fold_in(KEY, t))
        values.append(float(info.best_value))
        plan = shift(plan, 0, config.init_std)
    assert (np.diff(values) >= -1e-6).all() and values[-1] > values[0]


IDLE = [
    ({}, {"risk_coef": 3.0}),
    ({}, {"spline": "cubic"}),
    ({"num_knots": 2, "horizon": 6}, {"spline": "cubic"}),
    ({"num_knots": 6, "horizon": 6}, {"spline": "cubic"}),
    ({"target_ess": 4.0}, {"temperature": 9.0}),
    ({"method": "cem"}, {"temperature": 9.0}),
    ({"method": "predictive_sampling"}, {"temperature": 9.0}),
    ({"method": "predictive_sampling"}, {"num_elites": 3}),
    ({"method": "gradient"}, {"temperature": 9.0}),
    ({"method": "gradient"}, {"num_elites": 3, "num_samples": 99}),
    ({"num_iterations": 1}, {"sample_decay": 2.0}),
    ({"num_iterations": 1}, {"stop_spread": 0.5}),
    ({"method": "icem", "num_iterations": 1}, {"keep_elites": 1.0}),
]


@pytest.mark.parametrize(("base", "changes"), IDLE)
def test_what_is_called_unused_changes_no_plan(base, changes):
    config = PlannerConfig().changed(**{"num_samples": 64, **base})
    assert changes.keys() <= unused(config).keys()
    (plan, _), (other, _) = planned(config), planned(dataclasses.replace(config, **changes))
    np.testing.assert_allclose(plan.mean, other.mean, rtol=1e-6, atol=1e-6)


def test_every_rule_of_what_is_unused_is_tried():
    """Options of other methods apart, which no configuration accepts."""
    tried = {name for _, changes in IDLE for name in changes}
    bases = [PlannerConfig().changed(**base) for base, _ in IDLE]
    own = [
        {n for n in unused(b) if b.method in USED_BY.get(n, METHODS)} - {"risk_coef", "spline"}
        for b in bases
    ]
    assert set().union(*own) <= tried


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_called_unused_changes_the_plan(method):
    """At settings that leave nothing out; each one changed alone."""
    most = {"horizon": 6, "num_samples": 64, "num_prior_samples": 1, "risk": "std"}
    if method != "gradient":
        most |= {"num_knots": 4, "noise_beta": 1.0, "sample_decay": 1.5, "stop_spread": 0.02}
    config = PlannerConfig.customary(method, **most)
    changes = {
        "horizon": 7, "num_samples": 80, "num_prior_samples": 3, "num_elites": 6,
        "num_iterations": 2, "temperature": 0.1, "init_std": 0.4, "noise_beta": 0.0,
        "num_knots": 5, "spline": "cubic", "target_ess": 2.0, "risk": "none", "risk_coef": 2.0,
        "sample_decay": 4.0, "stop_spread": 9.0, "keep_elites": 1.0, "num_restarts": 9,
        "learning_rate": 0.05, "projection": "tanh",
    }  # fmt: skip
    (plan, _) = planned(config, RISKY)
    for name in changes.keys() - unused(config).keys():
        other, _ = planned(dataclasses.replace(config, **{name: changes[name]}), RISKY)
        assert not np.array_equal(plan.mean[:1], other.mean[:1]), name
