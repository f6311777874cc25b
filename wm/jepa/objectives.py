"""Objectives of reward-free world models, behind one interface.

An objective says how latents end (activation), what predictions are compared with (target), and
which terms are summed. Every term has the same arguments and is weighted by its coefficient in
the learner's settings; `learner.extra` adds terms to those of an objective.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.jepa.config import JepaConfig, JepaLearnerConfig
from wm.jepa.decoders import make_decoder
from wm.layers import MLP, simnorm
from wm.regularizers import vicreg
from wm.regularizers.sigreg import REFERENCE_BATCH, sigreg

Array = jax.Array


class Views(NamedTuple):
    """One batch as the terms of an objective see it: S encoded times, P and N predictions."""

    latents: Array
    """[B, S, D] encoded; neighbours in time are one predictor step apart."""
    frames: Array
    """[B, S, K, ...] what each was encoded from, as floats."""
    actions: Array
    """[B, S - 1, A] action blocks between them."""
    predicted: Array
    """[B, P, D] one step ahead of encoded latents."""
    targets: Array
    """[B, P, D]"""
    rolled: Array
    """[B, N, D] open loop from the first latent."""
    rolled_targets: Array
    """[B, N, D]"""


Term = Callable[[Any, Views, Array], Array]
"""term(params, views, key) -> scalar, already weighted."""


class Objective(NamedTuple):
    """An objective: loss = sum of terms (static)."""

    name: str
    activation: Callable[[Array], Array]
    """[..., D] -> [..., D], the last step of encoder and predictor."""
    target: str
    """online: gradients through targets; stop: none; ema: from a running average of the encoder."""
    terms: dict[str, Term]
    heads: dict[str, tuple[nn.Module, int]]
    """Networks that only terms need, each with the size of its input vector."""


TERMS: dict[str, tuple[str, ...]] = {
    "lewm": ("sigreg",),
    "vicreg": ("variance", "covariance", "similarity", "inverse"),
    "consistency": (),
    "ema": (),
    "frozen": (),
    "reconstruction": ("reconstruction",),
    "none": (),
}
"""Terms of each objective beside the prediction errors."""


def make_objective(
    name: str,
    model: JepaConfig,
    learner: JepaLearnerConfig,
    sizes: tuple[int, int, tuple[int, ...]],
) -> Objective:
    """The objective of that name for (latent size, action block size, shape of a history).

    Raises ValueError for a name that is not known.
    """
    if name not in TERMS:
        raise ValueError(f"objective must be one of {', '.join(TERMS)}, got {name!r}")
    latent, action, frames = sizes
    extra = tuple(t.strip() for t in learner.extra.split(",") if t.strip())
    names = tuple(dict.fromkeys(("prediction", "openloop", *TERMS[name], *extra)))
    if unknown := [n for n in names if n not in COSTS]:
        raise ValueError(f"learner.extra must name terms of {', '.join(COSTS)}, got {unknown[0]}")
    width = model.predictor_width
    heads: dict[str, tuple[nn.Module, int]] = {}
    if "inverse" in names:
        heads["inverse"] = (MLP((width, width), out=action), 2 * latent)
    if "reconstruction" in names:
        heads["decoder"] = (make_decoder(model, frames), latent)
    simnormed = name == "consistency"
    activation = partial(simnorm, group=model.simnorm_group) if simnormed else _identity
    target = {"consistency": "stop", "ema": "ema"}.get(name, "online")
    counted = [n for n in names if getattr(learner, f"{n}_coef") > 0]
    terms = {n: partial(_weighted, n, learner, heads) for n in counted}
    return Objective(name, activation, target, terms, heads)


def _weighted(
    name: str, learner: JepaLearnerConfig, heads: dict, params: Any, views: Views, key: Array
) -> Array:
    """A term of the loss.

    The statistic of SIGReg for a given departure from N(0, I) grows with the batch size B, so its
    coefficient is quoted at B = 128 and used as coef x 128 / B.
    """
    weight = getattr(learner, f"{name}_coef")
    if name == "sigreg":
        return weight * REFERENCE_BATCH / len(views.latents) * _sigreg(views, key, learner)
    if name in HEAD_OF:
        head = HEAD_OF[name]
        apply = partial(_apply, heads[head][0], params[head])
        return weight * COSTS[name](views, key, apply)
    return weight * COSTS[name](views, key)


def _sigreg(views: Views, key: Array, learner: JepaLearnerConfig) -> Array:
    """SIGReg of the latents of each time step, averaged over time."""
    keys = jax.random.split(key, views.latents.shape[1])

    def of_step(step: tuple[Array, Array]) -> Array:
        return sigreg(*step, learner.sigreg_directions)

    # One step after the other: what is compared with sines then fits a CPU's caches.
    return jnp.mean(jax.lax.map(of_step, (jnp.swapaxes(views.latents, 0, 1), keys)))


def _inverse(views: Views, key: Array, infer: Callable[[Array], Array]) -> Array:
    return inverse_dynamics(infer, views.latents, views.actions)


def _reconstruction(views: Views, key: Array, decode: Callable[[Array], Array]) -> Array:
    """One moment of each slice, drawn at random, is decoded: decoding costs more than encoding."""
    batch, steps, _ = views.latents.shape
    drawn = jnp.arange(batch), jax.random.randint(key, (batch,), 0, steps)
    return reconstruction(jax.vmap(decode)(views.latents[drawn]), views.frames[drawn])


def temporal_similarity(latents: Array) -> Array:
    """Mean squared change [] between neighbours in time of latents [B, T, D] (PLDM)."""
    return jnp.mean((latents[:, 1:] - latents[:, :-1]) ** 2)


def inverse_dynamics(infer: Callable[[Array], Array], latents: Array, actions: Array) -> Array:
    """Mean squared error [] of actions [B, T, A] inferred from neighbouring latents [B, T + 1, D].

    `infer` maps the two joined, [..., 2 D], to an action block [..., A].
    """
    joined = jnp.concatenate([latents[:, :-1], latents[:, 1:]], axis=-1)
    return jnp.mean((infer(joined) - actions) ** 2)


def reconstruction(decoded: Array, frames: Array) -> Array:
    """Share [] of the variance of frames [B, ...] that what is decoded of them leaves unexplained.

    A small thing in a wide scene is a small part of the mean square over pixels; as a share of
    what varies at all it weighs as much as the prediction of latents.
    """
    spread = jnp.mean(jnp.var(frames, axis=0))
    return jnp.mean((decoded - frames) ** 2) / jnp.maximum(spread, 1e-6)


def _mean_over_steps(of_step: Callable[[Array], Array], views: Views) -> Array:
    return jnp.mean(jax.vmap(of_step, in_axes=1)(views.latents))


COSTS: dict[str, Callable[..., Array]] = {
    "prediction": lambda views, key: jnp.mean((views.predicted - views.targets) ** 2),
    "openloop": lambda views, key: jnp.mean((views.rolled - views.rolled_targets) ** 2),
    "sigreg": _sigreg,
    "variance": lambda views, key: _mean_over_steps(vicreg.variance_hinge, views),
    "covariance": lambda views, key: _mean_over_steps(vicreg.covariance, views),
    "similarity": lambda views, key: temporal_similarity(views.latents),
    "inverse": _inverse,
    "reconstruction": _reconstruction,
}
"""Unweighted terms (views, key, the head of `HEAD_OF` as a function) -> []."""
HEAD_OF = {"inverse": "inverse", "reconstruction": "decoder"}


def _apply(module: nn.Module, params: Any, x: Array) -> Array:
    return cast(Array, module.apply({"params": params}, x))


def _identity(latent: Array) -> Array:
    return latent
