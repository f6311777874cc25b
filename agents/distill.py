"""Mode 1: a policy that reacts to a goal, learned offline; it also leads the planner.

First by hindsight imitation: what was done on the way to a moment is how to get there, and actions
that brought the goal nearer than the critic expected are imitated more (advantage weights, arXiv
1910.00177). Then, if asked for, from the planner itself: plans for places and goals of the data,
made in imagination, are what the policy should have proposed.
"""

from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.goal_config import GuideConfig
from agents.goal_critic import Report, cost_to_go, learn
from agents.goal_data import Hindsight, Table
from wm.layers import MLP

Array = jax.Array
MOST = 10.0  # largest advantage weight


def _network(width: int, size: int) -> nn.Module:
    return MLP((width, width), out=size)


def react(params: Any, width: int, size: int, place: Array, goal: Array) -> Array:
    """Action blocks [..., size] in (-1, 1) from places [..., D] to goals [..., D]."""
    joint = jnp.concatenate([place, goal, place - goal], -1)
    return jnp.tanh(cast(Array, _network(width, size).apply({"params": params}, joint)))


def advantage(config: GuideConfig, critic: Any, batch: Hindsight) -> Array:
    """[B] by how much the goal came nearer than expected, in strides; near 0 is as good as any."""
    kept = config.discount ** jnp.maximum(batch.lead, 1.0)
    cost = partial(cost_to_go, critic, config.width)
    gained = cost(batch.place, batch.goal) - 1 + kept - kept * cost(batch.later, batch.goal)
    return gained / (1 - kept)


def imitation_loss(
    config: GuideConfig, critic: Any, params: Any, target: Any, batch: Hindsight
) -> Array:
    """Squared error of the actions taken, weighted by their advantage."""
    del target
    weight = jnp.exp(config.advantage * advantage(config, critic, batch))
    weight = jnp.minimum(weight, MOST) * (batch.lead > 0)
    size = batch.action.shape[-1]
    error = react(params, config.width, size, batch.place, batch.goal) - batch.action
    return jnp.sum(weight * jnp.mean(error**2, -1)) / jnp.maximum(weight.sum(), 1e-6)


def imitate(
    config: GuideConfig, critic: Any, table: Table, report: Report | None = None
) -> tuple[Any, float]:
    """Parameters of a policy that imitates the data in hindsight, and its last loss."""
    joint, size = jnp.zeros(3 * table.place.shape[1]), table.action.shape[1]
    key = jax.random.key(config.seed + 2)
    params = _network(config.width, size).init(key, joint)["params"]
    return learn(config, partial(imitation_loss, config, critic), params, table, report)
