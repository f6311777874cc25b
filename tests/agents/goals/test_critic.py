"""The critic recovers temporal distances that are known, and hindsight says what was done."""

from collections import deque
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.goals import critic as goal_critic
from agents.goals import policy as goal_policy
from agents.goals.agent import GoalModel, GoalParams
from agents.goals.config import GUIDED, GoalHeadsConfig
from agents.goals.hindsight import Table, at_rest, make_table, relabel
from agents.goals.model import left_open, radius_of, weights_of
from agents.goals.networks import GoalPolicy, start
from agents.runs.config import ConfigError
from envs.registry import make_vec

SIZE, WALL, DOOR = 7, 3, 5
MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
CONFIG = GoalHeadsConfig(
    updates=1200, batch_size=256, width=64, discount=0.95, learning_rate=2e-3, noise=0.02
)
cost_to_go = jax.jit(goal_critic.cost_to_go, static_argnums=1)
reachability = jax.jit(goal_critic.reachability, static_argnums=(1, 2))
react = jax.jit(goal_policy.react, static_argnums=(1, 2))
hindsight = jax.jit(relabel, static_argnums=1)


def free(cell):
    return min(cell) >= 0 and max(cell) < SIZE and (cell[0] != WALL or cell[1] == DOOR)


CELLS = [(i, j) for i in range(SIZE) for j in range(SIZE) if free((i, j))]


def steps_from(start):
    """Shortest ways on the grid from a cell."""
    found, queue = {start: 0}, deque([start])
    while queue:
        cell = queue.popleft()
        for move in MOVES:
            after = (cell[0] + move[0], cell[1] + move[1])
            if free(after) and after not in found:
                found[after] = found[cell] + 1
                queue.append(after)
    return found


def place_of(cell):
    return np.array(cell, np.float32) * 2 / (SIZE - 1) - 1


def walks(episodes=250, length=40, seed=0):
    """Random walks in two rooms with a door; places, moves and lengths."""
    rng, places, moves = np.random.default_rng(seed), [], []
    for _ in range(episodes):
        cell, move = CELLS[rng.integers(len(CELLS))], MOVES[rng.integers(4)]
        for _ in range(length):
            move = MOVES[rng.integers(4)] if rng.random() < 0.4 else move
            places.append(place_of(cell))
            moves.append(move)
            after = (cell[0] + move[0], cell[1] + move[1])
            cell = after if free(after) else cell
    return np.array(places), np.array(moves, np.float32), np.full(episodes, length)


IDENTITY = GoalModel(
    encode=lambda params, frames: frames[-1],
    step=lambda params, latent, action: latent + action,
    embed=lambda params, latent: latent,
    action_dim=2,
    frame_shape=(2,),
)


@cache
def table():
    places, moves, lengths = walks()
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return make_table(IDENTITY, None, places, moves, starts, lengths)


@pytest.fixture(scope="module")
def learned():
    return goal_critic.train(CONFIG, table())[0]


def test_it_recovers_temporal_distance_around_the_wall(learned):
    places = jnp.asarray([place_of(c) for c in CELLS])
    ways = [steps_from(c) for c in CELLS]
    true = np.array([[way[c] for c in CELLS] for way in ways])
    cost = cost_to_go(
        learned,
        CONFIG,
        jnp.repeat(places[:, None], len(CELLS), 1),
        jnp.repeat(places[None], len(CELLS), 0),
    )
    found = np.asarray(goal_critic.decisions(cost, CONFIG.discount))
    straight = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.98
    assert np.corrcoef(straight.ravel(), true.ravel())[0, 1] < 0.85
    assert np.polyfit(true.ravel(), found.ravel(), 1) == pytest.approx([1, 0], abs=0.15)
    near = (CELLS.index((WALL - 1, 0)), CELLS.index((WALL + 1, 0)))
    far = (CELLS.index((0, 0)), CELLS.index((WALL - 1, 2)))
    assert true[near] == 12 and true[far] == 4 and straight[near] < straight[far]
    assert (found[near], found[far]) == pytest.approx((12, 4), rel=0.15)
    assert np.diagonal(found).mean() < 0.5, "a place is where it is"


def test_nothing_is_farther_than_what_was_done(learned):
    """Between moments of a walk, however roundabout it was."""
    rows = table()
    rng = np.random.default_rng(1)
    at = rng.integers(0, len(rows.last), 2000)
    goal = np.minimum(at + rng.integers(1, 30, 2000), np.asarray(rows.last)[at])
    at, goal = at[goal > at], goal[goal > at]
    cost = cost_to_go(learned, CONFIG, rows.embedding[at], rows.goal[goal])
    found = np.asarray(goal_critic.decisions(cost, CONFIG.discount))
    assert (found <= 1.1 * (goal - at) + 0.3).mean() > 0.99
    assert (found < 0.5 * (goal - at)).mean() > 0.2, "many walks were roundabout"


