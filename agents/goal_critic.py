"""A critic for goals, learned offline: how many decisions it takes from here to there.

Straight distance in the latent space is myopic where walls are in the way. The critic learns the
discounted temporal distance  u(z, g) = 1 - discount^decisions  in [0, 1] from episodes whose later
moments are taken for goals in hindsight (arXiv 1707.01495). Temporal differences stitch episodes
together, and an expectile prefers the quickest of the ways that the data shows (as in goal-
conditioned implicit value learning, arXiv 2307.11949). Within an episode the decisions that were
taken are an upper bound, which spares the slow spreading of values along long ways. The network is
a quasimetric (agents/goal_networks.py).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from agents.compiling import cpu_options
from agents.goal_config import GuideConfig
from agents.goal_data import Hindsight, Table, relabel
from agents.goal_networks import distances, start

Array = jax.Array
AT_ONCE = 50  # updates in a compiled call
Report = Callable[[int, float], None]
"""Told (updates done, latest loss) now and then."""


class _State(NamedTuple):
    params: Any
    target: Any
    opt: optax.OptState


def heads(params: Any, config: GuideConfig, place: Array, goal: Array) -> Array:
    """Cost to go [heads, ...] in [0, 1) from places [..., D] to goals [..., D]."""
    network = distances(config.width)
    away = cast(Array, network.apply({"params": params}, place, goal))
    return -jnp.expm1(away * math.log(config.discount))


def cost_to_go(params: Any, config: GuideConfig, place: Array, goal: Array) -> Array:
    """The worse head's [...], which plans are judged by: a planner finds what holes there are."""
    return heads(params, config, place, goal).max(0)


def decisions(cost: Array, discount: float) -> Array:
    """How many decisions a cost to go stands for."""
    return jnp.log1p(-jnp.minimum(cost, 1 - 1e-6)) / jnp.log(discount)


def loss(config: GuideConfig, params: Any, target: Any, batch: Hindsight) -> Array:
    """Expectile regression on temporal differences, bounded by what the episode took.

    Targets take the worse of the heads: an optimist finds holes in walls.
    """
    kept = config.discount**batch.lead
    ahead = cost_to_go(target, config, batch.later, batch.goal)
    bound = 1 - config.discount**batch.taken
    wanted = jnp.minimum(1 - kept + kept * ahead, bound)
    # Where the episode ends no step was taken: only the bound, if any, is known.
    known = (batch.lead > 0) | jnp.isfinite(batch.taken)
    error = wanted[None] - heads(params, config, batch.place, batch.goal)
    weight = jnp.where(error < 0, config.expectile, 1 - config.expectile)
    return jnp.mean(known[None] * weight * error**2)


def train(config: GuideConfig, table: Table, report: Report | None = None) -> tuple[Any, float]:
    """Parameters of the critic and its last loss."""
    params = start(distances(config.width), jax.random.key(config.seed), table.place)
    return learn(config, partial(loss, config), params, table, report)


def learn(
    config: GuideConfig,
    loss: Callable[[Any, Any, Hindsight], Array],
    params: Any,
    table: Table,
    report: Report | None,
) -> tuple[Any, float]:
    """Minimise loss(params, target, batch) on relabelled batches: averaged parameters, last loss.

    `target` is the running average of the parameters.
    """
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(_rate(config)))

    def once(state: _State, key: Array, table: Table) -> tuple[_State, Array]:
        batch = relabel(table, config, key)
        value, slope = jax.value_and_grad(loss)(state.params, state.target, batch)
        steps, opt = optimiser.update(slope, state.opt, state.params)
        params = cast(Any, optax.apply_updates(state.params, steps))
        target = optax.incremental_update(params, state.target, config.target_rate)
        return _State(params, target, opt), value

    @partial(jax.jit, donate_argnums=0, compiler_options=cpu_options(many_reductions=True))
    def some(state: _State, table: Table, keys: Array) -> tuple[_State, Array]:
        return jax.lax.scan(lambda s, k: once(s, k, table), state, keys)

    state = _State(params, jax.tree.map(jnp.copy, params), optimiser.init(params))
    key, losses = jax.random.key(config.seed + 1), jnp.zeros(1)
    for done in range(0, config.updates, AT_ONCE):
        state, losses = some(state, table, jax.random.split(jax.random.fold_in(key, done), AT_ONCE))
        if report:
            report(done + AT_ONCE, float(losses.mean()))
    return state.target, float(losses.mean())


def _rate(config: GuideConfig) -> optax.Schedule:
    return optax.cosine_decay_schedule(config.learning_rate, config.updates, 0.05)
