"""One update of a reward-free world model as a pure function: state and batch in, state out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.jepa import model as jepa
from wm.jepa.frozen import Frozen
from wm.jepa.model import JepaNetworks
from wm.jepa.views import JepaBatch as JepaBatch
from wm.jepa.views import views
from wm.types import Params

Array = jax.Array


class JepaState(NamedTuple):
    """Everything learning changes."""

    params: dict[str, Params]
    target: dict[str, Params]
    """Running average of the encoder (objective ema); empty for the others."""
    opt: optax.OptState
    updates: Array
    """[] int32"""


def fixed(net: JepaNetworks) -> tuple[str, ...]:
    """Parameters that are never learned."""
    return ("normalizer", "encoder") if isinstance(net.encoder, Frozen) else ("normalizer",)


def _split(net: JepaNetworks, params: dict[str, Params]) -> tuple[dict, dict]:
    """(learned, fixed) parameters."""
    learned = {k: v for k, v in params.items() if k not in fixed(net)}
    return learned, {k: v for k, v in params.items() if k in fixed(net)}


def num_learned(net: JepaNetworks, params: dict[str, Params]) -> int:
    """Parameters that updates change."""
    return sum(x.size for x in jax.tree.leaves(_split(net, params)[0]))


def _optimiser(net: JepaNetworks, total_updates: int) -> optax.GradientTransformation:
    cfg = net.learner
    warmup = min(cfg.warmup, total_updates // 2)
    rate = optax.warmup_cosine_decay_schedule(
        0.0, cfg.learning_rate, warmup, max(total_updates, 1), cfg.learning_rate / 100
    )
    return optax.chain(
        optax.clip_by_global_norm(cfg.max_grad_norm),
        optax.adamw(rate, weight_decay=cfg.weight_decay),
    )


def init(net: JepaNetworks, key: Array, normalizer: Any = None) -> JepaState:
    """A fresh state; `normalizer` (mean and std of observations or features) is kept as it is."""
    params = jepa.init(net, key)
    if normalizer is not None:
        params["normalizer"] = jax.tree.map(jnp.asarray, normalizer)
    target = {}
    if net.objective.target == "ema":
        target = {"encoder": jax.tree.map(jnp.copy, params["encoder"])}
    opt = _optimiser(net, 1).init(_split(net, params)[0])
    return JepaState(params, target, opt, jnp.zeros((), jnp.int32))


def loss(
    net: JepaNetworks, params: Params, target: Params, batch: JepaBatch, key: Array
) -> tuple[Array, dict[str, Array]]:
    """Sum of the objective's terms, and the terms."""
    seen = views(net, params, target, batch)
    keys = jax.random.split(key, len(net.objective.terms))
    terms = {
        name: term(params, seen, k)
        for k, (name, term) in zip(keys, net.objective.terms.items(), strict=True)
    }
    metrics = {f"loss/{name}": value for name, value in terms.items()}
    return sum(terms.values(), jnp.zeros(())), metrics


def update(
    net: JepaNetworks, state: JepaState, batch: JepaBatch, key: Array, total_updates: int
) -> tuple[JepaState, dict[str, Array]]:
    """One step of AdamW: (state, metrics of scalars)."""
    learned, kept = _split(net, state.params)

    def objective(learned: Params):
        return loss(net, {**learned, **kept}, state.target, batch, key)

    (total, metrics), grads = jax.value_and_grad(objective, has_aux=True)(learned)
    steps, opt = _optimiser(net, total_updates).update(grads, state.opt, learned)
    params: dict[str, Params] = {**optax.apply_updates(learned, steps), **kept}  # pyright: ignore
    target = state.target
    if target:
        rate = net.learner.target_rate
        target = {"encoder": optax.incremental_update(params["encoder"], target["encoder"], rate)}
    metrics = {"loss/total": total, **metrics, "grad_norm": optax.tree.norm(grads)}
    return JepaState(params, target, opt, state.updates + 1), metrics
