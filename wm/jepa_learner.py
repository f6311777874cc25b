"""One update of a reward-free world model as a pure function: state and batch in, state out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm import jepa
from wm.jepa import JepaNetworks
from wm.losses.objectives import Views
from wm.types import Params

Array = jax.Array
NOT_LEARNED = ("normalizer",)


class JepaBatch(NamedTuple):
    """B slices of L = `slice_rows` consecutive rows of an episode."""

    frames: Array
    """[B, L, ...] observation vectors (float32) or pictures (uint8)."""
    action: Array
    """[B, L, A]; row t's action leads to row t + 1, that of the last row is not used."""


class JepaState(NamedTuple):
    """Everything learning changes."""

    params: dict[str, Params]
    opt: optax.OptState
    updates: Array
    """[] int32"""


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
    """A fresh state; `normalizer` (mean and std of observation vectors) is kept as it is."""
    params = jepa.init(net, key)
    if normalizer is not None:
        params["normalizer"] = jax.tree.map(jnp.asarray, normalizer)
    opt = _optimiser(net, 1).init(_learned(params))
    return JepaState(params, opt, jnp.zeros((), jnp.int32))


def _learned(params: dict[str, Params]) -> dict[str, Params]:
    return {k: v for k, v in params.items() if k not in NOT_LEARNED}


def anchors(net: JepaNetworks, batch: JepaBatch) -> tuple[Array, Array]:
    """Frames [B, N + 1, history, ...] of each latent, action blocks [B, N, action_size]."""
    cfg, steps = net.config, net.learner.rollout
    first = (cfg.history - 1) * cfg.spacing
    last_row = first + cfg.action_block * jnp.arange(steps + 1)
    back = cfg.spacing * jnp.arange(cfg.history - 1, -1, -1)
    frames = batch.frames[:, last_row[:, None] - back[None]]
    actions = batch.action[:, first : first + steps * cfg.action_block]
    return frames, actions.reshape(actions.shape[0], steps, -1)


def views(net: JepaNetworks, params: Params, batch: JepaBatch) -> Views:
    """Latents, predictions and targets of a batch."""
    frames, actions = anchors(net, batch)
    encode = jax.vmap(jax.vmap(lambda f: net.encode(params, f)))
    latents = encode(frames)
    predict = jax.vmap(jax.vmap(lambda z, a: net.step(params, z, a)))
    predicted = predict(latents[:, :-1], actions)
    rolled = rollout(net, params, latents[:, 0], actions)
    targets = latents[:, 1:]
    return Views(latents, targets, predicted, rolled, actions)


def rollout(net: JepaNetworks, params: Params, latent: Any, actions: Array) -> Array:
    """Embeddings [B, N, D] of open-loop predictions under actions [B, N, action_size]."""
    step = jax.vmap(lambda z, a: net.step(params, z, a))
    embed = jax.vmap(lambda z: net.embed(params, z))

    def once(z: Any, action: Array) -> tuple[Any, Array]:
        z = step(z, action)
        return z, embed(z)

    _, rolled = jax.lax.scan(once, latent, jnp.swapaxes(actions, 0, 1))
    return jnp.swapaxes(rolled, 0, 1)


def loss(
    net: JepaNetworks, params: Params, batch: JepaBatch, key: Array
) -> tuple[Array, dict[str, Array]]:
    """Sum of the objective's terms, and the terms."""
    seen = views(net, params, batch)
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
    learned = _learned(state.params)
    fixed = {k: v for k, v in state.params.items() if k in NOT_LEARNED}

    def objective(learned: Params):
        return loss(net, {**learned, **fixed}, batch, key)

    (total, metrics), grads = jax.value_and_grad(objective, has_aux=True)(learned)
    steps, opt = _optimiser(net, total_updates).update(grads, state.opt, learned)
    learned = optax.apply_updates(learned, steps)
    metrics = {"loss/total": total, **metrics, "grad_norm": optax.tree.norm(grads)}
    return JepaState({**learned, **fixed}, opt, state.updates + 1), metrics  # pyright: ignore


def num_learned(params: dict[str, Params]) -> int:
    """Parameters that updates change."""
    return sum(x.size for x in jax.tree.leaves(_learned(params)))
