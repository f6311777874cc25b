"""Mode 1: a policy that reacts to a goal, learned offline; it also proposes plans.

By hindsight imitation: what was done on the way to a moment is how to get there, and actions that
brought the goal nearer than the critic expected are imitated more (advantage weights, arXiv
1910.00177). And by what the planner does: from moments and goals of the data the policy is unrolled
in the model, and descends the gradient of the planner's cost: critic, distance, reachability.
Imitation alone stands still where the data went one way as often as the other.
"""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from agents.goals.agent import GoalModel, GoalParams, cost_model
from agents.goals.config import GoalHeadsConfig
from agents.goals.critic import Report, cost_to_go, learn
from agents.goals.hindsight import Hindsight, Table
from agents.goals.networks import GoalPolicy, start
from planning.objective import PlanState

Array = jax.Array
MAX_WEIGHT = 10.0  # of an advantage
IMAGINED = ("progress", "path", "reachability")
"""Terms of the planner's cost that the policy brings down."""
IMAGINED_SHARE = 3  # one in so many rows of a batch is imagined from: it costs more than imitation


def react(params: Any, config: GoalHeadsConfig, size: int, at: Array, goal: Array) -> Array:
    """Action blocks [..., size] in (-1, 1) from embeddings [..., D] to goals [..., D]."""
    network = GoalPolicy(config.width, size)
    return cast(Array, network.apply({"params": params}, at, goal))


def advantage(config: GoalHeadsConfig, critic: Any, batch: Hindsight) -> Array:
    """[B] by how much the goal came nearer than expected, in strides; near 0 is as good as any."""
    kept = config.discount ** jnp.maximum(batch.lead, 1.0)
    cost = partial(cost_to_go, critic, config)
    after = cost(batch.next_embedding, batch.goal)
    gained = cost(batch.embedding, batch.goal) - 1 + kept - kept * after
    return gained / (1 - kept)


def imitation_loss(config: GoalHeadsConfig, critic: Any, params: Any, batch: Hindsight) -> Array:
    """Squared error of the actions taken, weighted by their advantage."""
    weight = jnp.exp(config.advantage * advantage(config, critic, batch))
    weight = jnp.minimum(weight, MAX_WEIGHT) * (batch.lead > 0)
    size = batch.action.shape[-1]
    error = react(params, config, size, batch.embedding, batch.goal) - batch.action
    return jnp.sum(weight * jnp.mean(error**2, -1)) / jnp.maximum(weight.sum(), 1e-6)


def imagined_cost(
    config: GoalHeadsConfig, model: GoalModel, known: GoalParams, params: Any, batch: Hindsight
) -> Array:
    """Mean cost to a planner of the way that the policy goes, in strides.

    For models whose latent is its embedding.
    """
    costs, size = cost_model(model), batch.action.shape[-1]

    def one(start: Array, goal: Array) -> Array:
        def once(latent: Array, _: None) -> tuple[Array, Array]:
            action = react(params, config, size, latent, goal)
            after = costs.step(known, latent, action)
            moment = known, goal, PlanState(latent, action), action, after
            return after, sum(
                (known.weights[name] * costs.terms[name].cost(*moment) for name in IMAGINED),
                jnp.zeros(()),
            )

        return jax.lax.scan(once, start, None, config.imagined)[1].mean()

    some = slice(0, max(config.batch_size // IMAGINED_SHARE, 1))
    found = jax.vmap(one)(batch.embedding[some], batch.goal[some])
    return found.mean() / (1 - config.discount**config.stride)


def learn_policy(
    config: GoalHeadsConfig,
    critic: Any,
    table: Table,
    report: Report | None = None,
    world: tuple[GoalModel, GoalParams] | None = None,
) -> tuple[Any, float]:
    """Parameters of a policy for goals, and its last loss; without a `world` it only imitates."""
    size = table.action.shape[1]
    params = start(GoalPolicy(config.width, size), jax.random.key(config.seed + 2), table.embedding)

    def loss(params: Any, batch: Hindsight) -> Array:
        error = imitation_loss(config, critic, params, batch)
        if world is None or config.imagined == 0:
            return error
        return config.imitation * error + imagined_cost(config, *world, params, batch)

    return learn(config, loss, params, table, report)
