"""From slices of episodes to what the terms of an objective compare.

A slice of L rows becomes N + 1 moments (`anchors`), one predictor step apart. With a vector
latent each is encoded from its own history; with a transformer every frame is encoded once, the
history before the first moment included, and each moment has the window that ends there.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.jepa.model import JepaNetworks, Window
from wm.jepa.objectives import Views
from wm.types import Params

Array = jax.Array


class JepaBatch(NamedTuple):
    """B slices of L = `slice_rows` consecutive rows of an episode."""

    frames: Array
    """[B, L, ...] observation vectors (float32) or pictures (uint8)."""
    action: Array
    """[B, L, A]; row t's action leads to row t + 1, that of the last row is not used."""


def views(net: JepaNetworks, params: Params, target_params: Params, batch: JepaBatch) -> Views:
    """Latents, predictions and targets of a batch; target_params encode the targets of ema."""
    make = _windowed if net.config.windowed else _stacked
    return make(net, params, target_params, batch)


def rollout(net: JepaNetworks, params: Params, latent: Any, actions: Array) -> Array:
    """Vectors [B, N, D] of open-loop predictions from latents [B, ...] under [B, N, A]."""
    step = jax.vmap(lambda z, a: net.step(params, z, a))
    embed = jax.vmap(lambda z: net.embed(params, z))

    def once(z: Any, action: Array) -> tuple[Any, Array]:
        z = step(z, action)
        return z, embed(z)

    _, rolled = jax.lax.scan(once, latent, jnp.swapaxes(actions, 0, 1))
    return jnp.swapaxes(rolled, 0, 1)


def blocks(net: JepaNetworks, batch: JepaBatch, first: int, count: int) -> Array:
    """`count` action blocks [B, count, A] from row `first` on."""
    rows = batch.action[:, first : first + count * net.config.action_block]
    return rows.reshape(rows.shape[0], count, net.action_size)


def _stacked(net: JepaNetworks, params: Params, target_params: Params, batch: JepaBatch) -> Views:
    cfg, steps = net.config, net.learner.rollout
    first = (cfg.history - 1) * cfg.spacing
    last_row = first + cfg.action_block * jnp.arange(steps + 1)
    back = cfg.spacing * jnp.arange(cfg.history - 1, -1, -1)
    frames = net.normalize(params, batch.frames[:, last_row[:, None] - back[None]])
    actions = blocks(net, batch, first, steps)
    latents, targets = _encode(net, params, target_params, frames)
    predict = jax.vmap(jax.vmap(lambda z, a: net.step(params, z, a)))
    rolled = rollout(net, params, latents[:, 0], actions)
    predicted, targets = predict(latents[:, :-1], actions), targets[:, 1:]
    return Views(latents, frames, actions, predicted, targets, rolled, targets)


def _windowed(net: JepaNetworks, params: Params, target_params: Params, batch: JepaBatch) -> Views:
    cfg, steps = net.config, net.learner.rollout
    moments = cfg.history + steps
    frames = net.normalize(params, batch.frames[:, :: cfg.spacing][:, :moments])[:, :, None]
    actions = blocks(net, batch, 0, moments - 1)
    latents, targets = _encode(net, params, target_params, frames)
    window = jnp.arange(steps)[:, None] + jnp.arange(cfg.history)[None]
    past = latents[:, window], actions[:, window[:, :-1]], actions[:, window[:, -1]]

    def predict(vectors: Array, before: Array, action: Array) -> Array:
        return net.predict_window(params, net.window(vectors, before), action)

    # Every position of a window is a prediction: from one frame, from two, and so on.
    predicted = jax.vmap(jax.vmap(predict))(*past)
    size = latents.shape[-1]
    start: Window = jax.vmap(net.window)(latents[:, : cfg.history])
    rolled = rollout(net, params, start, actions[:, cfg.history - 1 :])
    return Views(
        latents=latents,
        frames=frames,
        actions=actions,
        predicted=predicted.reshape(len(latents), -1, size),
        targets=targets[:, window + 1].reshape(len(latents), -1, size),
        rolled=rolled,
        rolled_targets=targets[:, cfg.history :],
    )


def _encode(
    net: JepaNetworks, params: Params, target_params: Params, frames: Array
) -> tuple[Array, Array]:
    """Latents [B, S, D] of normalised frames [B, S, K, ...], and the targets made of them."""

    def encode(own: Params) -> Array:
        return jax.vmap(jax.vmap(lambda f: net.encode_normalized(own, f)))(frames)

    latents = encode(params)
    if net.objective.target == "ema":
        return latents, jax.lax.stop_gradient(encode({**params, **target_params}))
    if net.objective.target == "stop":
        return latents, jax.lax.stop_gradient(latents)
    return latents, latents
