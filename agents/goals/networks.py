"""The goal heads: how far it is to a goal, and what to do about it.

Both first turn embeddings into directions of equal spread. A world model keeps what it predicts in
directions as large as its objective wants them; those that tell near from far may be a hundredth of
the largest. Where that layer begins is computed from the data, from there on it learns.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.layers import MLP, ensemble

Array = jax.Array
HEADS = 2
PLACES = 32
"""Size of the space that a distance is measured in."""
FLOOR = 1e-4
"""Share of the largest variance below which a direction is not stretched any further."""
FAR = 10.0
"""Decisions at a distance of 1."""


class Distance(nn.Module):
    """Decisions [...] from embeddings to goals [..., D], a quasimetric.

    The sum of a distance and of what only one way costs: none is negative, and both keep the
    triangle inequality, which a network of both places would have to learn for every pair
    (metric residual networks, arXiv 2208.08133).
    """

    width: int

    @nn.compact
    def __call__(self, place: Array, goal: Array) -> Array:
        """[..., D], [..., D] -> [...]."""
        even = nn.Dense(place.shape[-1], name="even")
        both, one_way = MLP((self.width,) * 2, out=PLACES), MLP((self.width,), out=PLACES)
        place, goal = even(place), even(goal)
        apart = jnp.sum((both(place) - both(goal)) ** 2, -1)
        uphill = nn.relu(one_way(place) - one_way(goal)).max(-1)
        return FAR * (jnp.sqrt(apart + 1e-6) + uphill)


class Reaction(nn.Module):
    """Action blocks [..., size] in (-1, 1) from embeddings to goals [..., D]."""

    width: int
    size: int

    @nn.compact
    def __call__(self, place: Array, goal: Array) -> Array:
        """[..., D], [..., D] -> [..., size]."""
        even = nn.Dense(place.shape[-1], name="even")
        place, goal = even(place), even(goal)
        joint = jnp.concatenate([place, goal, place - goal], -1)
        return jnp.tanh(MLP((self.width,) * 2, out=self.size)(joint))


def distances(width: int) -> nn.Module:
    """`Distance` of several heads: decisions [heads, ...]."""
    return ensemble(Distance, HEADS, width=width)


def start(network: nn.Module, key: Array, places: Array) -> dict[str, Any]:
    """Parameters for embeddings like `places` [N, D], whose directions come out even."""
    one = places[:1]
    params = cast(dict[str, Any], network.init(key, one, one)["params"])
    even = jax.tree.map(
        lambda new, old: jnp.broadcast_to(new, old.shape), evening(places), params["even"]
    )
    return params | {"even": even}


def evening(places: Array) -> dict[str, Array]:
    """Kernel [D, D] and bias [D] that bring the principal directions of [N, D] to variance 1."""
    mean = places.mean(0)
    variance, axes = jnp.linalg.eigh(jnp.atleast_2d(jnp.cov(places, rowvar=False)))
    least = jnp.maximum(FLOOR * variance[-1], 1e-12)
    kernel = axes / jnp.sqrt(jnp.maximum(variance, least))[None]
    return {"kernel": kernel, "bias": -mean @ kernel}
