"""The oracle plans on the very simulator it acts in, and disturbs nothing."""

import os
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from agents.acting.agent import baseline_agent
from agents.acting.oracle import make_oracle
from agents.evaluation.evaluate import evaluate
from agents.runs.config import ConfigError
from envs.registry import make_spec, make_vec
from planning.config import PlannerConfig

SEARCH = PlannerConfig(horizon=8, num_samples=48, num_prior_samples=0, num_elites=6)


@pytest.mark.parametrize("task", ["reacher-easy", "cheetah-run", "finger-turn_easy"])
def test_what_is_imagined_is_what_happens(task):
    """From the same moments, to the last bit, whatever the simulators did before."""
    env, other = make_vec(task, 3, action_repeat=2), make_vec(task, 3, action_repeat=2)
    env.reset(seed=0)
    other.reset(seed=9)
    rng = np.random.default_rng(0)
    for _ in range(5):
        moments = env.simulators.get_moments()
        actions = rng.uniform(-1, 1, (3, env.env_spec.action_dim))
        after, obs, reward, ended = other.imagine(moments, actions)
        expected = env.step(actions)
        np.testing.assert_array_equal(obs, expected[0])
        np.testing.assert_array_equal(reward, expected[1])
        np.testing.assert_array_equal(after, env.simulators.get_moments())
        assert not ended.any()


def test_a_failed_simulation_is_worth_nothing():
    env = make_vec("cheetah-run", 2)
    env.reset(seed=0)
    moments = env.simulators.get_moments()
    moments[1, 5:15] = 1e12
    _, _, reward, _ = env.imagine(moments, np.zeros((2, 6)))
    assert np.isfinite(reward[0]) and np.isnan(reward[1])


def test_it_controls_what_random_actions_do_not():
    spec = make_spec("cartpole-balance", 8)
    env = make_vec("cartpole-balance", 2, action_repeat=8)
    search = replace(SEARCH, num_samples=24, num_elites=4, num_iterations=2)
    oracle, floor = make_oracle(spec, search), baseline_agent(1, "random")
    planned, _ = evaluate(oracle, None, env, [1, 2], 0.99)
    drawn, _ = evaluate(floor, None, env, [1, 2], 0.99)
    again, _ = evaluate(oracle, None, env, [1, 2], 0.99)
    assert min(planned.episode_returns) > 600 > 450 > max(drawn.episode_returns)
    assert planned.episode_returns == again.episode_returns


def test_looking_ahead_does_not_disturb_the_simulator():
    env = make_vec("point_mass-easy", 2, action_repeat=8)
    obs, _ = env.reset(seed=0)
    oracle = make_oracle(env.env_spec, SEARCH)
    before = env.get_state()
    oracle.act(
        None, oracle.init_carry(2), oracle.observe(env, obs), np.ones(2, bool), jax.random.key(0)
    )
    jax.tree.map(np.testing.assert_array_equal, before, env.get_state())


def test_it_needs_simulators_it_can_copy():
    with pytest.raises(ConfigError, match="needs native simulators, which Pendulum-v1 has not"):
        make_oracle(make_spec("Pendulum-v1"), SEARCH)
    with pytest.raises(ConfigError, match="cannot be differentiated"):
        make_oracle(make_spec("cartpole-swingup"), PlannerConfig(method="gradient"))


ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, jax.numpy as jnp, numpy as np
from agents.goals.config import ObjectiveConfig
from agents.goals.oracle import goal_oracle
from envs.registry import make_vec
from planning.config import PlannerConfig

env = make_vec("reacher-goal", 25)
obs, _ = env.reset(seed=0)
small = dict(num_samples=32, num_prior_samples=0, num_elites=8, num_iterations=1)
agent, _, source, *_ = goal_oracle(
    env.env_spec, PlannerConfig(horizon=4, **small), ObjectiveConfig(goal=0, path=1)
)
for decision in range(60):
    keys = jax.random.split(jax.random.key(decision), 25)
    begun = np.ones(25, bool)
    seen = source.frames(env, obs, begun), source.goals(env), jnp.asarray(begun)
    action, _, _ = agent.act(None, agent.init_carry(25), *seen, keys)
    obs = env.step(np.asarray(action))[0]
print(action.shape)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_oracle_does_not_wait_for_itself_on_one_core():
    """Large arrays inside a program that has a single thread, many times over."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ONE_CORE]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(25, 2)"
