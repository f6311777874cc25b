"""What sampling planners share: candidates, elites, the loop of refinements, the report.

A planner is a rule that makes the next mean and spread from the elites; the rest is here.
"""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import jax
import jax.numpy as jnp

from planning import noise
from planning.config import PlannerConfig
from planning.risk import averse
from planning.rollout import prior_sequences, score
from planning.types import Array, Model, Params, Plan, PlanInfo


class Elites(NamedTuple):
    """The K best sequences, best first."""

    actions: Array
    """[K, H, A]"""
    values: Array
    """[K]; -inf where a sequence was not finite."""
    weights: Array
    """[K], a distribution over the finite ones; all zero when there is none."""
    any_valid: Array


class Scored(NamedTuple):
    """Sequences [N, H, A] and their values [N]."""

    actions: Array
    values: Array


class State(NamedTuple):
    """The search between two iterations."""

    mean: Array
    std: Array
    elites: Elites
    iterations: Array
    """Iterations done, an integer."""
    clipped: Array
    """Sum over iterations of the share of clamped action entries."""
    bad: Array
    """Sum over iterations of the share of sequences that were not finite."""
    settled: Array


class Search(NamedTuple):
    """What a planner does for one decision: functions that know its model and latent."""

    led: Scored
    """The prior's sequences, scored before the first iteration."""
    key: Array
    """Of the noise of all iterations."""
    iterate: Callable[[State, Array, int], State]
    """(state, key, samples to draw) -> state"""
    conclude: Callable[[State], tuple[Plan, PlanInfo]]


def whole(config: PlannerConfig, search: Search, plan: Plan) -> tuple[Plan, PlanInfo]:
    """All iterations from `plan`, and what they come to."""
    return search.conclude(refine(config, search.iterate, begin(config, plan), search.key))


def init(config: PlannerConfig, action_dim: int) -> Plan:
    """A plan of zero actions and the widest spread."""
    shape = (config.horizon, action_dim)
    zeros = jnp.zeros(shape, jnp.float32)
    return Plan(zeros, jnp.full(shape, config.init_std, jnp.float32), zeros)


def begin(config: PlannerConfig, plan: Plan) -> State:
    """The state before the first iteration: no elite is valid yet."""
    dtype, count = plan.mean.dtype, config.num_elites
    elites = Elites(
        jnp.zeros((count, *plan.mean.shape), dtype),
        jnp.full(count, -jnp.inf, dtype),
        jnp.zeros(count, dtype),
        jnp.asarray(False),
    )
    zero = jnp.zeros((), dtype)
    return State(plan.mean, plan.std, elites, jnp.zeros((), int), zero, zero, jnp.asarray(False))


def scorer(
    config: PlannerConfig, model: Model, params: Params, latent, key: Array
) -> Callable[[Array], Scored]:
    """Gives sequences [N, H, A] their values, all with one key: they compare on equal terms.

    A sequence that is not finite (a prior may give one) becomes zeros worth -inf: it weighs
    nothing, and nothing times NaN would still be NaN.
    """
    model = averse(config, model)

    def scored(actions: Array) -> Scored:
        finite = jnp.isfinite(actions).all((1, 2))
        actions = jnp.where(finite[:, None, None], actions, 0.0)
        values = score(model, params, latent, actions, key)
        return Scored(actions, jnp.where(finite, values, -jnp.inf))

    return scored


def opening(
    config: PlannerConfig, model: Model, params: Params, latent, key: Array, led: Scored | None
) -> tuple[Callable[[Array], Scored], Scored, Array, Array]:
    """What a search begins with: its scorer, the prior's sequences, keys of noise and of a draw.

    The sequences are the same in every iteration, so they are scored once, or were before (`led`).
    """
    key_prior, key_noise, key_value, key_pick = jax.random.split(key, 4)
    scored = scorer(config, model, params, latent, key_value)
    if led is None:
        keys = jax.random.split(key_prior, config.num_prior_samples)
        led = scored(prior_sequences(model, params, latent, keys, config.horizon))
    return scored, led, key_noise, key_pick


def around(
    config: PlannerConfig, state: State, key: Array, count: int, *, with_mean: bool = True
) -> tuple[Array, Array]:
    """Sequences [N, H, A] inside the bounds around the mean, and the share of clamped entries.

    The first sequence is the mean itself, unless told otherwise.
    """
    sample = noise.draw(config, key, count, state.mean.shape[1], state.mean.dtype)
    raw = state.mean[None] + state.std[None] * (sample.at[0].set(0.0) if with_mean else sample)
    actions = jnp.clip(raw, -1.0, 1.0)
    return actions, jnp.mean(raw != actions)