def test_no_step_leads_through_the_wall(learned):
    """Between neighbours a step is no leap, nor is one through the door; through the wall it is."""

    def leap(before, after):
        places = (jnp.asarray(place_of(cell)) for cell in (before, after))
        return float(reachability(learned, CONFIG, 2, *places))

    assert leap((0, 0), (1, 0)) == leap((1, 1), (1, 2)) == 0
    assert leap((WALL - 1, 0), (WALL + 1, 0)) == pytest.approx((12 / 2 - 1) ** 2, rel=0.4)
    assert leap((WALL - 1, DOOR), (WALL + 1, DOOR)) < 0.1


def test_the_policy_shortens_the_way(learned):
    """Its action, as the nearest move, is one of those that bring the goal nearer."""
    config = GoalHeadsConfig(**{**vars(CONFIG), "updates": 600})
    policy, _ = goal_policy.learn_policy(config, learned, table())
    pairs = [(a, b) for a in CELLS for b in CELLS if a != b]
    here, there = (jnp.asarray([place_of(pair[i]) for pair in pairs]) for i in (0, 1))
    wishes = np.asarray(react(policy, CONFIG, 2, here, there))
    ways = {goal: steps_from(goal) for goal in CELLS}
    better, by_chance = [], []
    for (cell, goal), wish in zip(pairs, wishes, strict=True):
        way = ways[goal]
        gains = [way.get((cell[0] + m[0], cell[1] + m[1]), 99) < way[cell] for m in MOVES]
        better.append(gains[int(np.argmax(MOVES @ wish))])
        by_chance.append(np.mean(gains))
    assert np.mean(better) > np.mean(by_chance) + 0.3


STEP = 0.15
FIELD = IDENTITY._replace(
    step=lambda params, latent, action: jnp.clip(latent + STEP * action, -1.0, 1.0),
    critic=lambda params, place, goal: goal_critic.cost_to_go(params, CONFIG, place, goal),
    reachability=lambda params, *ends: goal_critic.reachability(params, CONFIG, 1, *ends),
)


def wanderings(episodes=150, length=40, seed=0):
    """An open field in which nobody goes anywhere: actions are independent draws."""
    rng = np.random.default_rng(seed)
    moves = rng.uniform(-1, 1, (episodes, length, 2)).astype(np.float32)
    places = np.zeros_like(moves)
    places[:, 0] = rng.uniform(-1, 1, (episodes, 2))
    for t in range(1, length):
        places[:, t] = np.clip(places[:, t - 1] + STEP * moves[:, t - 1], -1, 1)
    starts = length * np.arange(episodes)
    lengths = np.full(episodes, length)
    return make_table(FIELD, None, places.reshape(-1, 2), moves.reshape(-1, 2), starts, lengths)


def test_imagination_leads_where_imitation_stands_still():
    config = GoalHeadsConfig(**{**vars(CONFIG), "updates": 300, "advantage": 0.0})
    data = wanderings()
    critic, _ = goal_critic.train(config, data)
    scale = 2 * data.embedding.var(0).mean()
    limits = jnp.full(2, -1.0), jnp.full(2, 1.0)
    params = GoalParams(None, weights_of(GUIDED), scale, radius_of(GUIDED), *limits, critic)
    here, there = jax.random.uniform(jax.random.key(0), (2, 200, 2), minval=-0.9, maxval=0.9)

    def arrived(world):
        policy, _ = goal_policy.learn_policy(config, critic, data, world=world)
        place = here
        for _ in range(20):
            action = react(policy, config, 2, place, there)
            place = FIELD.step(None, place, action)
        return float(jnp.mean(jnp.linalg.norm(place - there, axis=-1) < 0.15))

    assert arrived((FIELD, params)) > 0.9
    assert arrived(None) < 0.8


def test_what_the_policy_imagines_pays_for_leaps(learned):
    """In a world whose steps are three times as long as the critic has seen, or as the block is."""
    jumping = IDENTITY._replace(
        step=lambda params, latent, action: latent + 6 / (SIZE - 1) * jnp.sign(action),
        critic=FIELD.critic,
        reachability=FIELD.reachability,
    )
    patient = jumping._replace(
        reachability=lambda params, *ends: goal_critic.reachability(params, CONFIG, 3, *ends)
    )
    batch = hindsight(table(), CONFIG, jax.random.key(0))
    limits = jnp.full(2, -1.0), jnp.full(2, 1.0)
    params = start(GoalPolicy(CONFIG.width, 2), jax.random.key(1), batch.embedding)
    cost = jax.jit(goal_policy.imagined_cost, static_argnums=(0, 1))

    def imagined(model, **weights):
        objective = replace(GUIDED, **weights)
        scale, radius = jnp.float32(1.0), radius_of(objective)
        known = GoalParams(None, weights_of(objective), scale, radius, *limits, learned)
        return float(cost(CONFIG, model, known, params, batch))

    free = imagined(jumping, reachability=0.0)
    assert imagined(jumping, reachability=1.0) > imagined(patient, reachability=1.0) + 1.0
    assert imagined(jumping, reachability=2.0) - free == pytest.approx(
        2 * (imagined(jumping, reachability=1.0) - free), rel=1e-3
    )


