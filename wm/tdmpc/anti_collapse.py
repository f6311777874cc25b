"""What keeps latents from collapsing, behind one interface.

Consistency alone is solved by a constant latent. Two cures are plugged in here: SimNorm with
stop-gradient targets (TD-MPC2), and SIGReg with gradients through both sides (LeJEPA).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.layers import simnorm
from wm.regularizers.sigreg import sigreg
from wm.tdmpc.config import LearnerConfig, ModelConfig

Array = jax.Array
REFERENCE_BATCH = 128


class AntiCollapse(NamedTuple):
    """A regulariser: an output activation, a penalty, and how targets are treated.

    activation(latent [..., D]) -> [..., D], the last step of encoder and dynamics.
    penalty(latents [B, T, D], key) -> scalar added to the loss.
    """

    activation: Callable[[Array], Array]
    penalty: Callable[[Array, Array], Array]
    stop_target: bool
    consistency_coef: float


def anti_collapse(model: ModelConfig, learner: LearnerConfig) -> AntiCollapse:
    """The regulariser that `model.regularizer` names."""
    if model.regularizer == "simnorm":
        return AntiCollapse(
            activation=lambda latent: simnorm(latent, model.simnorm_group),
            penalty=lambda latents, key: jnp.zeros(()),
            stop_target=True,
            consistency_coef=learner.consistency_coef,
        )

    def penalty(latents: Array, key: Array) -> Array:
        batch, steps, _ = latents.shape
        keys = jax.random.split(key, steps)
        statistic = jax.vmap(lambda z, k: sigreg(z, k, learner.sigreg_directions), (1, 0))
        scale = learner.sigreg_coef * REFERENCE_BATCH / batch
        return scale * jnp.mean(statistic(latents, keys))

    return AntiCollapse(
        activation=lambda latent: latent,
        penalty=penalty,
        stop_target=False,
        consistency_coef=learner.sigreg_consistency_coef,
    )
