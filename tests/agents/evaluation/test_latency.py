"""Evaluation while the world moves on: the schedule by hand, and its limits on a simulator."""

import jax.numpy as jnp
import numpy as np
import pytest

from agents.acting.agent import Agent, Carry
from agents.evaluation.evaluate import evaluate
from agents.evaluation.latency import _frames, _Schedule, evaluate_with_latency
from agents.evaluation.latency_model import LatencyModel
from agents.runs.config import ConfigError
from envs.registry import make_vec
from planning.types import Plan, PlanInfo


def test_latency_models_are_parsed_and_others_refused():
    assert LatencyModel.parse("free").charge(7.0) == 0
    assert LatencyModel.parse("measured").charge(7.0) == 7
    assert LatencyModel.parse("fixed:2.5").charge(7.0) == 2.5
    for text in ("", "fixed", "fixed:", "fixed:x", "fixed:-1", "fixed:nan", "fixed:inf", "slow"):
        with pytest.raises(ConfigError, match="latency must be free, measured or fixed:MS"):
            LatencyModel.parse(text)


def test_thinking_is_rounded_up_to_whole_frames():
    assert [_frames(ms, 0.01) for ms in (0, 0.1, 10, 10.1, 20, 30.0000000001)] == [0, 1, 1, 2, 2, 3]


def timeline(late, frames, period=2, plan_steps=1):
    """Which decision (and step of its plan) is played at each frame; -1 before the first."""
    schedule = _Schedule(period, np.full((1, 1, 1), -1.0))
    played, begun = [], 0
    for t in range(frames):
        if schedule.idle(t):
            schedule.begin(t, begun + np.arange(plan_steps).reshape(-1, 1, 1) / 10, late)
            begun += 1
        played.append(float(schedule.action(t)[0, 0]))
    return played, schedule.misses


def test_who_is_quick_acts_at_once_and_who_is_slow_acts_late():
    assert timeline(0, 6) == ([0, 0, 1, 1, 2, 2], 0)
    assert timeline(1, 6) == ([-1, 0, 0, 1, 1, 2], 0)
    assert timeline(2, 6) == ([-1, -1, 0, 0, 1, 1], 0)
    played, misses = timeline(3, 9)  # longer than a period: fewer decisions, every one late
    assert played == [-1, -1, -1, 0, 0, 0, 1, 1, 1] and misses == 3


def test_the_rest_of_the_plan_is_played_while_the_next_is_thought_of():
    played, _ = timeline(3, 12, period=2, plan_steps=3)
    assert played == pytest.approx([-1, -1, -1, 0, 0, 0.1, 1, 1, 1.1, 2, 2, 2.1])
    played, _ = timeline(9, 20, period=2, plan_steps=2)  # a plan that is too short is held
    assert played[9:18] == pytest.approx([0, 0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])


def proportional(gain=-2.0):
    """A feedback agent without a network: action = gain x first observation."""

    def act(params, carry, obs, is_first, key):
        action = jnp.clip(gain * obs[:, :1], -1, 1)
        return action, carry, PlanInfo(*[jnp.zeros(len(obs))] * len(PlanInfo._fields))

    def init_carry(count):
        return Carry(Plan(*[jnp.zeros((count, 1, 1))] * 3))

    return Agent(init_carry, act)


def run(clock, repeat=4, seeds=(3, 4)):
    env = make_vec("cartpole-balance", len(seeds), action_repeat=1)
    return evaluate_with_latency(
        proportional(), None, env, repeat, list(seeds), LatencyModel.parse(clock)
    )


def test_no_latency_is_the_plain_evaluation():
    (free, misses), (none, _) = run("free"), run("fixed:0")
    env = make_vec("cartpole-balance", 2, action_repeat=4)
    plain, _ = evaluate(proportional(), None, env, [3, 4], 0.99)
    np.testing.assert_allclose(free.episode_returns, plain.episode_returns, rtol=1e-12)
    assert free.episode_returns == none.episode_returns
    assert free.episode_lengths == plain.episode_lengths == [250, 250]
    assert misses == 0 and len(free.plan_ms) == 250


def test_the_longer_it_takes_the_less_often_it_decides():
    (quick, in_time), (slow, late) = run("fixed:30"), run("fixed:80")
    assert quick.episode_returns == run("fixed:30")[0].episode_returns
    assert in_time == 0 and len(quick.plan_ms) == 250
    assert late == len(slow.plan_ms) == 125
    assert not set(quick.episode_returns) & set(run("free")[0].episode_returns)


def test_measured_time_is_what_is_charged(monkeypatch):
    seconds = iter(np.arange(10_000) * 0.05)  # every look at the watch is 50 ms after the last
    monkeypatch.setattr("agents.evaluation.latency.time.perf_counter", lambda: float(next(seconds)))
    (measured, _), (fixed, _) = run("measured"), run("fixed:50")
    assert measured.episode_returns == fixed.episode_returns
    assert measured.plan_ms[0] == pytest.approx(50)