def best(
    config: PlannerConfig, weigh: Callable[[Array], tuple[Array, Array]], *candidates: Scored
) -> Elites:
    """The elites among candidates; `weigh` maps values [K] to weights [K] and whether any holds.

    Ties go to what comes first.
    """
    actions = jnp.concatenate([c.actions for c in candidates])
    values = jnp.concatenate([c.values for c in candidates])
    top_values, top = jax.lax.top_k(values, config.num_elites)
    return Elites(actions[top], top_values, *weigh(top_values))


def moments(config: PlannerConfig, elites: Elites) -> tuple[Array, Array]:
    """Weighted mean and standard deviation [H, A] of the elites, the latter inside its limits."""
    weights = elites.weights[:, None, None]
    mean = jnp.sum(weights * elites.actions, axis=0)
    variance = jnp.sum(weights * (elites.actions - mean[None]) ** 2, axis=0)
    return mean, jnp.clip(jnp.sqrt(variance), config.min_std, config.init_std)


def spread(config: PlannerConfig, elites: Elites) -> Array:
    """Standard deviation [H, A] of the finite elites, all alike, inside its limits."""
    valid = jnp.isfinite(elites.values).astype(elites.values.dtype)
    return moments(config, elites._replace(weights=valid / jnp.maximum(valid.sum(), 1.0)))[1]


def advance(
    config: PlannerConfig,
    state: State,
    elites: Elites,
    new: tuple[Array, Array],
    clipped: Array,
    *scored: Scored,
) -> State:
    """The state after an iteration: the `new` mean and spread, if any elite is valid."""
    mean = jnp.where(elites.any_valid, new[0], state.mean)
    std = jnp.where(elites.any_valid, new[1], state.std)
    count = sum(s.values.shape[0] for s in scored)
    bad = sum((jnp.isinf(s.values).sum() for s in scored), jnp.zeros((), jnp.int32)) / count
    settled = (_distance(mean, state.mean) < config.stop_spread) & (
        _distance(std, state.std) < config.stop_spread
    )
    return State(
        mean,
        std,
        elites,
        state.iterations + 1,
        state.clipped + clipped,
        state.bad + bad,
        settled & elites.any_valid,
    )


def _distance(a: Array, b: Array) -> Array:
    return jnp.sqrt(jnp.mean((a - b) ** 2))


def refine(
    config: PlannerConfig, iterate: Callable[[State, Array, int], State], state: State, key: Array
) -> State:
    """Iterate (state, key, samples to draw) -> state until the iterations are done or it settles.

    One loop a sample count, so the program does not grow with the iterations; a loop that can
    stop early runs, under vmap, until the last simulator has settled.
    """
    keys = jax.random.split(key, config.num_iterations)
    done = 0
    for count, group in groupby(config.samples_drawn):
        start, done = done, done + len(list(group))
        if config.stop_spread == 0:
            state, _ = jax.lax.scan(
                lambda s, k, n=count: (iterate(s, k, n), None), state, keys[start:done]
            )
        else:
            state = jax.lax.while_loop(
                lambda s, end=done: (s.iterations < end) & ~s.settled,
                lambda s, n=count: iterate(s, keys[s.iterations], n),
                state,
            )
    return state


def fallback(model: Model, params: Params, latent, mean: Array) -> Array:
    """The prior's mode held over the horizon when it is finite, else the previous plan."""
    action = model.prior(params, latent, None)
    held = jnp.broadcast_to(jnp.clip(action, -1.0, 1.0), mean.shape)
    return jnp.where(jnp.isfinite(action).all(), held, mean)


def conclude(
    model: Model, params: Params, latent, state: State, mean: Array, sample: Array
) -> tuple[Plan, PlanInfo]:
    """The plan that executes `mean` (exploring: `sample`), or falls back; and the report."""
    elites = state.elites
    mean = jnp.where(elites.any_valid, mean, fallback(model, params, latent, state.mean))
    sample = jnp.where(elites.any_valid, sample, mean)
    valued = jnp.where(elites.weights > 0, elites.values, 0.0)
    info = PlanInfo(
        best_value=elites.values[0],
        mean_value=jnp.sum(elites.weights * valued),
        effective_samples=1.0 / jnp.maximum(jnp.sum(elites.weights**2), 1e-9),
        elite_spread=state.std.mean(),
        clip_fraction=state.clipped / state.iterations,
        invalid=state.bad / state.iterations,
        fallback=1.0 - elites.any_valid.astype(state.std.dtype),
        iterations=state.iterations.astype(state.std.dtype),
    )
    # Weights that sum to one but for rounding can carry a mean just past the bounds.
    return Plan(jnp.clip(mean, -1.0, 1.0), state.std, sample), info


def drawn(elites: Elites, key: Array) -> Array:
    """One elite [H, A] drawn by weight."""
    return elites.actions[jax.random.categorical(key, jnp.log(elites.weights))]
