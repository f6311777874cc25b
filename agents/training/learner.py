"""The learner on its replay: several updates in one call."""

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
    """Functions of one training (static).

    add(replay, rows [E, F]) -> Replay
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


def updates_on(
    draw: Callable[..., Any], update: Callable[..., Any], state: Any, replay: Any, keys: Array
) -> Any:
    """`state` after an update on a fresh draw for each of `keys` [U], and the mean metrics."""

    def once(state: Any, key: Array) -> Any:
        batch, key = draw(replay, key)
        return update(state, batch, key)

    state, metrics = jax.lax.scan(once, state, keys)
    return state, jax.tree.map(partial(jnp.mean, axis=0), metrics)


def pure_learning(net: Networks, updates: int, mesh: Mesh | None = None) -> Learning:
    """Functions that do `updates` updates a call, for use inside a program.

    On a mesh every device has its share of the batch.
    """

    def update(state: TrainState, batch: Batch, key: Array) -> Any:
        return learner.update(net, state, sharding.split(mesh, batch), key)

    def learn(state: TrainState, replay: Replay, key: Array) -> Any:
        return updates_on(partial(draw, net), update, state, replay, jax.random.split(key, updates))

    return Learning(replay_lib.add, learn, updates)


def make_learning(net: Networks, updates: int, mesh: Mesh | None = None) -> Learning:
    """The same as programs of their own.

    `add` takes over the memory of the replay that it is given. `learn` leaves its inputs alone:
    the agent may plan on the old parameters meanwhile.
    """
    pure, whole = pure_learning(net, updates, mesh), sharding.whole(mesh)
    options = cpu_options(many_reductions=True)
    return pure._replace(
        add=jax.jit(pure.add, donate_argnums=0, **whole),
        learn=jax.jit(pure.learn, compiler_options=options, **whole),
    )
