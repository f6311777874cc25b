"""Mode 1: a policy that reacts to a goal, learned offline; it also leads the planner.

By hindsight imitation: what was done on the way to a moment is how to get there, and actions that
brought the goal nearer than the critic expected are imitated more (advantage weights, arXiv
1910.00177). And by what the planner does: from places and goals of the data the policy is unrolled
in the model, and the planner's own cost, critic, distance and leaps, goes down its gradient.
Imitation alone stands still where the data went one way as often as the other.
"""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from agents.goals.agent import GoalModel, GoalParams, latent_world
from agents.goals.config import GoalHeadsConfig
from agents.goals.critic import Report, cost_to_go, learn
from agents.goals.hindsight import Hindsight, Table
from agents.goals.networks import Reaction, start

Array = jax.Array
MOST = 10.0  # largest advantage weight
IMAGINED_SHARE = 3  # one in so many rows of a batch is imagined from: it costs more than imitation


def react(params: Any, config: GoalHeadsConfig, size: int, place: Array, goal: Array) -> Array:
    """Action blocks [..., size] in (-1, 1) from places [..., D] to goals [..., D]."""
    network = Reaction(config.width, size)
    return cast(Array, network.apply({"params": params}, place, goal))


def advantage(config: GoalHeadsConfig, critic: Any, batch: Hindsight) -> Array:
    """[B] by how much the goal came nearer than expected, in strides; near 0 is as good as any."""
    kept = config.discount ** jnp.maximum(batch.lead, 1.0)
    cost = partial(cost_to_go, critic, config)
    gained = cost(batch.place, batch.goal) - 1 + kept - kept * cost(batch.later, batch.goal)
    return gained / (1 - kept)


def imitation_loss(config: GoalHeadsConfig, critic: Any, params: Any, batch: Hindsight) -> Array:
    """Squared error of the actions taken, weighted by their advantage."""
    weight = jnp.exp(config.advantage * advantage(config, critic, batch))
    weight = jnp.minimum(weight, MOST) * (batch.lead > 0)
    size = batch.action.shape[-1]
    error = react(params, config, size, batch.place, batch.goal) - batch.action
    return jnp.sum(weight * jnp.mean(error**2, -1)) / jnp.maximum(weight.sum(), 1e-6)


def imagined_cost(
    config: GoalHeadsConfig, model: GoalModel, known: GoalParams, params: Any, batch: Hindsight
) -> Array:
    """What the policy's own way costs a planner (progress, path, leap), in strides, on average.

    For models whose latent is its embedding.
    """
    world, size = latent_world(model), batch.action.shape[-1]
    assert world.critic is not None
    assert world.distance is not None
    assert world.leap is not None
    critic, distance, leap, weights = world.critic, world.distance, world.leap, known.weights

    def one(place: Array, goal: Array) -> Array:
        def once(latent: Array, _: None) -> tuple[Array, Array]:
            action = react(params, config, size, latent, goal)
            after = world.step(known, latent, action)
            far, near = critic(known, after, goal), distance(known, after, goal)
            beyond = weights.leap * leap(known, latent, after)
            return after, weights.progress * far + weights.path * near + beyond

        return jax.lax.scan(once, place, None, config.imagined)[1].mean()

    some = slice(0, max(config.batch_size // IMAGINED_SHARE, 1))
    costs = jax.vmap(one)(batch.place[some], batch.goal[some])
    return costs.mean() / (1 - config.discount**config.stride)


def learn_policy(
    config: GoalHeadsConfig,
    critic: Any,
    table: Table,
    report: Report | None = None,
    world: tuple[GoalModel, GoalParams] | None = None,
) -> tuple[Any, float]:
    """Parameters of a policy for goals, and its last loss; without a `world` it only imitates."""
    size = table.action.shape[1]
    params = start(Reaction(config.width, size), jax.random.key(config.seed + 2), table.place)

    def loss(params: Any, batch: Hindsight) -> Array:
        error = imitation_loss(config, critic, params, batch)
        if world is None or config.imagined == 0:
            return error
        return config.imitation * error + imagined_cost(config, *world, params, batch)

    return learn(config, loss, params, table, report)