def test_hindsight_says_what_was_done():
    """Goals of the same episode come later, with the decisions they took."""
    rows = jnp.arange(60.0)[:, None]
    last = jnp.asarray(np.repeat([19, 39, 59], 20))
    numbered = Table(rows, rows + 1000, rows, last)
    config = GoalHeadsConfig(batch_size=2000, noise=0.0, stride=3)
    batch = hindsight(numbered, config, jax.random.key(0))
    at, goal = np.asarray(batch.embedding[:, 0]), np.asarray(batch.goal[:, 0]) - 1000
    lead, taken = np.asarray(batch.lead), np.asarray(batch.steps)
    np.testing.assert_array_equal(batch.next_embedding[:, 0], at + lead)
    np.testing.assert_array_equal(lead, np.minimum(3, np.asarray(last)[at.astype(int)] - at))
    known = np.isfinite(taken)
    np.testing.assert_array_equal(goal[known] - at[known], taken[known])
    elsewhere = (goal[~known] // 20 != at[~known] // 20) | (goal[~known] < at[~known])
    assert elsewhere.all()
    assert 0.5 < known.mean() < 0.9


def test_rows_are_embedded_with_their_history():
    model = IDENTITY._replace(
        encode=lambda params, frames: frames.reshape(-1),
        frame_shape=(1,),
        history=3,
        spacing=2,
        block=2,
    )
    frames = np.arange(10, dtype=np.float32)[:, None]
    action = np.arange(10, dtype=np.float32)[:, None] + 0.5
    made = make_table(model, None, frames, action, np.array([0, 4]), np.array([4, 6]))
    np.testing.assert_array_equal(made.embedding[3], [0, 1, 3])  # stood still before it began
    np.testing.assert_array_equal(made.embedding[4], [4, 4, 4])
    np.testing.assert_array_equal(made.embedding[9], [5, 7, 9])
    np.testing.assert_array_equal(made.goal[9], [9, 9, 9])
    np.testing.assert_array_equal(made.action[1], [1.5, 2.5])
    np.testing.assert_array_equal(made.action[9], [8.5, 8.5])  # the last decision, repeated
    np.testing.assert_array_equal(made.last, [3] * 4 + [9] * 6)


def test_goals_of_the_data_stand_still_as_those_of_tasks_do():
    """A moment in motion, taken for a goal, looks as the task would show it: at rest."""
    env = make_vec("push-t", 4)
    env.reset(seed=[1, 2, 3, 4])
    for _ in range(3):
        obs, *_ = env.step(np.ones((4, 2), np.float32))
    still = at_rest(obs, env.env_spec.obs_names)
    poses = np.array(env.simulators.data.qpos)
    env.simulators.place(poses, 0.0, poses)
    shown = env.goal_view().obs
    env.close()
    assert np.abs(obs - shown).max() > 0.1
    np.testing.assert_allclose(still, shown, atol=1e-6)
    open_ = at_rest(obs, env.env_spec.obs_names, left_open("push-t"))
    np.testing.assert_allclose(open_[:, 2:], shown[:, 2:], atol=1e-6)
    assert np.abs(open_[:, :2] - shown[:, :2]).max() > 0.01, "the pusher's place is another's"
    assert sorted(open_[:, 0]) == pytest.approx(sorted(shown[:, 0]))
    model = IDENTITY._replace(frame_shape=(obs.shape[1],), action_dim=2)
    made = make_table(model, None, obs, np.ones((4, 2)), np.array([0]), np.array([4]), still)
    np.testing.assert_allclose(made.embedding, obs)
    np.testing.assert_allclose(made.goal, shown, atol=1e-6)


def test_settings_that_cannot_learn_are_refused():
    with pytest.raises(ConfigError, match=r"goal_heads\.discount must lie in \(0, 1\), got 1"):
        GoalHeadsConfig(discount=1.0)
    with pytest.raises(ConfigError, match=r"goal_heads.stride must lie in \[1, 1000\]"):
        GoalHeadsConfig(stride=0)
    for bad in (0.0, -1.0, float("inf")):
        with pytest.raises(ConfigError, match=r"goal_heads.bound must lie in \(0, 1e\+06\]"):
            GoalHeadsConfig(bound=bad)
