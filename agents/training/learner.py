"""The learner on its replay: several updates in one jitted call."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from agents.runs.compile import cpu_options
from agents.training import replay as replay_lib
from agents.training.parallel import sharding
from agents.training.replay import Replay
from wm.tdmpc import learner
from wm.tdmpc.learner import TrainState
from wm.tdmpc.losses import Batch
from wm.tdmpc.model import Networks

Array = jax.Array


class Learning(NamedTuple):
    """Jitted functions (static).

    add(replay, rows [E, F]) -> Replay, which takes over the old one's memory
    learn(state, replay, key) -> (TrainState, metrics averaged over `updates` updates)
    """

    add: Callable[[Replay, Array], Replay]
    learn: Callable[[TrainState, Replay, Array], tuple[TrainState, dict[str, Any]]]
    updates: int


def draw(net: Networks, replay: Replay, key: Array) -> tuple[Batch, Array]:
    """A fresh sample to update on, and the key of the update."""
    cfg = net.learner
    key_sample, key_update = jax.random.split(key)
    batch = replay_lib.sample(replay, key_sample, cfg.batch_size, cfg.horizon, net.spec.obs_dim)
    return batch, key_update


def make_learning(net: Networks, updates: int, mesh: Mesh | None = None) -> Learning:
    """Functions that do `updates` updates a call, each on a fresh sample.

    `learn` leaves its inputs alone: the agent may plan on the old parameters meanwhile. On a mesh
    every device has its share of the batch.
    """

    def learn(state: TrainState, replay: Replay, key: Array):
        def once(state: TrainState, key: Array):
            batch, key = draw(net, replay, key)
            return learner.update(net, state, sharding.split(mesh, batch), key)

        state, metrics = jax.lax.scan(once, state, jax.random.split(key, updates))
        return state, jax.tree.map(partial(jnp.mean, axis=0), metrics)

    whole = sharding.whole(mesh)
    fast_learn = jax.jit(learn, compiler_options=cpu_options(many_reductions=True), **whole)
    return Learning(jax.jit(replay_lib.add, donate_argnums=0, **whole), fast_learn, updates)
