"""The loop that all sampling planners share; a method is a few hooks into it.

state = search.begin(config, plan)
state = search.step(state, count)          # one iteration; `run` does all of them
plan, info = search.conclude(state)
"""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import jax
import jax.numpy as jnp

from planning import noise
from planning.config import PlannerConfig
from planning.rollout import prior_sequences, risk_averse, score
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
    """One decision of a planner, as functions that know its model and latent."""

    prior: Scored | None
    """The prior's sequences, scored before the first iteration."""
    step: Callable[[State, int], State]
    """(state, sequences to draw) -> the state after one more iteration"""
    conclude: Callable[[State], tuple[Plan, PlanInfo]]


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
    model = risk_averse(config, model)

    def scored(actions: Array) -> Scored:
        finite = jnp.isfinite(actions).all((1, 2))
        actions = jnp.where(finite[:, None, None], actions, 0.0)
        values = score(model, params, latent, actions, key)
        return Scored(actions, jnp.where(finite, values, -jnp.inf))

    return scored


def sample_candidates(
    config: PlannerConfig,
    plan: Plan,
    state: State,
    key: Array,
    count: int,
    *,
    with_mean: bool = True,
) -> tuple[Array, Array]:
    """Sequences [N, H, A] inside the bounds around the mean, and the share of clamped entries.

    The first sequence is the mean itself, unless told otherwise.
    """
    sample = noise.draw(config, key, count, state.mean.shape[1], state.mean.dtype)
    raw = state.mean[None] + state.std[None] * (sample.at[0].set(0.0) if with_mean else sample)
    actions = jnp.clip(raw, -1.0, 1.0)
    return actions, jnp.mean(raw != actions)


def moments(config: PlannerConfig, state: State, elites: Elites) -> tuple[Array, Array]:
    """Weighted mean and standard deviation [H, A] of the elites, the latter inside its limits."""
    weights = elites.weights[:, None, None]
    mean = jnp.sum(weights * elites.actions, axis=0)
    variance = jnp.sum(weights * (elites.actions - mean[None]) ** 2, axis=0)
    return mean, jnp.clip(jnp.sqrt(variance), config.min_std, config.init_std)


def elite_spread(config: PlannerConfig, state: State, elites: Elites) -> Array:
    """Standard deviation [H, A] of the finite elites, all alike; that of the state without any."""
    valid = jnp.isfinite(elites.values).astype(elites.values.dtype)
    alike = elites._replace(weights=valid / jnp.maximum(valid.sum(), 1.0))
    return jnp.where(elites.any_valid, moments(config, state, alike)[1], state.std)


def sample_elite(elites: Elites, key: Array) -> Array:
    """One elite [H, A] drawn by weight."""
    return elites.actions[jax.random.categorical(key, jnp.log(elites.weights))]


def mean_plan(config: PlannerConfig, state: State, key: Array) -> Plan:
    """The mean is executed; exploring, an elite."""
    return Plan(state.mean, state.std, sample_elite(state.elites, key))


class Method(NamedTuple):
    """The hooks by which one sampling planner differs from another (static)."""

    weigh: Callable[[PlannerConfig, Array], tuple[Array, Array]]
    """Values [K], best first -> weights [K], and whether any value is finite."""
    sample: Callable[..., tuple[Array, Array]] = sample_candidates
    """(config, plan, state, key, count) -> sequences [N, H, A], share of clamped entries"""
    update: Callable[[PlannerConfig, State, Elites], tuple[Array, Array]] = moments
    """The next mean and standard deviation [H, A]."""
    result: Callable[[PlannerConfig, State, Array], Plan] = mean_plan
    """(config, state, key) -> the plan that the search comes to."""
    kept: Callable[[PlannerConfig], int] = lambda config: 0
    """Elites that compete again in the next iteration, not scored again: values have one key."""


