"""The cost to plan for: a weighted sum of named terms, for any planner.

    cost = mean over the horizon of the stage terms + the terminal terms

Which terms are computed is static; their weights, the goal and everything else a term reads are
data. So a configurator can set weights for each task while running, every simulator can have
another goal, and one compiled program serves them all. A term that is not listed costs nothing;
one that is listed with weight 0 is computed and does not count.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from planning.types import Array, Model, Params


class PlanParams(NamedTuple):
    """The `params` of a planner: everything that is the same for all of its samples."""

    params: Params
    goal: Any
    """Compared with latents by the distance."""
    weights: Mapping[str, Any]
    """A scalar for each term that is computed, at least; traced, so changes compile nothing."""


class PlanState(NamedTuple):
    """The `latent` of a planner."""

    latent: Any
    action: Array
    """[A] the action before, whose last decision smoothness compares with."""


class Term(NamedTuple):
    """One term of the cost (static); written for ONE latent.

    stage: cost(params, goal, before: PlanState, action, latent after) -> []
    terminal: cost(params, goal, latent) -> []
    """

    cost: Callable[..., Array]
    terminal: bool = False


class CostModel(NamedTuple):
    """A world model and the terms that it can be planned for (static)."""

    step: Callable[[Params, Any, Array], Any]
    """(params, latent, action) -> latent"""
    terms: Mapping[str, Term]
    """Costs add up in this order."""
    prior: Callable[[Params, Any, Any, Array | None], Array] | None = None
    """(params, latent, goal, key or None) -> action [A]; None gives the mode"""


def on_the_way(of_latent: Callable[[Params, Any, Any], Array]) -> Term:
    """A cost (params, latent, goal) of every latent that is reached."""
    return Term(lambda params, goal, before, action, after: of_latent(params, after, goal))


def at_the_end(of_latent: Callable[[Params, Any, Any], Array]) -> Term:
    """A cost (params, latent, goal) of the last latent."""
    return Term(lambda params, goal, latent: of_latent(params, latent, goal), terminal=True)


EFFORT = Term(lambda params, goal, before, action, after: jnp.mean(action**2))
"""Mean square of the actions."""


def smoothness(block: int = 1) -> Term:
    """Mean square of the changes from one decision to the next, within a step and into it.

    The action of a step holds `block` decisions, one after the other.
    """

    def cost(params: Params, goal: Any, before: PlanState, action: Array, after: Any) -> Array:
        last = before.action.reshape(block, -1)[-1:]
        return jnp.mean(jnp.diff(action.reshape(block, -1), axis=0, prepend=last) ** 2)

    return Term(cost)


def planner_model(model: CostModel, names: Sequence[str], horizon: int) -> Model:
    """The functions every planner takes; `params` is PlanParams, `latent` a PlanState.

    Without a prior the proposed action is zero. Raises ValueError for a term that `model` lacks.
    """
    if not names:
        raise ValueError("objective: give a term")
    for name in names:
        if name not in model.terms:
            known = ", ".join(model.terms)
            raise ValueError(f"objective: this model has no term {name!r}; expected {known}")
    chosen = {name: term for name, term in model.terms.items() if name in names}

    def reward(plan: PlanParams, terminal: bool, *moment: Any) -> Array:
        """Minus the weighted costs of a moment, whose stage terms are shares of a mean."""
        total = jnp.zeros(())
        for name, term in chosen.items():
            if term.terminal == terminal:
                cost = term.cost(plan.params, plan.goal, *moment)
                total += plan.weights[name] * (cost if terminal else cost / horizon)
        return -total

    def step(plan: PlanParams, at: PlanState, action: Array) -> tuple[PlanState, Array, Array]:
        after = model.step(plan.params, at.latent, action)
        return PlanState(after, action), reward(plan, False, at, action, after), jnp.ones(())

    def value(plan: PlanParams, at: PlanState, key: Array) -> Array:
        return reward(plan, True, at.latent)

    def prior(plan: PlanParams, at: PlanState, key: Array | None) -> Array:
        if model.prior is None:
            return jnp.zeros_like(at.action)
        return model.prior(plan.params, at.latent, plan.goal, key)

    return Model(step=step, value=value, prior=prior)
