"""Replay on device: pure `add` and `sample` over one packed ring buffer.

A row holds everything of one decision of one simulator: obs, action, reward, terminated and
`is_last`. A row that is last has no usable transition: it is the final observation of an
episode, or the transition was invalid. The obs after a transition is that of the next row.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.runs.needs import FLAGS as FLAGS
from wm.tdmpc.losses import Batch

Array = jax.Array


class Replay(NamedTuple):
    """Ring buffer of packed rows."""

    rows: Array
    """[C, E, O + A + 3] float32"""
    count: Array
    """[] int32, rows ever added a simulator; row i lives at i modulo C."""


def init(capacity: int, num_envs: int, obs_dim: int, action_dim: int) -> Replay:
    """An empty buffer of `capacity` transitions in total."""
    per_env = capacity // num_envs
    rows = jnp.zeros((per_env, num_envs, obs_dim + action_dim + FLAGS), jnp.float32)
    return Replay(rows, jnp.zeros((), jnp.int32))


def pack(obs, action, reward, terminated, is_last, xp: Any = np) -> Any:
    """Arrays [E, ...] of one decision as packed rows [E, O + A + 3]; xp is numpy or jax.numpy."""
    flags = xp.stack([xp.asarray(x, np.float32) for x in (reward, terminated, is_last)], -1)
    return xp.concatenate([xp.asarray(obs, np.float32), xp.asarray(action, np.float32), flags], -1)


def add(replay: Replay, rows: Array) -> Replay:
    """Append one row a simulator, [E, O + A + 3]; the oldest row goes when full."""
    index = replay.count % replay.rows.shape[0]
    updated = jax.lax.dynamic_update_index_in_dim(replay.rows, rows, index, 0)
    return Replay(updated, replay.count + 1)


def add_if(replay: Replay, rows: Array, wanted: Array) -> Replay:
    """`add` where `wanted` [], else the replay as it is; either way in place inside a loop."""
    index = replay.count % replay.rows.shape[0]
    held = jax.lax.dynamic_index_in_dim(replay.rows, index, 0, keepdims=False)
    return Replay(add(replay, jnp.where(wanted, rows, held)).rows, replay.count + wanted)


def sample(replay: Replay, key: Array, batch_size: int, horizon: int, obs_dim: int) -> Batch:
    """Uniform slices of `horizon` transitions; the mask ends them where the episode ends.

    The newest row has no successor yet, so slices stop before it. At least horizon + 1 rows
    must have been added.
    """
    capacity, num_envs, width = replay.rows.shape
    key_time, key_env = jax.random.split(key)
    oldest = jnp.maximum(replay.count - capacity, 0)
    start = jax.random.randint(key_time, (batch_size,), oldest, replay.count - horizon)
    env = jax.random.randint(key_env, (batch_size,), 0, num_envs)
    time = (start[:, None] + jnp.arange(horizon + 1)[None]) % capacity
    rows = replay.rows[time, env[:, None]]
    steps = rows[:, :-1]
    going_on = 1.0 - steps[..., width - 1]
    return Batch(
        obs=rows[..., :obs_dim],
        action=steps[..., obs_dim : width - FLAGS],
        reward=steps[..., width - 3],
        terminated=steps[..., width - 2],
        mask=jnp.cumprod(going_on, axis=1),
    )
