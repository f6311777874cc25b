"""What a reward-free world model is trained on, behind one interface.

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

from wm.jepa import auxiliary
from wm.jepa.config import JepaConfig, JepaLearnerConfig
from wm.layers import MLP, simnorm
from wm.regularizers import vicreg
from wm.regularizers.sigreg import sigreg

Array = jax.Array
REFERENCE_BATCH = 128


class Views(NamedTuple):
    """What the terms of an objective see of one batch: S encoded times, P and N predictions."""

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
    if unknown := [n for n in names if n not in MAKERS]:
        raise ValueError(f"learner.extra must name terms of {', '.join(MAKERS)}, got {unknown[0]}")
    width = model.predictor_width
    heads: dict[str, tuple[nn.Module, int]] = {}
    if "inverse" in names:
        heads["inverse"] = (MLP((width, width), out=action), 2 * latent)
    if "reconstruction" in names:
        heads["decoder"] = (_decoder(model, frames), latent)
    activation = partial(simnorm, group=model.simnorm_group) if name == "consistency" else _identity
    target = {"consistency": "stop", "ema": "ema"}.get(name, "online")
    terms = {n: MAKERS[n](learner, heads) for n in names if getattr(learner, f"{n}_coef") > 0}
    return Objective(name, activation, target, terms, heads)


def _decoder(model: JepaConfig, frames: tuple[int, ...]) -> nn.Module:
    if not model.pixels:
        return auxiliary.VectorDecoder(model.predictor_width, frames)
    if frames[1] % 8 or frames[2] % 8:
        raise ValueError(f"reconstruction needs pictures of multiples of 8 pixels, got {frames}")
    return auxiliary.PixelDecoder(2 * model.cnn_channels, model.predictor_width, frames)


def _prediction(learner: JepaLearnerConfig, heads: dict) -> Term:
    return lambda params, views, key: (
        learner.prediction_coef * jnp.mean((views.predicted - views.targets) ** 2)
    )


def _openloop(learner: JepaLearnerConfig, heads: dict) -> Term:
    return lambda params, views, key: (
        learner.openloop_coef * jnp.mean((views.rolled - views.rolled_targets) ** 2)
    )


def _sigreg(learner: JepaLearnerConfig, heads: dict) -> Term:
    """SIGReg of the latents of each time step, averaged over time.

    The statistic of a given departure from N(0, I) grows with the batch size B, so the
    coefficient is quoted at B = 128 and used as coef x 128 / B.
    """

    def term(params: Any, views: Views, key: Array) -> Array:
        batch, steps, _ = views.latents.shape
        keys = jax.random.split(key, steps)

        def of_step(step: tuple[Array, Array]) -> Array:
            return sigreg(*step, learner.sigreg_directions)

        # One step after the other: what is compared with sines then fits a CPU's caches.
        statistic = jax.lax.map(of_step, (jnp.swapaxes(views.latents, 0, 1), keys))
        return learner.sigreg_coef * REFERENCE_BATCH / batch * jnp.mean(statistic)

    return term


def _variance(learner: JepaLearnerConfig, heads: dict) -> Term:
    of_steps = jax.vmap(vicreg.variance_hinge, in_axes=1)
    return lambda params, views, key: learner.variance_coef * jnp.mean(of_steps(views.latents))


def _covariance(learner: JepaLearnerConfig, heads: dict) -> Term:
    of_steps = jax.vmap(vicreg.covariance, in_axes=1)
    return lambda params, views, key: learner.covariance_coef * jnp.mean(of_steps(views.latents))


def _similarity(learner: JepaLearnerConfig, heads: dict) -> Term:
    return lambda params, views, key: (
        learner.similarity_coef * auxiliary.temporal_similarity(views.latents)
    )


def _inverse(learner: JepaLearnerConfig, heads: dict) -> Term:
    module = heads["inverse"][0]

    def term(params: Any, views: Views, key: Array) -> Array:
        infer = partial(_apply, module, params["inverse"])
        error = auxiliary.inverse_dynamics(infer, views.latents, views.actions)
        return learner.inverse_coef * error

    return term


def _reconstruction(learner: JepaLearnerConfig, heads: dict) -> Term:
    """One moment of each slice, drawn at random, is decoded: decoding costs more than encoding."""
    module = heads["decoder"][0]

    def term(params: Any, views: Views, key: Array) -> Array:
        batch, steps, _ = views.latents.shape
        drawn = jnp.arange(batch), jax.random.randint(key, (batch,), 0, steps)
        decoded = jax.vmap(partial(_apply, module, params["decoder"]))(views.latents[drawn])
        return learner.reconstruction_coef * auxiliary.reconstruction(decoded, views.frames[drawn])

    return term


MAKERS: dict[str, Callable[[JepaLearnerConfig, dict], Term]] = {
    "prediction": _prediction,
    "openloop": _openloop,
    "sigreg": _sigreg,
    "variance": _variance,
    "covariance": _covariance,
    "similarity": _similarity,
    "inverse": _inverse,
    "reconstruction": _reconstruction,
}


def _apply(module: nn.Module, params: Any, x: Array) -> Array:
    return cast(Array, module.apply({"params": params}, x))


def _identity(latent: Array) -> Array:
    return latent
