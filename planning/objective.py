"""What to plan for: a cost that is a weighted sum of named terms, for any planner of the zoo.

    cost = mean over the horizon of the stage terms + the terminal terms

Which terms are computed is static; their weights, the goal and everything else a term reads are
data. So a configurator can set weights for each task while running, every simulator can have
another goal, and one compiled program serves them all. A term that is not listed costs nothing;
one that is listed with weight 0 is computed and does not count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from planning.types import Array, Model, Params

STAGE = ("path", "progress", "leap", "effort", "smoothness", "limits", "reward")
"""Terms of every step, averaged over the horizon: their weights do not depend on its length."""
TERMINAL = ("goal", "critic")
"""Terms of the last latent."""
TERMS = (*STAGE, *TERMINAL)


class Weights(NamedTuple):
    """Weights of the terms: traced scalars, so that changing them compiles nothing."""

    goal: Any = 1.0
    """Distance to the goal at the end of the horizon."""
    path: Any = 0.0
    """Distance to the goal at every step: get there early and stay."""
    critic: Any = 0.0
    """Learned cost to go at the end of the horizon."""
    progress: Any = 0.0
    """Learned cost to go at every step."""
    leap: Any = 0.0
    """By how much a step goes farther than it can, as the critic knows ways."""
    effort: Any = 0.0
    """Mean square of the actions."""
    smoothness: Any = 0.0
    """Mean square of the changes of action, the last executed one included."""
    limits: Any = 0.0
    """By how much limits are exceeded."""
    reward: Any = 0.0
    """Predicted reward, which is maximised."""


class PlanParams(NamedTuple):
    """What a planner gets as `params`: everything that is the same for all of its samples."""

    params: Params
    goal: Any
    """What the distance compares latents with."""
    weights: Weights


class PlanState(NamedTuple):
    """What a planner gets as `latent`."""

    latent: Any
    action: Array
    """[A] the action before, whose last decision smoothness compares with."""


@dataclass(frozen=True)
class World:
    """What a world model offers to an objective; each function is for ONE latent.

    step(params, latent, action) -> latent
    distance(params, latent, goal) -> [] at least 0
    critic(params, latent, goal) -> [] cost to go from latent to goal
    leap(params, latent, after) -> [] at least 0, 0 where one step can lead from latent to after
    reward(params, latent, action) -> [] of the step that begins at latent
    limits(params, latent, action) -> [] at least 0, 0 inside; latent is the one reached
    prior(params, latent, goal, key or None) -> action [A]; None gives the mode
    """

    step: Callable[[Params, Any, Array], Any]
    distance: Callable[[Params, Any, Any], Array] | None = None
    critic: Callable[[Params, Any, Any], Array] | None = None
    leap: Callable[[Params, Any, Any], Array] | None = None
    reward: Callable[[Params, Any, Array], Array] | None = None
    limits: Callable[[Params, Any, Array], Array] | None = None
    prior: Callable[[Params, Any, Any, Array | None], Array] | None = None


NEEDS = {
    "goal": "distance",
    "path": "distance",
    "critic": "critic",
    "progress": "critic",
    "leap": "leap",
    "reward": "reward",
    "limits": "limits",
}
"""The function of `World` that a term reads; the others need none."""


@dataclass(frozen=True)
class Objective:
    """The terms that are computed, over a horizon of so many steps (static)."""

    terms: tuple[str, ...] = ("goal",)
    horizon: int = 1
    block: int = 1
    """Decisions that the action of a step holds, one after the other."""

    def __post_init__(self):
        """Reject terms that do not exist. Raises ValueError naming the first."""
        for name in self.terms:
            if name not in TERMS:
                raise ValueError(f"objective: unknown term {name!r}; expected {', '.join(TERMS)}")
        if not self.terms or self.horizon < 1 or self.block < 1:
            raise ValueError("objective: give a term, and a horizon and block of at least 1")


def planner_model(objective: Objective, world: World) -> Model:
    """The functions every planner takes; `params` is a PlanParams, `latent` a PlanState.

    Without a prior the proposed action is zero. Raises ValueError when the world lacks a
    function that a term needs.
    """
    check(objective, world)

    def step(problem: PlanParams, at: PlanState, action: Array) -> tuple[PlanState, Array, Array]:
        after = world.step(problem.params, at.latent, action)
        costs = _stage_costs(objective, world, problem, at, action, after)
        return PlanState(after, action), -_weighted(problem, costs), jnp.ones(())

    def value(problem: PlanParams, at: PlanState, key: Array) -> Array:
        return -_weighted(problem, _terminal_costs(objective, world, problem, at.latent))

    def prior(problem: PlanParams, at: PlanState, key: Array | None) -> Array:
        if world.prior is None:
            return jnp.zeros_like(at.action)
        return world.prior(problem.params, at.latent, problem.goal, key)

    return Model(step=step, value=value, prior=prior)


def explain(
    objective: Objective, world: World, problem: PlanParams, at: PlanState, actions: Array
) -> dict[str, Array]:
    """Weighted cost [] of every term for one action sequence [H, A]; their sum is -score."""
    check(objective, world)

    def step(at: PlanState, action: Array):
        after = world.step(problem.params, at.latent, action)
        costs = _stage_costs(objective, world, problem, at, action, after)
        return PlanState(after, action), costs

    at, stage = jax.lax.scan(step, at, actions)
    costs = {name: cost.sum() for name, cost in stage.items()}
    costs |= _terminal_costs(objective, world, problem, at.latent)
    return {name: getattr(problem.weights, name) * cost for name, cost in costs.items()}


def check(objective: Objective, world: World) -> None:
    """Raises ValueError when the world lacks a function that a term needs."""
    for name in objective.terms:
        function = NEEDS.get(name)
        if function and getattr(world, function) is None:
            raise ValueError(f"objective: the term {name} needs a model with {function}")


def _stage_costs(
    objective: Objective,
    world: World,
    problem: PlanParams,
    before: PlanState,
    action: Array,
    after: Any,
) -> dict[str, Array]:
    """Unweighted costs of one step; over the whole horizon they add up to means."""
    params, goal = problem.params, problem.goal
    known: dict[str, Callable[[], Array]] = {
        "path": lambda: _of(world.distance)(params, after, goal),
        "progress": lambda: _of(world.critic)(params, after, goal),
        "leap": lambda: _of(world.leap)(params, before.latent, after),
        "effort": lambda: jnp.mean(action**2),
        "smoothness": lambda: _changes(objective.block, before.action, action),
        "limits": lambda: _of(world.limits)(params, after, action),
        "reward": lambda: -_of(world.reward)(params, before.latent, action),
    }
    return {n: known[n]() / objective.horizon for n in STAGE if n in objective.terms}


def _changes(block: int, before: Array, action: Array) -> Array:
    """Mean square of the changes from one decision to the next, within a step and into it."""
    made = action.reshape(block, -1)
    last = before.reshape(block, -1)[-1:]
    return jnp.mean(jnp.diff(made, axis=0, prepend=last) ** 2)


def _terminal_costs(
    objective: Objective, world: World, problem: PlanParams, latent: Any
) -> dict[str, Array]:
    known = {"goal": world.distance, "critic": world.critic}
    return {
        name: _of(known[name])(problem.params, latent, problem.goal)
        for name in TERMINAL
        if name in objective.terms
    }


def _weighted(problem: PlanParams, costs: dict[str, Array]) -> Array:
    total = jnp.zeros(())
    for name, cost in costs.items():
        total += getattr(problem.weights, name) * cost
    return total


def _of(function: Callable[..., Array] | None) -> Callable[..., Array]:
    """A function that `check` has found to be there."""
    assert function is not None
    return function
