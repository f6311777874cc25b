"""Adam on action sequences, by gradients through the model, from several starts.

Starts are the plan itself, sequences of the prior and noise around the plan. Each climbs on its
own; the best sequence any of them has passed is the plan. A start whose value is not finite is
moved to the best point it has seen, or drawn afresh around the plan while it has seen none; a
gradient that is not finite moves nothing.

Cheap where the model is smooth and right; where it is neither, gradients lead into its errors,
which is what the samplers beside it are for.

A decision costs horizon x (L + R (I + 1)) model steps: R = num_restarts, of which L are rolled
out by the prior (at most half, at most num_prior_samples); I = num_iterations. I of the I + 1
run backward too, which costs about twice a step more.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from planning import search
from planning.config import PlannerConfig
from planning.methods.predictive_sampling import weigh
from planning.rollout import prior_sequences
from planning.types import Array, Model, Params, Plan, PlanInfo

BETAS = (0.9, 0.999)
"""Adam's, for the mean of the slope and of its square."""


class _Climb(NamedTuple):
    """R starts on their way; every array is [R, H, A] but `values` [R]."""

    x: Array
    """Where each is; `_actions` of it are inside the bounds."""
    slope: Array
    square: Array
    best: Array
    """The best x each has passed."""
    values: Array
    """Value of `best`; -inf until one was finite."""


def make_search(
    config: PlannerConfig,
    model: Model,
    params: Params,
    latent,
    plan: Plan,
    key: Array,
    prior: search.Scored | None = None,
) -> search.Search:
    """The search that refines `plan` for `latent` (one simulator), all in one step.

    Its step sizes are laid out over all iterations, so it cannot stop between them.
    """

    def step(state: search.State, count: int) -> search.State:
        key_start, key_fresh, key_value = jax.random.split(key, 3)
        scored = search.scorer(config, model, params, latent, key_value)
        start = _place(config, _starts(config, model, params, latent, plan, key_start))
        return _climb(config, scored, plan, start, key_fresh)

    def conclude(state: search.State) -> tuple[Plan, PlanInfo]:
        made = Plan(state.mean, state.std, state.mean)
        return search.report(model, params, latent, state, made)

    return search.Search(prior, step, conclude)


def _climb(
    config: PlannerConfig,
    scored: Callable[[Array], search.Scored],
    plan: Plan,
    start: Array,
    key: Array,
) -> search.State:
    """All iterations from `start` [R, H, A]."""

    def total(x: Array) -> tuple[Array, Array]:
        values = scored(_actions(config, x)).values
        return jnp.sum(jnp.where(jnp.isfinite(values), values, 0.0)), values

    def iterate(climb: _Climb, now: tuple[Array, Array]) -> tuple[_Climb, tuple[Array, Array]]:
        step, key = now
        (_, values), slope = jax.value_and_grad(total, has_aux=True)(climb.x)
        at_bounds = jnp.mean(jnp.abs(_actions(config, climb.x)) >= 0.999)
        fresh = _place(config, _around(config, plan, key, config.num_restarts))
        moved = _ascend(config, _remember(climb, values), slope, step)
        return _rescue(moved, jnp.isfinite(values), fresh), (at_bounds, jnp.isinf(values).mean())

    zeros, worst = jnp.zeros_like(start), jnp.full(len(start), -jnp.inf, start.dtype)
    steps = jnp.arange(config.num_iterations, dtype=start.dtype)
    now = (steps, jax.random.split(key, config.num_iterations))
    climb, health = jax.lax.scan(iterate, _Climb(start, zeros, zeros, start, worst), now)
    climb = _remember(climb, scored(_actions(config, climb.x)).values)
    return _state(config, plan, climb, health)


def _actions(config: PlannerConfig, x: Array) -> Array:
    return jnp.tanh(x) if config.projection == "tanh" else x


def _place(config: PlannerConfig, actions: Array) -> Array:
    """The x of actions; before a tanh, bounds are approached but not reached."""
    if config.projection == "tanh":
        return jnp.arctanh(jnp.clip(actions, -0.98, 0.98))
    return jnp.clip(actions, -1.0, 1.0)


def _around(config: PlannerConfig, plan: Plan, key: Array, count: int) -> Array:
    noise = jax.random.normal(key, (count, *plan.mean.shape), plan.mean.dtype)
    return jnp.clip(plan.mean[None] + plan.std[None] * noise, -1.0, 1.0)


def _starts(
    config: PlannerConfig, model: Model, params: Params, latent, plan: Plan, key: Array
) -> Array:
    """Sequences [R, H, A]: the plan, the prior's, and noise around the plan."""
    key_prior, key_noise = jax.random.split(key)
    keys = jax.random.split(key_prior, config.prior_restarts)
    prior = prior_sequences(model, params, latent, keys, config.horizon)
    noisy = _around(config, plan, key_noise, config.num_restarts - 1 - config.prior_restarts)
    prior = jnp.where(jnp.isfinite(prior), prior, 0.0)
    return jnp.concatenate([plan.mean[None], prior, noisy])


def _remember(climb: _Climb, values: Array) -> _Climb:
    better = values > climb.values
    best = jnp.where(better[:, None, None], climb.x, climb.best)
    return climb._replace(best=best, values=jnp.maximum(values, climb.values))


def _ascend(config: PlannerConfig, climb: _Climb, slope: Array, step: Array) -> _Climb:
    """One step of Adam upwards; entries whose slope is not finite stay."""
    slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
    mean = BETAS[0] * climb.slope + (1 - BETAS[0]) * slope
    square = BETAS[1] * climb.square + (1 - BETAS[1]) * slope**2
    unbiased = mean / (1 - BETAS[0] ** (step + 1))
    scale = jnp.sqrt(square / (1 - BETAS[1] ** (step + 1))) + 1e-8
    rate = config.learning_rate * (1 - step / config.num_iterations)
    x = climb.x + rate * unbiased / scale
    if config.projection == "clip":
        x = jnp.clip(x, -1.0, 1.0)
    return climb._replace(x=x, slope=mean, square=square)


def _rescue(climb: _Climb, valid: Array, fresh: Array) -> _Climb:
    """Starts that are not `valid` [R] go on from their best point, or else from `fresh`."""
    valid, seen = valid[:, None, None], jnp.isfinite(climb.values)[:, None, None]
    return climb._replace(
        x=jnp.where(valid, climb.x, jnp.where(seen, climb.best, fresh)),
        slope=jnp.where(valid, climb.slope, 0.0),
        square=jnp.where(valid, climb.square, 0.0),
    )


def _state(
    config: PlannerConfig, plan: Plan, climb: _Climb, health: tuple[Array, Array]
) -> search.State:
    """The starts as elites of which the first alone counts; their spread is only reported."""
    values, order = jax.lax.top_k(climb.values, config.num_restarts)
    weights, any_valid = weigh(config, values)
    elites = search.Elites(_actions(config, climb.best[order]), values, weights, any_valid)
    mean = jnp.where(any_valid, elites.actions[0], plan.mean)
    iterations = jnp.asarray(config.num_iterations)
    clipped, bad = (share.sum() for share in health)
    state = search.State(mean, plan.std, elites, iterations, clipped, bad, jnp.asarray(False))
    return state._replace(std=search.elite_spread(config, state, elites))
