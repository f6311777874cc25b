"""What a controller computes on one tick, for one robot: a pure function that can be exported.

    decide(params, memory, obs [O], action [A], elapsed []) -> (Decision, Memory)

`action` is what the robot was really given last (a guard may have changed it) and `elapsed` the
ticks since the last decision: 1 in regular operation, more after a gap, 0 to start afresh. With
seed s and without gaps the decisions are those of the evaluation of one simulator with seed s.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import Carry, act_once, planner_model
from planning import anytime
from planning import registry as planners
from planning.config import PlannerConfig
from planning.types import Model, Plan, PlanInfo, shift
from wm.tdmpc.model import Networks, as_latent_model

Array = jax.Array


class Memory(NamedTuple):
    """What a controller remembers from one decision to the next."""

    plan: Plan
    latent: Array
    """[D] of the last observation."""
    age: Array
    """int32: ticks from the decision that made the plan to that of the latent."""
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
    latent = np.zeros(net.latent_size, np.float32)
    numbers = (np.int32(0), np.uint32(seed), np.uint32(0))
    return Memory(plan, latent, *numbers)  # pyright: ignore[reportArgumentType]


def leaves_of(memory: Memory) -> dict[str, Any]:
    """A memory as plain arrays by name, to be stored."""
    return {f"memory{i:02d}": x for i, x in enumerate(jax.tree.leaves(memory))}


def memory_of(like: Memory, stored: Mapping[str, Any]) -> Memory:
    """What `leaves_of` gave. Raises KeyError, ValueError when `like` has other sizes."""
    leaves, shape = jax.tree.flatten(like)
    found = [np.asarray(stored[name]) for name in leaves_of(like)]
    for mine, given in zip(leaves, found, strict=True):
        if (mine.shape, mine.dtype) != (given.shape, given.dtype):
            raise ValueError(f"memory of {given.dtype}{given.shape} is of another controller")
    return jax.tree.unflatten(shape, found)


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


def moved_plan(config: PlannerConfig, memory: Memory, elapsed: Array) -> Plan:
    """The plan as it was a tick ago: the agent itself moves it on by one."""
    return shift(memory.plan, jnp.maximum(memory.age + elapsed - 1, 0), config.init_std)


def planning(net: Networks, config: PlannerConfig) -> Decide:
    """Decide by the planner's mean."""
    one = partial(act_once, lambda params, latent: latent, planner_model(net), config, False)

    def decide(params, memory, obs, action, elapsed):
        latent = net.encode(params, obs)
        unexpected = surprise(net, params, memory, latent, action, elapsed)
        carry = Carry(moved_plan(config, memory, elapsed))
        chosen, carry, info = one(params, carry, latent, elapsed == 0, key_of(memory))
        return _decided(memory, carry.plan, latent, chosen, unexpected, info)

    return decide


def _decided(memory: Memory, plan: Plan, latent, action, unexpected, info: PlanInfo):
    """A decision by a new plan, and what is remembered of it."""
    step, age = memory.step + 1, jnp.zeros((), jnp.int32)
    memory = Memory(plan, latent, age, memory.seed, step)
    return Decision(action, jnp.stack([unexpected, *info])), memory


class Thought(NamedTuple):
    """A decision that is being refined."""

    session: anytime.Refinement
    memory: Memory
    """From before the decision."""
    surprise: Array


class Stepwise(NamedTuple):
    """The decision of `planning` in programs of one iteration each; any of them may be the last.

    first(params, memory, obs, action, elapsed) -> (Decision, Memory, Thought)
    more(count, params, thought) -> the same, refined by `count` sequences (static)
    """

    first: Callable[..., tuple[Decision, Memory, Thought]]
    more: Callable[..., tuple[Decision, Memory, Thought]]


def stepwise(net: Networks, config: PlannerConfig) -> Stepwise:
    """Decide by the planner's mean, as far as it got."""
    model, counts = planner_model(net), anytime.counts(config)

    def refined(count: int, params, thought: Thought):
        session = anytime.refine(config, model, params, thought.session, count)
        plan, info = anytime.conclude(config, model, params, session)
        action, before = jnp.clip(plan.mean[0], -1.0, 1.0), thought.memory
        made = _decided(before, plan, session.latent, action, thought.surprise, info)
        return *made, thought._replace(session=session)

    def first(params, memory, obs, action, elapsed):
        latent = net.encode(params, obs)
        unexpected = surprise(net, params, memory, latent, action, elapsed)
        moved = shift(moved_plan(config, memory, elapsed), 1, config.init_std)
        fresh = planners.init(config, net.spec.action_dim)
        plan = jax.tree.map(lambda new, old: jnp.where(elapsed == 0, new, old), fresh, moved)
        key, _ = jax.random.split(key_of(memory))
        session = anytime.begin(config, model, params, latent, plan, key)
        return refined(counts[0], params, Thought(session, memory, unexpected))

    return Stepwise(first, refined)


def reacting(net: Networks) -> Decide:
    """Decide by the prior's mode. The plan is kept, and grows older."""
    model: Model = planner_model(net)

    def decide(params, memory, obs, action, elapsed):
        latent = net.encode(params, obs)
        unexpected = surprise(net, params, memory, latent, action, elapsed)
        chosen = jnp.clip(model.prior(params, latent, None), -1.0, 1.0)
        report = jnp.zeros(1 + len(PlanInfo._fields)).at[0].set(unexpected)
        # What is older than its last action is no plan any more.
        age = jnp.where(elapsed == 0, memory.plan.mean.shape[0], memory.age + elapsed)
        step = memory.step + 1
        return Decision(chosen, report), memory._replace(latent=latent, age=age, step=step)

    return decide


def reflex(net: Networks) -> Callable[[Any, Any], Array]:
    """The prior alone, (params, obs [O]) -> action [A]: what a guard falls back on."""
    prior = as_latent_model(net).prior
    return lambda params, obs: jnp.clip(prior(params, net.encode(params, obs), None), -1.0, 1.0)
