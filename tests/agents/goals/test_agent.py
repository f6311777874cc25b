"""The agent with a goal: memory, blocks, replanning; and the queue of goals it is tried on."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.goals import agent as goal_agent
from agents.goals.agent import GoalModel, GoalParams, make_goal_agent, moved_on
from agents.goals.config import PLAIN
from agents.goals.rollout import STATE, Actor, baseline, plan_milliseconds, run_goals
from planning.config import PlannerConfig
from planning.objective import PlanState
from planning.types import Plan

KEEP, PUSH, CLOSE = 0.8, 0.1, 0.08


class ToyGoals:
    """A point seen only where it is: v' = KEEP v + PUSH a, x' = x + v'. Success is being close."""

    def __init__(self, num_envs, limit=30):
        self.num_envs, self.limit = num_envs, limit
        self.place, self.speed, self.goal = np.zeros((3, num_envs, 2))
        self.frames = np.zeros(num_envs, int)
        self.begun = []

    def reset(self, *, seed, options=None):
        chosen = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for i in np.flatnonzero(chosen):
            rng = np.random.default_rng(seed[i])
            self.place[i], self.goal[i] = rng.uniform(-1, 1, (2, 2))
            self.speed[i], self.frames[i] = 0.0, 0
            self.begun.append(seed[i])
        return self.place.astype(np.float32), {}

    def step(self, actions):
        assert np.isfinite(actions).all() and np.abs(actions).max() <= 1
        self.speed = KEEP * self.speed + PUSH * actions
        self.place = self.place + self.speed
        self.frames += 1
        near = np.linalg.norm(self.place - self.goal, axis=1) < CLOSE
        info = {"success": near, "invalid": np.zeros(self.num_envs, bool)}
        nothing = np.zeros(self.num_envs, bool)
        return (
            self.place.astype(np.float32),
            near * 1.0,
            nothing,
            self.frames >= self.limit,
            info,
        )

    def goal_view(self):
        return SimpleNamespace(obs=self.goal.copy())


def _encode(gain, frames):
    return jnp.concatenate([frames[-1], frames[-1] - frames[0]])


def _step(gain, latent, actions):
    place, speed = latent[:2], latent[2:]
    for action in actions.reshape(-1, 2):
        speed = KEEP * speed + gain * PUSH * action
        place = place + speed
    return jnp.concatenate([place, speed])


def toy_model(block=1, **changes):
    """The exact model; its parameter is a gain of 1."""
    model = GoalModel(
        encode=_encode,
        step=_step,
        embed=lambda gain, latent: latent,
        action_dim=2,
        frame_shape=(2,),
        history=2,
        block=block,
    )
    return model._replace(**changes)


def toy_params(policy=None, **weights):
    """GoalParams of the exact model with these weights."""
    named = dict.fromkeys(PLAIN.weights, 0.0) | weights
    return GoalParams(
        model=jnp.float32(1.0),
        weights={k: jnp.float32(v) for k, v in named.items()},
        scale=jnp.float32(1.0),
        radius=jnp.float32(jnp.inf),
        low=jnp.full(4, -1.0),
        high=jnp.full(4, 1.0),
        policy=policy,
    )


PLANNER = PlannerConfig(
    horizon=6,
    num_samples=96,
    num_prior_samples=0,
    num_elites=12,
    num_iterations=3,
    init_std=1.0,
    target_ess=6.0,
)
TERMS = ("path", "goal")
SEEDS = list(range(40))


def reaching(agent, goal_params, slots=8, seeds=SEEDS):
    return run_goals(Actor(agent, goal_params, STATE), ToyGoals(slots), seeds, 0)


def test_distances_saturate_with_a_slope_everywhere():
    """Also where there is no radius: gradients go through the branch that is not taken."""
    for radius, far, value, slope in (
        (np.inf, 2.0, 2.0, 1.0),
        (0.5, 0.0, 0.0, 1.0),
        (0.5, 0.5, 0.5 * (1 - np.exp(-1)), np.exp(-1)),
    ):
        found = jax.value_and_grad(goal_agent.saturating, argnums=1)(jnp.float32(radius), far)
        assert found == (pytest.approx(value, abs=1e-6), pytest.approx(slope, rel=1e-5))


