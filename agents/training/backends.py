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
from agents.training.driver import Cycle, Driver, Episode
from envs.spec import EnvError

Array = jax.Array


class Ended(NamedTuple):
    """Which simulators' episodes ended in a cycle, and how; arrays [E]."""

    done: Any
    ret: Any
    length: Any
    invalid: Any


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

    step(inner, obs [E, O], actions [E, A]) -> (inner, Moved, record of the cycle)
    record: shapes of that record
    begin() -> inner, what the program carries of the simulators
    end(inner, obs, is_first, records, count) -> the cycles of a chunk on the host, whose records
        have a leading axis; raises what the simulators raised
    """

    step: Callable[[Any, Array, Array], tuple[Any, Moved, Any]]
    record: Any
    begin: Callable[[], Any]
    end: Callable[[Any, Array, Array, Any, int], list[Cycle]]


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

    def step(inner: Any, obs: Array, actions: Array) -> tuple[Any, Moved, Any]:
        del obs  # the host has it in float64
        return inner, call(actions), ()

    def end(inner: Any, obs: Array, is_first: Array, records: Any, cycles: int) -> list[Cycle]:
        del inner, obs, is_first, records, cycles
        happened = log.copy()
        log.clear()
        if failure:
            raise failure.pop()
        return happened

    return Backend(step, (), lambda: (), end)


class _Pure(NamedTuple):
    """MJX simulators and the episodes they are in."""

    state: Any
    returns: Array
    lengths: Array


def _mjx(driver: Driver) -> Backend:
    env = driver.env

    def begin() -> _Pure:
        lengths = jnp.asarray(driver.lengths, jnp.int32)
        return _Pure(env.state, jnp.asarray(driver.returns, jnp.float32), lengths)

    def step(inner: _Pure, obs: Array, actions: Array) -> tuple[_Pure, Moved, Any]:
        state, out = jax.vmap(env.pure.step)(inner.state, actions)
        last = out.is_reset | out.invalid
        rows = replay_lib.pack(obs, actions, out.reward, out.terminated, last, jnp)
        returns = inner.returns + out.reward
        lengths = inner.lengths + ~out.is_reset
        done = (out.terminated | out.truncated) & ~out.is_reset
        decisions = jnp.sum(~out.is_reset, dtype=jnp.int32)
        failed = ~(jnp.isfinite(out.obs).all() & jnp.isfinite(out.reward).all())
        moved = Moved(out.obs, out.is_reset, rows, decisions, failed)
        after = _Pure(state, jnp.where(done, 0.0, returns), jnp.where(done, 0, lengths))
        return after, moved, (decisions, failed, Ended(done, returns, lengths, out.invalid))

    def end(inner: _Pure, obs: Array, is_first: Array, records: Any, count: int) -> list[Cycle]:
        env.adopt(inner.state)
        driver.obs, driver.is_first = np.array(obs, np.float64), np.array(is_first)
        driver.returns = np.array(inner.returns, np.float64)
        driver.lengths = np.array(inner.lengths, np.int64)
        decisions, failed, ended = jax.tree.map(lambda x: np.asarray(x)[:count], records)
        if failed.any():
            raise EnvError(
                f"simulators of {env.env_spec.env_id} on MJX returned an observation or reward "
                "that is not finite; the last checkpoint is intact"
            )
        return [
            Cycle(np.empty((0, 0)), int(decisions[t]), _episodes(Ended(*[x[t] for x in ended])))
            for t in range(count)
        ]

    each = [jax.ShapeDtypeStruct((env.num_envs,), t) for t in (bool, "float32", "int32", bool)]
    flag = jax.ShapeDtypeStruct((), bool)
    return Backend(step, (jax.ShapeDtypeStruct((), "int32"), flag, Ended(*each)), begin, end)


def _episodes(ended: Ended) -> list[Episode]:
    return [
        Episode(float(ended.ret[i]), int(ended.length[i]), bool(ended.invalid[i]))
        for i in np.flatnonzero(ended.done)
    ]
