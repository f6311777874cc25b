"""Reward-driven latent world model (TD-MPC2, arXiv 2310.16828): networks and model functions.

Nothing is ever decoded: the latent has to predict itself, the reward, the value and, where
episodes can end, their end.
"""

from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.layers import MLP, ensemble, simnorm
from wm.tdmpc import two_hot
from wm.tdmpc.config import LearnerConfig, ModelConfig
from wm.tdmpc.tasks import TaskEmbedding, TaskLayout
from wm.types import LatentModel, Params, Spec

Array = jax.Array


class Networks(NamedTuple):
    """The modules of the world model (static); parameters live in a dict of the same keys."""

    encoder: nn.Module
    dynamics: nn.Module
    reward: nn.Module
    value: nn.Module
    prior: nn.Module
    termination: nn.Module | None
    bins: two_hot.Bins
    config: ModelConfig
    learner: LearnerConfig
    spec: Spec
    task: TaskEmbedding | None = None
    """The embedding of tasks, in a model of several."""

    @property
    def simnormed(self) -> bool:
        """Whether SimNorm and stopped targets keep latents from collapsing, or else SIGReg."""
        return self.config.regularizer == "simnorm"

    @property
    def layout(self) -> TaskLayout:
        """Positions of the task in observations and latents, in a model of several."""
        return TaskLayout(self.spec, self.config.latent_dim, self.config.task_dim)

    @property
    def latent_size(self) -> int:
        """Size of what `encode` gives."""
        return self.layout.latent_size if self.task else self.config.latent_dim

    # Each function below takes the parameter dict and acts on any leading axes.

    def encode(self, params: Params, obs: Array) -> Array:
        """Obs [..., O] -> latent [..., D]."""
        if self.task is None:
            return self._activate(_apply(self.encoder, params["encoder"], obs))
        seen, one_hot, mask, rate = self.layout.split_obs(obs)
        tail = self.layout.tail(_apply(self.task, params["task"], one_hot), mask, rate)
        joint = jnp.concatenate([seen, tail], -1)
        learned = self._activate(_apply(self.encoder, params["encoder"], joint))
        return jnp.concatenate([learned, tail], -1)

    def predict(self, params: Params, latent: Array, action: Array) -> Array:
        """Next latent [..., D]."""
        following = self._activate(
            _apply(self.dynamics, params["dynamics"], self._joint(latent, action))
        )
        if self.task is None:
            return following
        return jnp.concatenate([following, latent[..., self.config.latent_dim :]], -1)

    def reward_logits(self, params: Params, latent: Array, action: Array) -> Array:
        """Two-hot logits [..., bins] of the reward of `action` at `latent`."""
        return _apply(self.reward, params["reward"], self._joint(latent, action))

    def value_logits(
        self, value_params: Params, latent: Array, action: Array, dropout_key: Array | None = None
    ) -> Array:
        """Two-hot logits [heads, ..., bins] of the return; value_params is one subtree."""
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        joint = self._joint(latent, action)
        heads = jax.tree.leaves(value_params)[0].shape[0]
        return _apply(_value_heads(self.config, heads), value_params, joint, rngs=rngs)

    def prior_distribution(self, params: Params, latent: Array) -> tuple[Array, Array]:
        """Mean and log standard deviation [..., A] of the Gaussian before its tanh."""
        mean, raw = jnp.split(_apply(self.prior, params["prior"], latent), 2, -1)
        low, high = self.learner.log_std_min, self.learner.log_std_max
        return mean, low + 0.5 * (high - low) * (jnp.tanh(raw) + 1)

    def termination_logit(self, params: Params, latent: Array) -> Array:
        """Log-odds [...] that the episode has ended at `latent`."""
        return _apply(self.termination, params["termination"], latent)[..., 0]

    def learned(self, latent: Array) -> Array:
        """The learned part [..., latent_dim] of a latent; the rest says which task it is."""
        return latent if self.task is None else latent[..., : self.config.latent_dim]

    def action_mask(self, latent: Array) -> Array | None:
        """[..., A] 1 for the actions that the latent's task has; None where all have all."""
        return None if self.task is None else self.layout.action_mask(latent)

    def discount(self, latent: Array) -> float | Array:
        """The discount, [...] in a model of several tasks, each with its own."""
        return self.spec.discount if self.task is None else self.layout.discount(latent)

    def masked(self, latent: Array, action: Array) -> Array:
        """`action` with zeros where the latent's task has none."""
        return action if self.task is None else action * self.layout.action_mask(latent)

    def _joint(self, latent: Array, action: Array) -> Array:
        return jnp.concatenate([latent, self.masked(latent, action)], -1)

    def _activate(self, latent: Array) -> Array:
        return simnorm(latent, self.config.simnorm_group) if self.simnormed else latent


