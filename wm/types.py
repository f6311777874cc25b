"""World models as planners and learners see them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
Params = Any


class Spec(NamedTuple):
    """Sizes and time scale of the task a model is built for (static)."""

    obs_dim: int
    action_dim: int
    discount: float
    tasks: int = 0
    """Tasks of a model of several, whose observations end as `tdmpc.tasks` says; 0: one."""


class LatentModel(NamedTuple):
    """A latent world model as functions, each written for ONE latent; callers vmap.

    encode(params, obs [O]) -> latent [D]
    step(params, latent [D], action [A]) -> (latent [D], reward [], discount [])
    value(params, latent [D], key) -> [] estimate of the discounted return from latent
    prior(params, latent [D], key) -> action [A]; key None gives the prior's mode
    values(params, latent [D], key) -> [heads] the same estimate of every member of the ensemble
    """

    encode: Callable[[Params, Array], Array]
    step: Callable[[Params, Array, Array], tuple[Array, Array, Array]]
    value: Callable[[Params, Array, Array], Array]
    prior: Callable[[Params, Array, Array | None], Array]
    values: Callable[[Params, Array, Array], Array]


EPISODE_SHARE = 5
"""An episode is this many times as long as the discount looks ahead."""
DISCOUNTS = (0.95, 0.995)
"""The least and the greatest discount."""


def discount_for(episode_steps: int) -> float:
    """Discount for episodes of `episode_steps` decisions (TD-MPC2, section 3).

    0 stands for "no time limit" and gives the longest horizon.
    """
    low, high = DISCOUNTS
    if episode_steps <= 0:
        return high
    fraction = episode_steps / EPISODE_SHARE
    return min(max((fraction - 1) / fraction, low), high)