def make_search(
    method: Method,
    config: PlannerConfig,
    model: Model,
    params: Params,
    latent,
    plan: Plan,
    key: Array,
    prior: Scored | None = None,
) -> Search:
    """The search that refines `plan` for `latent`, one simulator.

    The prior's sequences are the same in every iteration, so they are scored once; `prior` where
    that was done before.
    """
    key_prior, key_noise, key_value, key_sample = jax.random.split(key, 4)
    scored = scorer(config, model, params, latent, key_value)
    if prior is None:
        keys = jax.random.split(key_prior, config.num_prior_samples)
        prior = scored(prior_sequences(model, params, latent, keys, config.horizon))
    keys, kept = jax.random.split(key_noise, config.num_iterations), method.kept(config)

    def step(state: State, count: int) -> State:
        actions, clipped = method.sample(config, plan, state, keys[state.iterations], count)
        new, old = scored(actions), state.elites
        again = [Scored(old.actions[:kept], old.values[:kept])] if kept else []
        # Ties go to what comes first: with nothing to tell apart, search and not the prior.
        elites = _best(config, method, [new, *again, prior])
        return _advance(config, method, state, elites, clipped, [new, prior])

    def conclude(state: State) -> tuple[Plan, PlanInfo]:
        made = method.result(config, state, key_sample)
        return report(model, params, latent, state, made)

    return Search(prior, step, conclude)


def _best(config: PlannerConfig, method: Method, candidates: list[Scored]) -> Elites:
    actions = jnp.concatenate([c.actions for c in candidates])
    values = jnp.concatenate([c.values for c in candidates])
    top_values, top = jax.lax.top_k(values, config.num_elites)
    return Elites(actions[top], top_values, *method.weigh(config, top_values))


def _advance(
    config: PlannerConfig,
    method: Method,
    state: State,
    elites: Elites,
    clipped: Array,
    scored: list[Scored],
) -> State:
    """The state after an iteration: with the next mean and spread, if any elite is valid."""
    new = method.update(config, state, elites)
    mean = jnp.where(elites.any_valid, new[0], state.mean)
    std = jnp.where(elites.any_valid, new[1], state.std)
    count = sum(s.values.shape[0] for s in scored)
    bad = sum((jnp.isinf(s.values).sum() for s in scored), jnp.zeros((), jnp.int32)) / count
    moves = [jnp.sqrt(jnp.mean((a - b) ** 2)) for a, b in ((mean, state.mean), (std, state.std))]
    settled = (moves[0] < config.stop_spread) & (moves[1] < config.stop_spread)
    return State(
        mean,
        std,
        elites,
        state.iterations + 1,
        state.clipped + clipped,
        state.bad + bad,
        settled & elites.any_valid,
    )


def run(config: PlannerConfig, search: Search, state: State) -> State:
    """All iterations, or until the search has settled.

    One loop a sample count, so the program does not grow with the iterations; a loop that can
    stop early runs, under vmap, until the last simulator has settled.
    """
    done = 0
    for count, group in groupby(config.samples_drawn):
        length = len(list(group))
        done += length
        if config.stop_spread > 0:
            state = jax.lax.while_loop(
                lambda s, end=done: (s.iterations < end) & ~s.settled,
                lambda s, n=count: search.step(s, n),
                state,
            )
        elif length > 1:
            state, _ = jax.lax.scan(
                lambda s, _, n=count: (search.step(s, n), None), state, length=length
            )
        else:
            state = search.step(state, count)
    return state


def report(model: Model, params: Params, latent, state: State, plan: Plan) -> tuple[Plan, PlanInfo]:
    """`plan`, or without a valid elite the prior's mode, held, or the plan before; the report."""
    elites = state.elites
    mean = jnp.where(elites.any_valid, plan.mean, _fallback(model, params, latent, state.mean))
    sample = jnp.where(elites.any_valid, plan.sample, mean)
    valued = jnp.where(elites.weights > 0, elites.values, 0.0)
    info = PlanInfo(
        best_value=elites.values[0],
        mean_value=jnp.sum(elites.weights * valued),
        effective_samples=1.0 / jnp.maximum(jnp.sum(elites.weights**2), 1e-9),
        elite_spread=plan.std.mean(),
        clip_fraction=state.clipped / state.iterations,
        invalid=state.bad / state.iterations,
        fallback=1.0 - elites.any_valid.astype(plan.std.dtype),
        iterations=state.iterations.astype(plan.std.dtype),
    )
    # Weights that sum to one but for rounding can carry a mean just past the bounds.
    return Plan(jnp.clip(mean, -1.0, 1.0), plan.std, sample), info


def _fallback(model: Model, params: Params, latent, mean: Array) -> Array:
    action = model.prior(params, latent, None)
    held = jnp.broadcast_to(jnp.clip(action, -1.0, 1.0), mean.shape)
    return jnp.where(jnp.isfinite(action).all(), held, mean)
