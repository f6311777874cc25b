"""The oracle: the same planner on the true simulator, which parts model error from planner error.

Dynamics and rewards are MuJoCo's own, stepped in batches from the exact state; what lies beyond
the horizon is judged by the checkpoint's critic, and the prior is its prior. Without a checkpoint
there is neither, and a longer horizon has to do.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback

from agents.acting.agent import Agent, act_once, jitted, vectorised
from agents.runs.config import ConfigError
from envs.native.env import NativeVectorEnv
from envs.registry import make_vec
from envs.spec import EnvSpec
from planning.config import PlannerConfig
from planning.types import Model
from wm.tdmpc.model import Networks, as_latent_model

Array = jax.Array


class Moment(NamedTuple):
    """One simulator at one time: the oracle's latent."""

    bits: Array
    """[2 K] int32: its float64 state, bit by bit, as JAX runs in 32 bits."""
    obs: Array
    """[O] float32"""


def make_oracle(spec: EnvSpec, config: PlannerConfig, net: Networks | None = None) -> Agent:
    """A deterministic agent that observes `moments_of` its environment.

    `net` gives terminal value, prior and discount (its parameters are those of `act`).
    Raises ConfigError for tasks without native simulators.
    """
    if spec.backend != "native":
        raise ConfigError(f"the oracle needs native simulators, which {spec.env_id} has not")
    if config.method == "gradient":
        raise ConfigError("the oracle cannot be differentiated: use another planner.method")
    one = partial(act_once, lambda params, moment: moment, _model(spec, net), config, False)
    return jitted(vectorised(one, config, spec.action_dim, None))._replace(observe=moments_of)


def moments_of(env: NativeVectorEnv, obs: np.ndarray) -> Moment:
    """Observation of the oracle: the whole state [E, ...] of every simulator."""
    bits = np.ascontiguousarray(env.simulators.get_moments()).view(np.int32)
    return Moment(jnp.asarray(bits), jnp.asarray(obs, jnp.float32))


def _model(spec: EnvSpec, net: Networks | None) -> Model:
    """The simulator as a model that planners can step."""
    simulate = simulation(spec, _stepped)
    discount = net.spec.discount if net else 1.0
    critic = as_latent_model(net) if net else None

    def step(params: Any, moment: Moment, action: Array) -> tuple[Moment, Array, Array]:
        number = jax.ShapeDtypeStruct((), jnp.float32)
        kinds = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), moment)
        bits, obs, reward, going_on = on_host(
            simulate, (*kinds, number, number), moment.bits, action
        )
        return Moment(bits, obs), reward, discount * going_on

    def value(params: Any, moment: Moment, key: Array) -> Array:
        if critic is None:
            return jnp.zeros(())
        return critic.value(params, critic.encode(params, moment.obs), key)

    def prior(params: Any, moment: Moment, key: Array | None) -> Array:
        if critic is None:
            return jnp.zeros(spec.action_dim)
        return critic.prior(params, critic.encode(params, moment.obs), key)

    return Model(step=step, value=value, prior=prior)


def _stepped(
    _: NativeVectorEnv, moments: np.ndarray, obs: np.ndarray, reward: np.ndarray, ended: np.ndarray
) -> tuple[np.ndarray, ...]:
    """bits, obs, reward, 1 - terminated."""
    kept = tuple(x.astype(np.float32) for x in (obs, reward, ~ended))
    return moments.view(np.int32), *kept


def on_host(function: Callable[..., tuple[np.ndarray, ...]], shapes: Any, *inputs: Array) -> Any:
    """`function` of numpy arrays inside a program; written for one, vmapped by the caller.

    Through buffers: the arrays of `jax.pure_callback` are JAX's own, and reading them may wait for
    the thread that is waiting, for good where there is one core.
    """

    def host(_: Any, out: Any, *given: Any) -> None:
        found = function(*(np.asarray(buffer) for buffer in given))
        for buffer, value in zip(out, found, strict=True):
            np.asarray(buffer)[...] = value

    return buffer_callback(host, shapes, vmap_method="broadcast_all")(*inputs)


def simulation(
    spec: EnvSpec, outcome: Callable[..., tuple[np.ndarray, ...]]
) -> Callable[..., tuple[np.ndarray, ...]]:
    """Host function: bits [..., 2 K], actions [..., A] -> what `outcome` makes of a decision.

    `outcome` has the environment and what its `imagine` gave, rows in one flat batch.
    """
    envs: dict[int, NativeVectorEnv] = {}

    def simulate(bits: Any, actions: Any) -> tuple[np.ndarray, ...]:
        bits, actions = np.asarray(bits), np.asarray(actions)
        lead = np.broadcast_shapes(bits.shape[:-1], actions.shape[:-1])
        count = int(np.prod(lead))
        if count not in envs:
            envs[count] = make_vec(spec.env_id, count, action_repeat=spec.action_repeat)
        rows = np.broadcast_to(bits, (*lead, bits.shape[-1])).reshape(count, -1)
        moments = np.ascontiguousarray(rows).view(np.float64)
        actions = np.broadcast_to(actions, (*lead, actions.shape[-1])).reshape(count, -1)
        flat = outcome(envs[count], *envs[count].imagine(moments, actions))
        return tuple(x.reshape(*lead, *x.shape[1:]) for x in flat)

    return simulate
