"""The whole cycle as one compiled function: plan, simulate, write replay, learn, again.

It has the same keys and the same order of data as the host loop of `trainer`. A program repeats it
until a number of decisions is reached: it returns where something is due on the host (a row of
metrics, an evaluation, a save) and nowhere else.
"""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import Agent
from agents.runs.compile import cpu_options
from agents.training import replay as replay_lib
from agents.training.backends import backend_of
from agents.training.driver import Cycle, Driver, jax_inputs
from agents.training.learner import Learning
from agents.training.loop import ACT, LEARN, Counters, LoopState, stream
from agents.training.setup import updates_due

Array = jax.Array
MAX_CYCLES = 64  # in one call
CHUNK_S = 1.5  # seconds that a call should not exceed: until it returns, no signal is heard


class FusedState(NamedTuple):
    """Everything that a cycle changes."""

    loop: LoopState
    obs: Array
    """[E, O] float32"""
    is_first: Array
    """[E]"""
    simulators: Any
    """Carried by the back-end."""
    cycles: Array
    """[] int32, cycles of the run; env_steps and updates likewise."""
    env_steps: Array
    updates: Array
    failed: Array
    """[] bool: the simulators broke off; nothing of that cycle is to be used."""


class FusedLoop:
    """Runs the cycles of a training in chunks, each one call of one program."""

    def __init__(self, agent: Agent, learning: Learning, driver: Driver, utd: float):
        """`agent` and `learning` are pure. Compiles nothing yet."""
        self.agent, self.learning, self.driver, self.utd = agent, learning, driver, utd
        self.backend = backend_of(driver)
        self.chunk = 1  # the first call compiles; then as many as fit into a second or two
        options = cpu_options(many_reductions=True)
        self._program = jax.jit(self._cycles, donate_argnums=1, compiler_options=options)

    def run(
        self, key: Array, loop: LoopState, counters: Counters, limit: int
    ) -> tuple[FusedState, Any]:
        """Cycles until `limit` env_steps or the end of a chunk: the state after them, and records.

        Takes over the memory of `loop`. `cycles_of` tells what happened.
        """
        began, chunk = time.perf_counter(), self.chunk
        state, records, count = self._program(key, self._begin(loop, counters), limit, chunk)
        count, spent = int(count), time.perf_counter() - began
        if chunk == 1 or count == chunk:
            self.chunk = min(MAX_CYCLES, 4 * chunk, max(1, int(CHUNK_S * count / spent)))
        if not loop.metrics and int(state.updates) == counters.updates:  # still the zeros
            state = state._replace(loop=state.loop._replace(metrics={}))
        return state, jax.tree.map(lambda x: np.asarray(x)[:count], records)

    def cycles_of(self, state: FusedState, records: Any) -> list[Cycle]:
        """The cycles of a chunk, brought to the driver. Raises what the simulators raised."""
        return self.backend.end(state.simulators, state.obs, state.is_first, records)

    def _begin(self, loop: LoopState, counters: Counters) -> FusedState:
        """The state of a program, with zeros for what no cycle has reported yet."""
        obs, is_first = jax_inputs(self.driver)
        key, zeros = jax.random.key(0), partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype))
        if not (loop.metrics and loop.plan_info):
            act = (loop.train.params, loop.carry, obs, is_first, key)
            info = jax.eval_shape(self.agent.act, *act)[2]
            metrics = jax.eval_shape(self.learning.learn, loop.train, loop.replay, key)[1]
            loop = loop._replace(metrics=zeros(metrics), plan_info=zeros(info))
        counts = (counters.cycles, counters.env_steps, counters.updates)
        counts = [jnp.asarray(count, jnp.int32) for count in counts]
        inner, failed = self.backend.begin(), jnp.zeros((), bool)
        return FusedState(loop, obs, is_first, inner, *counts, failed)

    def _cycles(
        self, key: Array, state: FusedState, limit: Array, chunk: Array
    ) -> tuple[FusedState, Any, Array]:
        """Cycles until `limit` env_steps are reached, `chunk` are done or simulators fail.

        Records of the back-end have a leading axis MAX_CYCLES, `count` of them filled.
        """
        records = jax.tree.map(
            lambda x: jnp.zeros((MAX_CYCLES, *x.shape), x.dtype), self.backend.record
        )

        def going_on(carry: tuple) -> Array:
            state, _, _, count = carry
            return (state.env_steps < limit) & (count < chunk) & ~state.failed

        def stored(state: FusedState, rows: Array, count: Array) -> FusedState:
            replay = replay_lib.add_if(state.loop.replay, rows, count > 0)
            return state._replace(loop=state.loop._replace(replay=replay))

        def once(carry: tuple) -> tuple:
            # The rows of a cycle are added when the next begins, before anything reads: in place.
            # Added after learning has read it, the whole replay would be copied every cycle.
            state, rows, records, count = carry
            state, rows, record = self._cycle(key, stored(state, rows, count))
            records = jax.tree.map(lambda all_, x: all_.at[count].set(x), records, record)
            return state, rows, records, count + 1

        nothing = jnp.zeros_like(state.loop.replay.rows[0])
        start = (state, nothing, records, jnp.zeros((), jnp.int32))
        state, rows, records, count = jax.lax.while_loop(going_on, once, start)
        return stored(state, rows, count), records, count

    def _cycle(self, key: Array, state: FusedState) -> tuple[FusedState, Array, Any]:
        """One decision of every simulator and the updates it earns; its rows; its record.

        Plans with the parameters, and learns from the replay, as they were before the cycle.
        """
        loop, key_act = state.loop, stream(key, ACT, state.cycles)
        actions, carry, info = self.agent.act(
            loop.train.params, loop.carry, state.obs, state.is_first, key_act
        )
        train, updates, metrics = self._learn(key, state)
        simulators, moved, record = self.backend.step(state.simulators, state.obs, actions)
        after = FusedState(
            LoopState(train, carry, loop.replay, metrics, info),
            moved.obs,
            moved.is_first,
            simulators,
            state.cycles + 1,
            state.env_steps + moved.decisions,
            updates,
            moved.failed,
        )
        return after, moved.rows, record

    def _learn(self, key: Array, state: FusedState) -> tuple[Any, Array, dict[str, Array]]:
        """The updates that are due: as a rule one call, none after resets, more after the seeds."""
        due = updates_due(state.env_steps, self.utd)
        each = self.learning.updates

        def more(carry: tuple) -> Array:
            return carry[1] + each <= due

        def once(carry: tuple) -> tuple:
            train, updates, _ = carry
            drawn = stream(key, LEARN, updates)
            train, metrics = self.learning.learn(train, state.loop.replay, drawn)
            return train, updates + each, metrics

        start = (state.loop.train, state.updates, state.loop.metrics)
        return jax.lax.while_loop(more, once, start)
