"""A critic for goals, learned offline: how many decisions it takes from here to there.

Straight distance in the latent space is myopic where walls are in the way. The critic learns the
discounted temporal distance  u(z, g) = 1 - discount^decisions  in [0, 1] from episodes whose later
moments serve as goals in hindsight (arXiv 1707.01495). Embeddings are spread as far apart as what
was done allows (quasimetric reinforcement learning, arXiv 2304.01203): what took some decisions is
no farther than these, all else is pushed apart. The network is a quasimetric (`networks.py`), so
that short ways bound the long ones, and the largest distances within all bounds are those of the
quickest ways. Nothing is bootstrapped.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from agents.goals.config import GoalHeadsConfig
from agents.goals.hindsight import Hindsight, Table, relabel
from agents.goals.networks import distances, start
from agents.runs.compile import cpu_options

Array = jax.Array
BATCH = 50  # updates in a compiled call
AVERAGE_RATE = 0.01  # of the running average of parameters, which is kept
Report = Callable[[int, float], None]
"""Told (updates done, latest loss) now and then."""


class _State(NamedTuple):
    params: Any
    average: Any
    opt: optax.OptState


def decisions_between(params: Any, config: GoalHeadsConfig, start: Array, goal: Array) -> Array:
    """Decisions [heads, ...] from embeddings [..., D] to goals [..., D]."""
    return cast(Array, distances(config.width).apply({"params": params}, start, goal))


def cost(config: GoalHeadsConfig, away: Array) -> Array:
    """Cost to go in [0, 1) of so many decisions."""
    return -jnp.expm1(away * math.log(config.discount))


def cost_to_go(params: Any, config: GoalHeadsConfig, start: Array, goal: Array) -> Array:
    """The worse head's [...], which plans are judged by: a planner finds what holes there are."""
    return cost(config, decisions_between(params, config, start, goal).max(0))


def decisions(cost: Array, discount: float) -> Array:
    """Decisions that a cost to go stands for."""
    return jnp.log1p(-jnp.minimum(cost, 1 - 1e-6)) / jnp.log(discount)


def reachability(
    params: Any, config: GoalHeadsConfig, block: int, before: Array, after: Array
) -> Array:
    """Penalty [...] of a step of `block` decisions: square of the share by which it is too far.

    A model that was never told of a wall steps through it. The critic knows the way around, and
    by the triangle inequality no step brings any goal nearer by more decisions than it takes.
    """
    away = decisions_between(params, config, before, after).max(0)
    return jax.nn.relu(away / block - 1) ** 2


def loss(config: GoalHeadsConfig, params: Any, batch: Hindsight) -> Array:
    """Embeddings are pushed apart, nearest pairs most; none beyond the decisions it took."""

    def excess(away: Array, steps: Array) -> Array:
        """Mean square of the share of `steps` that is exceeded, where these are known."""
        known = jnp.isfinite(steps) & (steps > 0)
        share = away / jnp.where(known, steps, 1.0)[None]
        return jnp.mean(known[None] * jax.nn.relu(share - 1) ** 2)

    far = decisions_between(params, config, batch.embedding, batch.goal)
    near = decisions_between(params, config, batch.embedding, batch.next_embedding)
    beyond = excess(far, batch.steps) + excess(near, batch.lead)
    return jnp.mean(1 - cost(config, far)) + config.bound * beyond


def train(config: GoalHeadsConfig, table: Table, report: Report | None = None) -> tuple[Any, float]:
    """Parameters of the critic and its last loss."""
    params = start(distances(config.width), jax.random.key(config.seed), table.embedding)
    return learn(config, partial(loss, config), params, table, report)


def learn(
    config: GoalHeadsConfig,
    loss: Callable[[Any, Hindsight], Array],
    params: Any,
    table: Table,
    report: Report | None,
) -> tuple[Any, float]:
    """Minimise loss(params, batch) on relabelled batches: averaged parameters, last loss."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(_rate(config)))

    def once(state: _State, key: Array, table: Table) -> tuple[_State, Array]:
        batch = relabel(table, config, key)
        value, slope = jax.value_and_grad(loss)(state.params, batch)
        steps, opt = optimiser.update(slope, state.opt, state.params)
        params = cast(Any, optax.apply_updates(state.params, steps))
        average = optax.incremental_update(params, state.average, AVERAGE_RATE)
        return _State(params, average, opt), value

    @partial(jax.jit, donate_argnums=0, compiler_options=cpu_options(many_reductions=True))
    def some(state: _State, table: Table, keys: Array) -> tuple[_State, Array]:
        return jax.lax.scan(lambda s, k: once(s, k, table), state, keys)

    state = _State(params, jax.tree.map(jnp.copy, params), optimiser.init(params))
    key, losses = jax.random.key(config.seed + 1), jnp.zeros(1)
    for done in range(0, config.updates, BATCH):
        count = min(BATCH, config.updates - done)
        keys = jax.random.split(jax.random.fold_in(key, done), count)
        state, losses = some(state, table, keys)
        if report:
            report(done + count, float(losses.mean()))
    return state.average, float(losses.mean())


def _rate(config: GoalHeadsConfig) -> optax.Schedule:
    return optax.cosine_decay_schedule(config.learning_rate, config.updates, 0.05)
