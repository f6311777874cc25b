"""What a reward-free world model is trained on, behind one interface.

An objective says how latents end (activation), what predictions are compared with (targets), and
which terms are added. Each term is one function in a file of its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.jepa_config import JepaConfig, JepaLearnerConfig
from wm.losses.sigreg import sigreg

Array = jax.Array
REFERENCE_BATCH = 128


class Views(NamedTuple):
    """What the terms of an objective see of one batch."""

    latents: Array
    """[B, N + 1, D] encoded."""
    targets: Array
    """[B, N, D] what the N predictions should be."""
    predicted: Array
    """[B, N, D] from encoded latents, one step ahead."""
    rolled: Array
    """[B, N, D] from the first latent, each step fed with the last."""
    actions: Array
    """[B, N, A] action blocks."""


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


def prediction_terms(learner: JepaLearnerConfig) -> dict[str, Term]:
    """Mean squared errors of the predictions, fed with encoded and with predicted latents."""

    def prediction(params: Any, views: Views, key: Array) -> Array:
        return jnp.mean((views.predicted - views.targets) ** 2)

    def openloop(params: Any, views: Views, key: Array) -> Array:
        return learner.openloop_coef * jnp.mean((views.rolled - views.targets) ** 2)

    return {"prediction": prediction} | ({"openloop": openloop} if learner.openloop_coef else {})


def sigreg_term(learner: JepaLearnerConfig) -> Term:
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


def make_objective(name: str, model: JepaConfig, learner: JepaLearnerConfig) -> Objective:
    """The objective of that name. Raises ValueError for a name that is not known."""
    terms = prediction_terms(learner)
    if name == "none":
        return Objective(name, _identity, "online", terms)
    if name == "lewm":
        return Objective(name, _identity, "online", terms | {"sigreg": sigreg_term(learner)})
    raise ValueError(f"objective {name!r} is not known")


def _identity(latent: Array) -> Array:
    return latent
