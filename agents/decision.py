"""What a controller computes on one tick, for one robot: a pure function that can be exported.

    decide(params, memory, obs [O], action [A], elapsed []) -> (Decision, Memory)

`action` is what the robot was really given last (a guard may have changed it) and `elapsed` the
ticks since the last decision: 1 in regular operation, more after a gap, 0 to start afresh. With
seed s and without gaps the decisions are those of the evaluation of one simulator with seed s.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.mpc import Carry, act_once, planner_model
from planning import registry as planners
from planning.config import PlannerConfig
from planning.types import Model, Plan, PlanInfo, shift
from wm.tdmpc import Networks, as_latent_model

Array = jax.Array


class Memory(NamedTuple):
    """What a controller remembers from one decision to the next."""

    plan: Plan
    latent: Array
    """[D] of the last observation."""
    seed: Array
    """uint32, of all its random numbers."""
    step: Array
    """uint32: decisions since the start, which number the random streams."""


class Decision(NamedTuple):
    """The outcome of a tick."""

    action: Array
    """[A]"""
    report: Array
    """[1 + 8] surprise, then the fields of `PlanInfo`: one array, as each costs a transfer."""


Decide = Callable[[Any, Memory, Any, Any, Any], tuple[Decision, Memory]]


def init_memory(net: Networks, config: PlannerConfig, seed: int) -> Memory:
    """The memory before the first decision, in numpy."""
    plan = jax.tree.map(np.asarray, planners.init(config, net.spec.action_dim))
    latent = np.zeros(net.config.latent_dim, np.float32)
    return Memory(plan, latent, np.uint32(seed), np.uint32(0))  # pyright: ignore[reportArgumentType]


def surprise(net: Networks, params: Any, memory: Memory, latent: Array, action, elapsed) -> Array:
    """Distance [] of the observed latent from the one predicted; 0 where nothing was predicted.

    Root mean square over the latent: comparable across sizes.
    """
    expected = net.predict(params, memory.latent, action)
    distance = jnp.sqrt(jnp.mean((expected - latent) ** 2))
    return jnp.where(elapsed == 1, distance, 0.0)


def key_of(memory: Memory) -> Array:
    """The key of this decision: that of simulator 0 of an evaluation at this step."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(memory.seed), memory.step), 0)


def moved_plan(config: PlannerConfig, plan: Plan, elapsed: Array) -> Plan:
    """The plan as it was a tick ago: the agent itself moves it on by one."""
    return shift(plan, jnp.maximum(elapsed - 1, 0), config.init_std)


def planning(net: Networks, config: PlannerConfig) -> Decide:
    """Decide by the planner's mean."""
    one = partial(act_once, lambda params, latent: latent, planner_model(net), config, False)

    def decide(params, memory, obs, action, elapsed):
        latent = net.encode(params, obs)
        unexpected = surprise(net, params, memory, latent, action, elapsed)
        carry = Carry(moved_plan(config, memory.plan, elapsed))
        chosen, carry, info = one(params, carry, latent, elapsed == 0, key_of(memory))
        report = jnp.stack([unexpected, *info])
        return Decision(chosen, report), Memory(carry.plan, latent, memory.seed, memory.step + 1)

    return decide


def reacting(net: Networks) -> Decide:
    """Decide by the prior's mode."""
    model: Model = planner_model(net)

    def decide(params, memory, obs, action, elapsed):
        latent = net.encode(params, obs)
        unexpected = surprise(net, params, memory, latent, action, elapsed)
        chosen = jnp.clip(model.prior(params, latent, None), -1.0, 1.0)
        report = jnp.zeros(1 + len(PlanInfo._fields)).at[0].set(unexpected)
        return Decision(chosen, report), memory._replace(latent=latent, step=memory.step + 1)

    return decide


def reflex(net: Networks) -> Callable[[Any, Any], Array]:
    """The prior alone, (params, obs [O]) -> action [A]: what a guard falls back on."""
    prior = as_latent_model(net).prior
    return lambda params, obs: jnp.clip(prior(params, net.encode(params, obs), None), -1.0, 1.0)
