"""Objectives on systems whose optimum is known, under every planner of the zoo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning import objective, registry
from planning.config import METHODS, PlannerConfig
from planning.objective import (
    EFFORT,
    CostModel,
    PlanParams,
    PlanState,
    Term,
    at_the_end,
    on_the_way,
    smoothness,
)
from planning.rollout import score
from planning.types import shift

DT = 0.2
A = np.array([[1.0, DT], [0.0, 1.0]], np.float32)
B = np.array([[DT**2 / 2], [DT]], np.float32)
HORIZON = 6
KEY = jax.random.key(0)


def _move(params, z, a):
    """A double integrator: position and velocity; `params` is its gain."""
    return jnp.asarray(A) @ z + params * jnp.asarray(B) @ a


def _distance(params, z, goal):
    return jnp.sum((z - goal) ** 2)


def _to_go(params, z, goal):
    return jnp.abs(z[0] - goal[0])


def _jump(params, goal, before, action, after):
    return jnp.abs(after[0] - before.latent[0])


def _fast(params, z, goal):
    return jnp.maximum(jnp.abs(z[1]) - 0.5, 0.0)


TERMS = {
    "path": on_the_way(_distance),
    "progress": on_the_way(_to_go),
    "leap": Term(_jump),
    "effort": EFFORT,
    "smoothness": smoothness(),
    "limits": on_the_way(_fast),
    "reward": Term(lambda params, goal, before, action, after: before.latent[0] ** 2),
    "goal": at_the_end(_distance),
    "critic": at_the_end(_to_go),
}
WORLD = CostModel(_move, TERMS)
SEARCH = {
    "horizon": HORIZON,
    "num_samples": 256,
    "num_prior_samples": 0,
    "num_elites": 24,
    "num_iterations": 12,
    "init_std": 1.0,
    "min_std": 0.01,
    "temperature": 0.005,
}
OWN = {
    "icem": {"noise_beta": 0.5},
    "predictive_sampling": {"init_std": 0.08, "num_iterations": 60},
    "gradient": {"num_iterations": 80},
}


def config(method):
    return PlannerConfig(method=method, **(SEARCH | OWN.get(method, {})))


@functools.cache
def planned(method, terms=("goal", "path", "effort")):
    """The planner on `terms` of WORLD, compiled once."""
    model = objective.planner_model(WORLD, terms, HORIZON)
    settings = config(method)

    def plan(problem, at, start):
        return registry.improve(settings, model, problem, at, start, KEY)

    return jax.jit(plan)


def situation(position, velocity=0.0):
    return PlanState(jnp.array([position, velocity], jnp.float32), jnp.zeros(1))


def problem(place=(0.0, 0.0), gain=1.0, **weights):
    arrays = {name: jnp.float32(weights.get(name, 0.0)) for name in TERMS}
    return PlanParams(jnp.float32(gain), jnp.asarray(place, jnp.float32), arrays)


def linear_quadratic(z, goal, path, effort):
    """The unconstrained optimum [H] from z to the origin, by least squares."""
    powers = [np.linalg.matrix_power(A, t) for t in range(HORIZON + 1)]
    rows, wanted = [], []
    for t in range(1, HORIZON + 1):
        weight = np.sqrt(path / HORIZON + goal * (t == HORIZON))
        effect = [powers[t - 1 - k] @ B if k < t else np.zeros((2, 1)) for k in range(HORIZON)]
        rows.append(weight * np.hstack(effect))
        wanted.append(-weight * powers[t] @ z)
    rows.append(np.sqrt(effort / HORIZON) * np.eye(HORIZON))
    wanted.append(np.zeros(HORIZON))
    return np.linalg.lstsq(np.vstack(rows), np.concatenate(wanted), rcond=None)[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_planner_finds_the_linear_quadratic_optimum(method):
    posed = problem(goal=1.0, path=0.5, effort=0.3)
    at, plan = situation(0.3, -0.2), registry.init(config(method), 1)
    plan, info = planned(method)(posed, at, plan)
    best = linear_quadratic(np.array([0.3, -0.2]), 1.0, 0.5, 0.3)
    assert np.abs(best).max() < 1, "the bounds must not matter here"
    tolerance = 0.15 if method == "predictive_sampling" else 0.04
    assert plan.mean[0, 0] == pytest.approx(best[0], abs=tolerance)
    assert info.fallback == 0


@pytest.mark.parametrize("method", METHODS)
def test_replanning_brings_a_double_integrator_to_its_goal(method):
    posed, at = problem((0.5, 0.0), goal=1.0, path=0.5, effort=0.01), situation(-0.5)
    plan, improve = registry.init(config(method), 1), planned(method)
    for _ in range(25):
        plan, _ = improve(posed, at, plan)
        at = PlanState(_move(1.0, at.latent, plan.mean[0]), plan.mean[0])
        plan = shift(plan, 1, config(method).init_std)
    assert at.latent == pytest.approx([0.5, 0.0], abs=0.05)


def test_one_program_serves_all_goals_and_weights():
    """Goal, weights and parameters are data, to compiled simulators side by side as well."""
    settings = PlannerConfig(**(SEARCH | {"num_samples": 32, "num_iterations": 2}))
    model, traces = objective.planner_model(WORLD, TERMS, HORIZON), []

    @jax.jit
    def plan(problems, at, plans):
        traces.append(1)
        one = lambda problem, z, plan: registry.improve(settings, model, problem, z, plan, KEY)  # noqa: E731
        return jax.vmap(one, (PlanParams(None, 0, None), 0, 0))(problems, at, plans)

    two = lambda x: jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), x)  # noqa: E731
    at, plans = two(situation(0.0)), two(registry.init(settings, 1))
    first = {}
    for gain, weights in [(1.0, {"goal": 1.0}), (0.9, {"path": 2.0}), (1.0, {"critic": 1.0})]:
        posed = problem(gain=gain, **weights)
        posed = posed._replace(goal=jnp.array([[1.0, 0.0], [-1.0, 0.0]]))
        first = plan(posed, at, plans)[0].mean[:, 0, 0]
        assert first[0] > 0.2 and first[1] < -0.2, "each simulator goes to its own goal"
    assert len(traces) == 1


@jax.jit
def cost(posed, at, actions):
    """Of one sequence [H, A] on WORLD."""
    model = objective.planner_model(WORLD, TERMS, HORIZON)
    return -score(model, posed, at, actions[None], KEY)[0]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 3, width=32), min_size=len(TERMS), max_size=len(TERMS)),
    st.lists(st.floats(-1, 1, width=32), min_size=HORIZON, max_size=HORIZON),
    st.floats(-2, 2, width=32),
)
def test_the_cost_is_the_weighted_sum_of_its_terms(weights, actions, place):
    at, actions = situation(0.4, -0.7), jnp.array(actions)[:, None]
    named = dict(zip(TERMS, weights, strict=True))
    whole = cost(problem((place, 0.0), **named), at, actions)
    each = [cost(problem((place, 0.0), **{name: 1.0}), at, actions) for name in TERMS]
    assert float(np.dot(weights, each)) == pytest.approx(float(whole), abs=1e-3)


def test_terms_mean_what_they_say():
    at = PlanState(jnp.array([0.0, 1.0]), jnp.array([0.5]))
    still = jnp.zeros((HORIZON, 1))
    costs = {name: float(cost(problem((1.0, 0.0), **{name: 1.0}), at, still)) for name in TERMS}
    seen = DT * np.arange(1, HORIZON + 1)  # it coasts at speed 1
    assert costs["goal"] == pytest.approx((1 - seen[-1]) ** 2 + 1, rel=1e-5)
    assert costs["path"] == pytest.approx(np.mean((1 - seen) ** 2 + 1), rel=1e-5)
    assert costs["critic"] == pytest.approx(abs(1 - seen[-1]), rel=1e-5)
    assert costs["progress"] == pytest.approx(np.mean(np.abs(1 - seen)), rel=1e-5)
    assert costs["leap"] == pytest.approx(DT, rel=1e-5)
    assert costs["limits"] == pytest.approx(0.5, rel=1e-5)
    assert costs["reward"] == pytest.approx(np.mean((seen - DT) ** 2), rel=1e-5)
    assert costs["effort"] == 0
    assert costs["smoothness"] == pytest.approx(0.25 / HORIZON, rel=1e-5)


def test_smoothness_is_that_of_decisions_whatever_a_step_holds():
    """Blocks of two: chattering costs most, one switch a little, whoever made the last decision."""
    posed = problem(smoothness=1.0)

    def cost(decisions, before, block):
        plan = jnp.asarray(decisions, jnp.float32).reshape(1, -1, block)
        at = PlanState(jnp.zeros(2), jnp.full(block, before, jnp.float32))
        still = CostModel(lambda params, z, a: z, {"smoothness": smoothness(block)})
        model = objective.planner_model(still, ("smoothness",), plan.shape[1])
        return -float(score(model, posed, at, plan, KEY)[0])

    for decisions in ([1, -1, 1, -1], [1, 1, -1, -1], [0.5] * 4):
        changes = np.diff([1.0, *decisions]) ** 2
        for block in (1, 2, 4):
            assert cost(decisions, 1.0, block) == pytest.approx(changes.mean(), rel=1e-6)
    assert cost([1, -1], 1.0, 2) == 2 > cost([1, -1, -1, -1], 1.0, 2) == 1


def test_what_is_not_listed_is_not_computed():
    def never(*_):
        raise AssertionError("a term that is not listed was computed")

    chosen = {name: TERMS[name] for name in ("effort", "goal")}
    others = {name: term._replace(cost=never) for name, term in TERMS.items()}
    model = objective.planner_model(CostModel(_move, others | chosen), tuple(chosen), HORIZON)
    posed = problem(**dict.fromkeys(TERMS, 1.0))
    assert jnp.isfinite(score(model, posed, situation(1.0), jnp.zeros((3, HORIZON, 1)), KEY)).all()


def test_a_diverging_model_never_wins():
    """Non-finite distances are worth nothing; a goal that is not finite falls back."""
    world = CostModel(lambda p, z, a: jnp.where(a[0] > 0, jnp.nan, z + a[0]), TERMS)
    model = objective.planner_model(world, ("goal",), HORIZON)
    tried = jnp.stack([jnp.full((HORIZON, 1), 0.1), jnp.full((HORIZON, 1), -0.1)])
    scores = score(model, problem((9.0, 0.0), goal=1.0), situation(0.0), tried, KEY)
    assert scores[0] == -jnp.inf and jnp.isfinite(scores[1])


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no term 'gaol'; expected path, progress"):
        objective.planner_model(WORLD, ("gaol",), HORIZON)
    with pytest.raises(ValueError, match="give a term"):
        objective.planner_model(WORLD, (), HORIZON)
