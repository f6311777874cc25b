"""One model of several tasks: a learned embedding of each, in observations and latents.

An observation ends with which task it is (one-hot [N]), which actions count [A] and
1 / episode_steps [1]. A latent is a learned part, then the task's embedding, the same mask and
the task's discount, which no step changes: so every head knows its task.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.types import DISCOUNTS, EPISODE_SHARE, Spec

Array = jax.Array


class TaskEmbedding(nn.Module):
    """One vector a task, of length at most 1 (TD-MPC2, arXiv 2310.16828)."""

    tasks: int
    size: int

    @nn.compact
    def __call__(self, one_hot: Array) -> Array:
        """[..., N] -> [..., size]."""
        init = nn.initializers.normal(self.size**-0.5)  # lengths about 1
        table = self.param("embedding", init, (self.tasks, self.size))
        length = jnp.linalg.norm(table, axis=-1, keepdims=True)
        return one_hot @ (table / jnp.maximum(length, 1.0))


class TaskLayout(NamedTuple):
    """Positions of the task in observations and latents (static)."""

    spec: Spec
    learned: int
    """Size of the learned part of a latent."""
    embedding: int

    @property
    def tail_size(self) -> int:
        """Size of the end of a latent: embedding, action mask, discount."""
        return self.embedding + self.spec.action_dim + 1

    @property
    def latent_size(self) -> int:
        """Size of a whole latent."""
        return self.learned + self.tail_size

    @property
    def encoder_size(self) -> int:
        """Size of the encoder's input: the task's own observation, then the tail."""
        marks = self.spec.tasks + self.spec.action_dim + 1
        return self.spec.obs_dim - marks + self.tail_size

    def split_obs(self, obs: Array) -> tuple[Array, Array, Array, Array]:
        """[..., O] -> the task's own part, one-hot [..., N], mask [..., A], rate [..., 1]."""
        end = obs.shape[-1] - 1
        mask, task = end - self.spec.action_dim, end - self.spec.action_dim - self.spec.tasks
        return obs[..., :task], obs[..., task:mask], obs[..., mask:end], obs[..., end:]

    def tail(self, embedding: Array, mask: Array, rate: Array) -> Array:
        """The end of every latent of an episode [..., tail_size]."""
        discount = jnp.clip(1 - EPISODE_SHARE * rate, *DISCOUNTS)  # as wm.types.discount_for
        return jnp.concatenate([embedding, mask, discount], -1)

    def action_mask(self, latent: Array) -> Array:
        """[..., A] from a latent."""
        return latent[..., -1 - self.spec.action_dim : -1]

    def discount(self, latent: Array) -> Array:
        """[...] from a latent."""
        return latent[..., -1]
