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
METRIC_DIM = 32
"""Size of the space that a distance is measured in."""
MIN_VARIANCE = 1e-4
"""Share of the largest variance below which a direction is not stretched any further."""
UNIT = 10.0
"""Decisions at a distance of 1."""


class Distance(nn.Module):
    """Decisions [...] from embeddings to goals [..., D], a quasimetric.

    The sum of a distance and of what only one way costs: none is negative, and both keep the
    triangle inequality, which a network of both embeddings would have to learn for every pair
    (metric residual networks, arXiv 2208.08133).
    """

    width: int

    @nn.compact
    def __call__(self, at: Array, goal: Array) -> Array:
        """[..., D], [..., D] -> [...]."""
        even = nn.Dense(at.shape[-1], name="even")
        both, one_way = MLP((self.width,) * 2, out=METRIC_DIM), MLP((self.width,), out=METRIC_DIM)
        at, goal = even(at), even(goal)
        apart = jnp.sum((both(at) - both(goal)) ** 2, -1)
        uphill = nn.relu(one_way(at) - one_way(goal)).max(-1)
        return UNIT * (jnp.sqrt(apart + 1e-6) + uphill)


class GoalPolicy(nn.Module):
    """Action blocks [..., size] in (-1, 1) from embeddings to goals [..., D]."""

    width: int
    size: int

    @nn.compact
    def __call__(self, at: Array, goal: Array) -> Array:
        """[..., D], [..., D] -> [..., size]."""
        even = nn.Dense(at.shape[-1], name="even")
        at, goal = even(at), even(goal)
        joint = jnp.concatenate([at, goal, at - goal], -1)
        return jnp.tanh(MLP((self.width,) * 2, out=self.size)(joint))


def distances(width: int) -> nn.Module:
    """`Distance` of several heads: decisions [heads, ...]."""
    return ensemble(Distance, HEADS, width=width)


def start(network: nn.Module, key: Array, embeddings: Array) -> dict[str, Any]:
    """Parameters for embeddings like `embeddings` [N, D], whose directions come out even."""
    one = embeddings[:1]
    fresh = jax.jit(network.init)  # hundreds of programs otherwise
    params = cast(dict[str, Any], fresh(key, one, one)["params"])
    even = jax.tree.map(
        lambda new, old: jnp.broadcast_to(new, old.shape), whitening(embeddings), params["even"]
    )
    return params | {"even": even}


def whitening(embeddings: Array) -> dict[str, Array]:
    """Kernel [D, D] and bias [D] that bring the principal directions of [N, D] to variance 1."""
    mean = embeddings.mean(0)
    variance, axes = jnp.linalg.eigh(jnp.atleast_2d(jnp.cov(embeddings, rowvar=False)))
    least = jnp.maximum(MIN_VARIANCE * variance[-1], 1e-12)
    kernel = axes / jnp.sqrt(jnp.maximum(variance, least))[None]
    return {"kernel": kernel, "bias": -mean @ kernel}