def _apply(module: nn.Module | None, params: Params, x: Array, **kwargs: Any) -> Array:
    """A module on parameters, as the plain function it is."""
    if module is None:
        raise ValueError("this model was built without a termination head")
    return cast(Array, module.apply(params, x, **kwargs))


def _value_heads(config: ModelConfig, heads: int) -> nn.Module:
    width = config.mlp_width
    return ensemble(
        MLP,
        heads,
        widths=(width, width),
        out=config.num_bins,
        dropout=config.dropout,
        zero_head=True,
        compute=_compute(config),
    )


def _compute(config: ModelConfig) -> str | None:
    return None if config.compute == "float32" else config.compute


def build(config: ModelConfig, learner: LearnerConfig, spec: Spec) -> Networks:
    """Networks for a task; parameters come from `init`."""
    width, latent = config.mlp_width, config.latent_dim
    mlp = partial(MLP, compute=_compute(config))
    if config.regularizer == "simnorm":
        encoder = mlp((config.encoder_width, latent), last_activation=lambda x: x)
        dynamics = mlp((width, width, latent), last_activation=lambda x: x)
    else:  # SIGReg shapes the distribution itself, so the last layer is left free
        encoder = mlp((config.encoder_width, config.encoder_width), out=latent)
        dynamics = mlp((width, width), out=latent)
    return Networks(
        encoder=encoder,
        dynamics=dynamics,
        reward=mlp((width, width), out=config.num_bins, zero_head=True),
        value=_value_heads(config, config.num_heads),
        prior=mlp((width, width), out=2 * spec.action_dim),
        termination=mlp((width, width), out=1) if config.episodic else None,
        bins=two_hot.Bins(config.num_bins, config.bin_limit),
        config=config,
        learner=learner,
        spec=spec,
        task=TaskEmbedding(spec.tasks, config.task_dim) if spec.tasks else None,
    )


def init(networks: Networks, key: Array) -> dict[str, Params]:
    """Fresh parameters: a dict with one subtree a network."""
    latent = jnp.zeros(networks.latent_size)
    joint = jnp.zeros(networks.latent_size + networks.spec.action_dim)
    seen = networks.layout.encoder_size if networks.task else networks.spec.obs_dim
    inputs = {
        "encoder": jnp.zeros(seen),
        "dynamics": joint,
        "reward": joint,
        "value": joint,
        "prior": latent,
    }
    if networks.termination is not None:
        inputs["termination"] = latent
    if networks.task is not None:
        inputs["task"] = jnp.zeros(networks.spec.tasks)
    keys = jax.random.split(key, len(inputs))
    return {
        name: getattr(networks, name).init(k, x)
        for k, (name, x) in zip(keys, inputs.items(), strict=True)
    }


def choose_heads(value_params: Params, num_heads: int, key: Array, count: int = 2) -> Params:
    """A random subset of `count` heads of the ensemble's parameters (all when there are fewer)."""
    if num_heads <= count:
        return value_params
    chosen = jax.random.choice(key, num_heads, (count,), replace=False)
    return jax.tree.map(lambda p: p[chosen], value_params)


def as_latent_model(networks: Networks) -> LatentModel:
    """The functions a planner calls, each for one latent."""

    def step(params: Params, latent: Array, action: Array) -> tuple[Array, Array, Array]:
        reward = two_hot.decode(networks.reward_logits(params, latent, action), networks.bins)
        following = networks.predict(params, latent, action)
        discount = jnp.asarray(networks.discount(latent), latent.dtype)
        if networks.termination is not None:
            discount *= 1 - jax.nn.sigmoid(networks.termination_logit(params, following))
        return following, reward, discount

    def prior(params: Params, latent: Array, key: Array | None) -> Array:
        mean, log_std = networks.prior_distribution(params, latent)
        if key is None:
            return networks.masked(latent, jnp.tanh(mean))
        drawn = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)
        return networks.masked(latent, jnp.tanh(drawn))

    def value(params: Params, latent: Array, key: Array) -> Array:
        key_prior, key_heads = jax.random.split(key)
        heads = choose_heads(params["value"], networks.config.num_heads, key_heads)
        return of_heads(heads, params, latent, key_prior).mean(0)

    def values(params: Params, latent: Array, key: Array) -> Array:
        return of_heads(params["value"], params, latent, jax.random.split(key)[0])

    def of_heads(heads: Params, params: Params, latent: Array, key: Array) -> Array:
        logits = networks.value_logits(heads, latent, prior(params, latent, key))
        return two_hot.decode(logits, networks.bins)

    return LatentModel(networks.encode, step, value, prior, values)