def test_an_agent_compares_decisions_not_blocks():
    """A block that goes on as the last decision began, then turns once."""
    before = PlanState(jnp.zeros(4), jnp.array([9.0, 9.0, 9.0, 9.0, 1.0, 0.0]))
    actions = jnp.array([1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    term = goal_agent.cost_model(toy_model(block=3)).terms["smoothness"]
    assert term.cost(None, None, before, actions, None) == pytest.approx(1 / 6)


def successes(outcomes):
    return sum(o.success for o in outcomes)


@pytest.fixture(scope="module")
def planner_agent():
    return make_goal_agent(toy_model(), PLANNER, TERMS)


def test_it_gets_to_goals_that_random_actions_miss(planner_agent):
    reached = reaching(planner_agent, toy_params(path=1.0))
    floor = run_goals(baseline(2, "random"), ToyGoals(8), SEEDS, 0)
    assert successes(reached) == len(SEEDS)
    assert successes(floor) < len(SEEDS) / 3
    assert np.median([o.steps for o in reached]) < 15
    assert all(o.valid and not o.fallbacks for o in reached)


def test_what_becomes_of_a_goal_depends_on_no_other(planner_agent):
    """Neither on how many simulators there are nor on which goals came before."""
    goal_params = toy_params(path=1.0)
    many = reaching(planner_agent, goal_params, seeds=SEEDS[:12])
    few = reaching(planner_agent, goal_params, slots=3, seeds=SEEDS[:12])
    assert [(o.seed, o.success, o.steps) for o in many] == [
        (o.seed, o.success, o.steps) for o in few
    ]


def test_every_goal_is_tried_once_and_no_slot_waits():
    env = ToyGoals(4, limit=5)
    outcomes = run_goals(baseline(2, "zero"), env, SEEDS[:10], 0)
    assert sorted(env.begun) == SEEDS[:10]
    assert [o.steps for o in outcomes] == [5] * 10
    idle = ToyGoals(4, limit=5)
    assert len(run_goals(baseline(2, "zero"), idle, [3], 0)) == 1


@pytest.mark.parametrize("block", [2, 3])
def test_blocks_are_replanned_every_decision(block):
    model = toy_model(block)
    agent = make_goal_agent(model, PLANNER, TERMS)
    outcomes = reaching(agent, toy_params(path=1.0), seeds=SEEDS[:16])
    assert successes(outcomes) == 16


def test_a_plan_in_blocks_moves_on_by_one_decision():
    singles = jnp.arange(12.0)[:, None]  # 12 decisions of one action, in 4 blocks of 3
    plan = Plan(singles.reshape(4, 3), jnp.full((4, 3), 0.2), singles.reshape(4, 3))
    moved = moved_on(plan, 3, 1.0)
    np.testing.assert_array_equal(moved.mean.ravel(), [*range(1, 12), 11])
    np.testing.assert_array_equal(moved.std, 1.0)


def test_it_plans_from_the_real_history():
    """The velocity in its latent is that of the world, and zero at the start of an episode."""
    model, seen = toy_model(history=3, spacing=2), []

    def encode(gain, frames):
        jax.debug.callback(lambda f: seen.append(np.array(f)[:, 0].tolist()), frames)
        return jnp.concatenate([frames[-1], frames[-1] - frames[0]])

    policy = lambda params, place, goal: jnp.zeros(2)  # noqa: E731
    model = model._replace(encode=encode, policy=policy)
    agent = make_goal_agent(model, PLANNER, ("goal",), reactive=True)
    carry, keys = agent.init_carry(1), jax.random.split(jax.random.key(0), 1)
    goal = jnp.full((1, 2), 9.0)
    for t, first in enumerate([1, 0, 0, 0, 0, 1, 0]):
        frame = jnp.full((1, 2), float(t))
        _, carry, _ = agent.act(toy_params(), carry, frame, goal, jnp.array([first == 1]), keys)
    jax.effects_barrier()
    histories = [h for h in seen if h != [9.0] * 3]
    expected = [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 3], [0, 2, 4], [5, 5, 5], [5, 5, 6]]
    assert histories == expected
    assert [9.0] * 3 in seen, "a goal is embedded as standing still there"


def test_goals_weights_and_parameters_compile_nothing(planner_agent):
    carry, keys = planner_agent.init_carry(2), jax.random.split(jax.random.key(0), 2)
    before = None
    for place, weights in [(1.0, {"path": 1.0}), (-1.0, {"goal": 0.5}), (0.3, {"path": 2.0})]:
        goals = jnp.array([[place, 0.0], [-place, 0.0]])
        goal_params = toy_params(**weights)
        first = jnp.array([True, False])
        action, _, _ = planner_agent.act(goal_params, carry, jnp.zeros((2, 2)), goals, first, keys)
        assert np.sign(action[0, 0]) == np.sign(place) == -np.sign(action[1, 0])
        size = planner_agent.act._cache_size()
        assert before in (None, size)
        before = size


def test_a_policy_leads_the_planner():
    """One sample cannot search: what it finds was proposed."""
    policy = lambda gain, place, goal: jnp.clip(gain * (goal[:2] - place[:2]), -1, 1)  # noqa: E731
    model = toy_model(policy=policy)
    tiny = PlannerConfig(
        horizon=3, num_samples=9, num_prior_samples=8, num_elites=1, num_iterations=1, init_std=0.1
    )
    led = make_goal_agent(model, tiny, TERMS)
    alone = make_goal_agent(toy_model(), tiny, TERMS)
    goal_params = toy_params(policy=jnp.float32(2.0), path=1.0)
    reactive = make_goal_agent(model, tiny, TERMS, reactive=True)
    assert successes(reaching(led, goal_params)) > successes(reaching(alone, goal_params))
    assert successes(reaching(reactive, goal_params)) > 20


def test_distances_saturate_and_limits_hold():
    terms, goal = goal_agent.cost_model(toy_model()).terms, jnp.zeros(4)
    near, far = jnp.array([0.1, 0.0, 0.0, 0.0]), jnp.array([3.0, 0.0, 0.0, 0.0])

    def distance(params, latent):
        return terms["goal"].cost(params, goal, latent)

    def limits(latent):
        return terms["limits"].cost(params, goal, PlanState(goal, goal), goal, latent)

    params = toy_params(goal=1.0)
    assert distance(params, far) == pytest.approx(9 / 4)
    short = params._replace(radius=jnp.float32(0.01))
    assert distance(short, near) == pytest.approx(0.01 * (1 - np.exp(-0.25)), rel=1e-3)
    assert distance(short, far) == pytest.approx(0.01)
    assert limits(near) == 0
    assert limits(far) == pytest.approx(4 / 4)


def test_latency_is_of_single_decisions(planner_agent):
    times = plan_milliseconds(
        Actor(planner_agent, toy_params(path=1.0), STATE), ToyGoals(1, limit=6), 1
    )
    assert len(times) == 5 and min(times) > 0
