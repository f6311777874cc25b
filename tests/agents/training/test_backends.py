"""Simulators inside a program: what ended in them is counted as the host loop counts it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.training.backends import backend_of
from agents.training.driver import Driver
from envs.spec import EnvError


class Out(NamedTuple):
    obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    is_reset: Any
    invalid: Any


class Counting:
    """Simulators that count: an episode has three decisions, the next step resets."""

    class pure:
        @staticmethod
        def step(state, action):
            is_reset = state == 3
            after = jnp.where(is_reset, 0, state + 1)
            reward = jnp.where(is_reset, 0.0, action[0])
            no = jnp.zeros((), bool)
            out = Out(after[None].astype(jnp.float32), reward, no, after == 3, is_reset, no)
            return after, out

    num_envs, env_spec = 2, type("Spec", (), {"env_id": "counting"})

    def reset(self, seed):
        self.state = jnp.array([0, 2])
        return np.array([[0.0], [2.0]]), {}

    def adopt(self, state):
        self.state = state

    def step(self, actions):
        self.state, out = jax.vmap(self.pure.step)(self.state, jnp.asarray(actions))
        obs, reward, terminated, truncated, is_reset, invalid = map(np.asarray, out)
        return obs, reward, terminated, truncated, {"is_reset": is_reset, "invalid": invalid}


def chunk(driver, actions):
    """What a program gives after decisions with `actions` [T, E, A]."""
    backend = backend_of(driver)
    state, obs, records = backend.begin(), jnp.asarray(driver.obs, jnp.float32), []
    for action in actions:
        state, moved, record = backend.step(state, obs, jnp.asarray(action))
        obs, first = moved.obs, moved.is_first
        records.append(record)
    stacked = jax.tree.map(lambda *x: np.stack(x), *records)
    return backend.end(state, obs, first, stacked)


def test_episodes_in_a_program_are_those_of_the_host_loop():
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 2, 1)).astype(np.float32)
    host, fused = Driver(Counting(), 0), Driver(Counting(), 0)
    expected = [host.step(action) for action in actions]
    found = [cycle for part in (actions[:4], actions[4:]) for cycle in chunk(fused, part)]
    assert [c.decisions for c in found] == [c.decisions for c in expected]
    assert [c.episodes for c in found] == [c.episodes for c in expected]
    assert sum(len(c.episodes) for c in found) == 5
    for name in ("obs", "is_first", "returns", "lengths"):
        np.testing.assert_array_equal(getattr(fused, name), getattr(host, name))
    with pytest.raises(EnvError, match=r"counting on MJX .* not finite"):
        chunk(fused, np.full((1, 2, 1), np.nan, np.float32))
