"""Simulators as a step inside a compiled program: native ones on the host, or pure MJX.

Both give the fused loop the same thing, one decision of every simulator. Native physics keeps
its whole float64 state on the host and is called back once a cycle; each call needs the actions
planned on the observations of the one before, so their order is that of the data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback

from agents.training import replay as replay_lib
from agents.training.driver import Cycle, Driver
from envs.spec import EnvError

Array = jax.Array


class Moved(NamedTuple):
    """One decision of every simulator; arrays of jax, or of numpy on the host."""

    obs: Any
    """[E, O] float32"""
    is_first: Any
    """[E]"""
    rows: Any
    """[E, F] replay rows"""
    decisions: Any
    """[] int32, real decisions among them."""
    failed: Any
    """[] bool: the simulators gave nothing that can be used."""


class Backend(NamedTuple):
    """How simulators step inside a program.

    step(simulators, obs [E, O], actions [E, A]) -> (simulators, Moved, record of the cycle)
    record: shapes of that record
    begin() -> simulators, what the program carries of them
    end(simulators, obs, is_first, records) -> the cycles of a chunk on the host, whose records
        have a leading axis; raises what the simulators raised
    """

    step: Callable[[Any, Array, Array], tuple[Any, Moved, Any]]
    record: Any
    begin: Callable[[], Any]
    end: Callable[[Any, Array, Array, Any], list[Cycle]]


def backend_of(driver: Driver) -> Backend:
    """The back-end of a driver's simulators."""
    return _mjx(driver) if hasattr(driver.env, "pure") else _native(driver)


def _native(driver: Driver) -> Backend:
    spec, count = driver.env.env_spec, driver.env.num_envs
    log: list[Cycle] = []
    failure: list[BaseException] = []
    width = spec.obs_dim + spec.action_dim + replay_lib.FLAGS
    shapes = Moved(
        obs=jax.ShapeDtypeStruct((count, spec.obs_dim), jnp.float32),
        is_first=jax.ShapeDtypeStruct((count,), jnp.bool_),
        rows=jax.ShapeDtypeStruct((count, width), jnp.float32),
        decisions=jax.ShapeDtypeStruct((), jnp.int32),
        failed=jax.ShapeDtypeStruct((), jnp.bool_),
    )

    def host(_, out: Moved, actions: Any) -> None:
        """Numpy alone: a call of jax from here could wait for itself."""
        views = Moved(*[np.asarray(buffer) for buffer in out])
        try:
            cycle = driver.step(np.asarray(actions).copy())
        except BaseException as error:  # raised again once the program has returned
            failure.append(error)
            for view in views:
                view[...] = 0
            views.failed[...] = True
            return
        log.append(cycle)
        done = Moved(driver.obs, driver.is_first, cycle.rows, np.int32(cycle.decisions), np.False_)
        for view, value in zip(views, done, strict=True):
            view[...] = value

    call = buffer_callback(host, shapes, has_side_effect=True)

    def step(simulators: Any, obs: Array, actions: Array) -> tuple[Any, Moved, Any]:
        del obs  # the host has it in float64
        return simulators, call(actions), ()

    def end(*_: Any) -> list[Cycle]:
        happened = log.copy()
        log.clear()
        if failure:
            raise failure.pop()
        return happened

    return Backend(step, (), lambda: (), end)


class _Record(NamedTuple):
    """Facts for the host's account of episodes: arrays [E], `failed` []."""

    reward: Any
    done: Any
    is_reset: Any
    invalid: Any
    failed: Any


def _mjx(driver: Driver) -> Backend:
    env = driver.env

    def step(simulators: Any, obs: Array, actions: Array) -> tuple[Any, Moved, _Record]:
        after, out = jax.vmap(env.pure.step)(simulators, actions)
        last = out.is_reset | out.invalid
        rows = replay_lib.pack(obs, actions, out.reward, out.terminated, last, jnp)
        decisions = jnp.sum(~out.is_reset, dtype=jnp.int32)
        failed = ~(jnp.isfinite(out.obs).all() & jnp.isfinite(out.reward).all())
        done = (out.terminated | out.truncated) & ~out.is_reset
        record = _Record(out.reward, done, out.is_reset, out.invalid, failed)
        return after, Moved(out.obs, out.is_reset, rows, decisions, failed), record

    def end(simulators: Any, obs: Array, is_first: Array, records: _Record) -> list[Cycle]:
        env.adopt(simulators)
        driver.obs, driver.is_first = np.array(obs, np.float64), np.array(is_first)
        if np.asarray(records.failed).any():
            raise EnvError(
                f"simulators of {env.env_spec.env_id} on MJX returned an observation or reward "
                "that is not finite; the last checkpoint is intact"
            )
        rows = np.empty((0, 0))  # they are in the replay
        return [
            driver.account(rows, reward, done, was_reset, invalid)
            for reward, done, was_reset, invalid in zip(*records[:4], strict=True)
        ]

    each = [jax.ShapeDtypeStruct((env.num_envs,), t) for t in ("float32", bool, bool, bool)]
    record = _Record(*each, failed=jax.ShapeDtypeStruct((), bool))
    return Backend(step, record, lambda: env.state, end)
