"""One learner update as a pure function: TrainState and a batch in, TrainState and metrics out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.tdmpc import model as tdmpc
from wm.tdmpc.losses import Batch, model_loss, prior_loss
from wm.tdmpc.model import Networks
from wm.types import Params

Array = jax.Array
PRIOR_ADAM_EPS = 1e-5  # arXiv 2310.16828, hyper-parameter table


class TrainState(NamedTuple):
    """Everything learning changes."""

    params: dict[str, Params]
    average: dict[str, Params]
    """Running average of params: what is evaluated and deployed. It does not jump about as one
    update after another pulls this way and that."""
    target_value: Params
    model_opt: optax.OptState
    prior_opt: optax.OptState
    value_scale: Array
    """[] running 5-95 percentile range of values, at least 1."""
    updates: Array
    """[] int32"""


def _optimisers(net: Networks) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    cfg = net.learner
    clip = optax.clip_by_global_norm(cfg.max_grad_norm)
    model = optax.chain(clip, optax.adam(cfg.learning_rate))
    prior = optax.chain(clip, optax.adam(cfg.learning_rate, eps=PRIOR_ADAM_EPS))
    return model, prior


def _split(params: dict[str, Params]) -> tuple[dict[str, Params], Params]:
    return {k: v for k, v in params.items() if k != "prior"}, params["prior"]


def init(net: Networks, key: Array) -> TrainState:
    """A fresh TrainState."""
    params = tdmpc.init(net, key)
    model_params, prior_params = _split(params)
    model, prior = _optimisers(net)
    return TrainState(
        params=params,
        average=jax.tree.map(jnp.copy, params),
        target_value=jax.tree.map(jnp.copy, params["value"]),
        model_opt=model.init(model_params),
        prior_opt=prior.init(prior_params),
        value_scale=jnp.ones((), jnp.float32),
        updates=jnp.zeros((), jnp.int32),
    )


def update(net: Networks, state: TrainState, batch: Batch, key: Array):
    """One step on model and prior: (TrainState, metrics of scalars)."""
    key_model, key_prior = jax.random.split(key)
    model_opt, prior_opt = _optimisers(net)
    model_params, prior_params = _split(state.params)

    def loss(p):
        joined = {**p, "prior": prior_params}
        return model_loss(joined, net, state.target_value, batch, key_model)

    grads, (latents, metrics) = jax.grad(loss, has_aux=True)(model_params)
    steps, model_state = model_opt.update(grads, state.model_opt, model_params)
    model_params = _apply(model_params, steps, net.learner.encoder_lr_scale)

    latents = jax.lax.stop_gradient(latents)
    grads_prior, (values, prior_metrics) = jax.grad(prior_loss, has_aux=True)(
        prior_params, net, model_params, latents, batch.mask, state.value_scale, key_prior
    )
    steps, prior_state = prior_opt.update(grads_prior, state.prior_opt, prior_params)
    prior_params = optax.apply_updates(prior_params, steps)

    rate = net.learner.target_rate
    params = {**model_params, "prior": prior_params}
    new = TrainState(
        params=params,
        average=_average(state.average, params, net.learner.average_rate),
        target_value=optax.incremental_update(model_params["value"], state.target_value, rate),
        model_opt=model_state,
        prior_opt=prior_state,
        value_scale=_running_scale(state.value_scale, values, rate),
        updates=state.updates + 1,
    )
    metrics = {
        **metrics,
        **prior_metrics,
        "grad_norm": optax.tree.norm(grads),
        "value_scale": new.value_scale,
    }
    return new, metrics


def _apply(params: dict[str, Params], steps: Any, encoder_scale: float) -> dict[str, Params]:
    """Parameters after an optimiser's steps; those of the encoder are shortened."""
    slow = jax.tree.map(lambda step: encoder_scale * step, steps["encoder"])
    return dict(optax.apply_updates(params, {**steps, "encoder": slow}))  # pyright: ignore


def _average(old: dict[str, Params], new: dict[str, Params], rate: float) -> dict[str, Params]:
    return jax.tree.map(lambda o, n: o + rate * (n - o), old, new)


def _running_scale(scale: Array, values: Array, rate: float) -> Array:
    low, high = jnp.percentile(values, jnp.array([5.0, 95.0], values.dtype))
    return jnp.maximum(scale + rate * (high - low - scale), 1.0)
