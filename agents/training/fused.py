"""The whole cycle as one compiled function: plan, simulate, write replay, learn, again.

`cycle` is a pure function of a state, with the same keys and the same order of data as the host
loop of `trainer`. `make_fused` repeats it until a number of decisions is reached, so that a
program returns where something is due on the host (a row of metrics, an evaluation, a save) and
nowhere else.
"""

import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from agents.acting.agent import Agent, Carry
from agents.runs.compile import cpu_options
from agents.runs.config import TrainConfig
from agents.training import replay as replay_lib
from agents.training.backends import Backend, Moved, backend_of
from agents.training.driver import Cycle, Driver, jax_inputs
from agents.training.learner import Learning
from agents.training.replay import Replay
from agents.training.setup import updates_due
from wm.tdmpc.learner import TrainState

Array = jax.Array
ACT, LEARN, INIT = 0, 1, 2  # streams of random keys
MOST = 64  # cycles in one call
CHUNK_S = 1.5  # seconds that a call should not exceed: until it returns, no signal is heard


class Loop(NamedTuple):
    """Everything that a cycle changes."""

    train: TrainState
    replay: Replay
    carry: Carry
    obs: Array
    """[E, O] float32"""
    is_first: Array
    """[E]"""
    inner: Any
    """What the back-end carries of the simulators."""
    cycles: Array
    """[] int32, cycles of the run; env_steps and updates likewise."""
    env_steps: Array
    updates: Array
    metrics: dict[str, Array]
    """Of the latest updates."""
    plan_info: Any
    """Of the latest decision."""
    failed: Array
    """[] bool: the simulators broke off; nothing of that cycle is to be used."""


class Steps(NamedTuple):
    """The functions a cycle is made of, none of them jitted (static)."""

    act: Callable[..., tuple[Array, Carry, Any]]
    learn: Callable[[TrainState, Replay, Array], tuple[TrainState, dict[str, Array]]]
    simulate: Callable[[Any, Array, Array], tuple[Any, Moved, Any]]
    record: Any
    """Shapes of what `simulate` records."""
    updates: int
    """Updates in one call of `learn`."""
    utd: float


def stream(key: Array, number: int, count: int | Array) -> Array:
    """The key of draw `count` of a stream."""
    return jax.random.fold_in(jax.random.fold_in(key, number), count)


def steps_of(agent: Agent, learning: Learning, backend: Backend, utd: float) -> Steps:
    """The functions of a cycle from those that the host loop calls."""
    act, learn = inspect.unwrap(agent.act), inspect.unwrap(learning.learn)
    return Steps(act, learn, backend.step, backend.record, learning.updates, utd)


def cycle(steps: Steps, key: Array, loop: Loop) -> tuple[Loop, Array, Any]:
    """One decision of every simulator and the updates it earns; its rows; the back-end's record.

    Plans with the parameters, and learns from the replay, as they were before the cycle.
    """
    key_act = stream(key, ACT, loop.cycles)
    actions, carry, info = steps.act(
        loop.train.params, loop.carry, loop.obs, loop.is_first, key_act
    )
    train, updates, metrics = _learn(steps, key, loop)
    inner, moved, record = steps.simulate(loop.inner, loop.obs, actions)
    after = Loop(
        train=train,
        replay=loop.replay,
        carry=carry,
        obs=moved.obs,
        is_first=moved.is_first,
        inner=inner,
        cycles=loop.cycles + 1,
        env_steps=loop.env_steps + moved.decisions,
        updates=updates,
        metrics=metrics,
        plan_info=info,
        failed=moved.failed,
    )
    return after, moved.rows, record


def _learn(steps: Steps, key: Array, loop: Loop) -> tuple[TrainState, Array, dict[str, Array]]:
    """The updates that are due: as a rule one call, none after resets, more after the seeds."""
    due = updates_due(loop.env_steps, steps.utd)

    def more(carry: tuple) -> Array:
        return carry[1] + steps.updates <= due

    def once(carry: tuple) -> tuple:
        train, updates, _ = carry
        train, metrics = steps.learn(train, loop.replay, stream(key, LEARN, updates))
        return train, updates + steps.updates, metrics

    return jax.lax.while_loop(more, once, (loop.train, loop.updates, loop.metrics))


def blank(steps: Steps, loop: Loop) -> Loop:
    """`loop` with zeros for what no cycle has reported yet."""
    key = jax.random.key(0)
    act = (loop.train.params, loop.carry, loop.obs, loop.is_first, key)
    info = jax.eval_shape(steps.act, *act)[2]
    metrics = jax.eval_shape(steps.learn, loop.train, loop.replay, key)[1]
    zeros = partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype))
    return loop._replace(metrics=zeros(metrics), plan_info=zeros(info))


