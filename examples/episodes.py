"""Held-out episodes of a trained run side by side, for the examples in this folder."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import make_agent
from agents.runs.load import load
from envs import imports
from envs.registry import make_vec

SEED = 1_000_000
"""Of the first episode: far from those that training draws."""


def episodes(run: str, task: str, count: int = 20) -> Iterator[tuple[Any, np.ndarray]]:
    """(simulators, whether each has fallen [count]) after every decision of one episode each.

    `task` is FILE.py:CLASS. `simulators.data` has MuJoCo's fields, [count, ...] each.
    """
    env_id = imports.absolute(task)
    imports.permit(imports.modules_of(env_id))
    trained = load(run)
    env = make_vec(env_id, count, action_repeat=trained.spec.action_repeat)
    agent = make_agent(trained.net, trained.config.planner)
    carry, key = agent.init_carry(count), jax.random.key(0)
    obs, info = env.reset(seed=SEED)
    for step in range(env.env_spec.episode_steps):
        first = jnp.asarray(info["is_reset"])
        actions, carry, _ = agent.act(
            trained.params, carry, jnp.asarray(obs), first, jax.random.fold_in(key, step)
        )
        obs, _, fallen, _, info = env.step(np.asarray(actions))
        yield env.simulators, fallen
    env.close()