def make_fused(steps: Steps, most: int) -> Callable[..., tuple[Loop, Any, Array]]:
    """(key, loop, limit, cycles) -> (loop, records, count), jitted; takes over the loop's memory.

    Cycles until `limit` env_steps are reached, `cycles` (at most `most`) are done or simulators
    fail. The back-end's records have a leading axis of size `most`, `count` of them filled.
    """

    def run(key: Array, loop: Loop, limit: Array, cycles: Array) -> tuple[Loop, Any, Array]:
        records = jax.tree.map(lambda x: jnp.zeros((most, *x.shape), x.dtype), steps.record)

        def going_on(carry: tuple) -> Array:
            loop, _, _, count = carry
            return (loop.env_steps < limit) & (count < cycles) & ~loop.failed

        def stored(loop: Loop, rows: Array, count: Array) -> Loop:
            return loop._replace(replay=replay_lib.add_if(loop.replay, rows, count > 0))

        def once(carry: tuple) -> tuple:
            # The rows of a cycle are added when the next begins, before anything reads: in place.
            # Added after learning has read it, the whole replay would be copied every cycle.
            loop, rows, records, count = carry
            loop, rows, record = cycle(steps, key, stored(loop, rows, count))
            records = jax.tree.map(lambda all_, x: all_.at[count].set(x), records, record)
            return loop, rows, records, count + 1

        start = (loop, jnp.zeros_like(loop.replay.rows[0]), records, jnp.zeros((), jnp.int32))
        loop, rows, records, count = jax.lax.while_loop(going_on, once, start)
        return stored(loop, rows, count), records, count

    return jax.jit(run, donate_argnums=1, compiler_options=cpu_options(many_reductions=True))


class Running(Protocol):
    """A training as the host holds it: what this loop takes over, and brings up to date."""

    config: TrainConfig
    key: Array
    agent: Agent
    learning: Learning
    driver: Driver
    state: TrainState
    replay: Replay
    carry: Carry
    metrics: dict[str, Any]
    plan_info: Any
    counters: Any


class FusedLoop:
    """Runs a trainer's cycles in chunks, each one call of one program."""

    def __init__(self, trainer: Running):
        """Compiles nothing yet."""
        self.backend = backend_of(trainer.driver)
        self.steps = steps_of(trainer.agent, trainer.learning, self.backend, trainer.config.utd)
        self.run = make_fused(self.steps, MOST)
        self.chunk = 1  # the first call compiles; then as many as fit into a second or two

    def advance(self, trainer: Running, limit: int) -> list[Cycle]:
        """Cycles of the trainer until `limit` env_steps or the end of a chunk.

        Brings parameters, replay, plans, simulators and the count of updates up to date. Raises
        what the simulators raised.
        """
        began, cycles = time.perf_counter(), self.chunk
        loop, records, count = self.run(trainer.key, self._gather(trainer), limit, cycles)
        self._scatter(trainer, loop)
        happened = self.backend.end(loop.inner, loop.obs, loop.is_first, records, int(count))
        spent = time.perf_counter() - began
        if cycles == 1 or count == cycles:
            self.chunk = min(MOST, 4 * cycles, max(1, int(CHUNK_S * int(count) / spent)))
        return happened

    def _gather(self, trainer: Running) -> Loop:
        counters = trainer.counters
        obs, is_first = jax_inputs(trainer.driver)
        loop = Loop(
            train=trainer.state,
            replay=trainer.replay,
            carry=trainer.carry,
            obs=obs,
            is_first=is_first,
            inner=self.backend.begin(),
            cycles=jnp.asarray(counters.cycles, jnp.int32),
            env_steps=jnp.asarray(counters.env_steps, jnp.int32),
            updates=jnp.asarray(counters.updates, jnp.int32),
            metrics=trainer.metrics,
            plan_info=trainer.plan_info,
            failed=jnp.zeros((), bool),
        )
        return loop if trainer.metrics and trainer.plan_info else blank(self.steps, loop)

    def _scatter(self, trainer: Running, loop: Loop) -> None:
        trainer.state, trainer.replay, trainer.carry = loop.train, loop.replay, loop.carry
        trainer.plan_info, updates = loop.plan_info, int(loop.updates)
        if trainer.metrics or updates > trainer.counters.updates:  # not the zeros of `blank`
            trainer.metrics = loop.metrics
        trainer.counters = replace(trainer.counters, updates=updates)
