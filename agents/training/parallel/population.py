"""Several trainings of one task in one program: other seeds, other settings of the learner.

Every member is an ordinary `Trainer` with simulators, counters and random streams of its own; what
is computed on devices is stacked along a leading axis M, which is split over devices and vmapped on
each. A member learns what it would learn alone, to the rounding of batched products.
"""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from agents.acting.agent import over_rows
from agents.runs.compile import cpu_options, even_shares
from agents.training import replay as replay_lib
from agents.training.driver import Cycle
from agents.training.learner import draw, updates_on
from agents.training.loop import ACT, LEARN, stream
from agents.training.parallel.population_config import VARIABLE
from agents.training.trainer import Trainer
from wm.tdmpc import learner
from wm.tdmpc.model import Networks

Array = jax.Array
MEMBERS = "members"


def with_learner(net: Networks, values: dict[str, Array]) -> Any:
    """`net` whose learner has traced values for some of VARIABLE (they were checked before)."""
    settings = {f.name: getattr(net.learner, f.name) for f in fields(net.learner)}
    return net._replace(learner=SimpleNamespace(**settings | values))  # pyright: ignore


class Population:
    """Advances M trainers together, and holds their state in place of theirs."""

    def __init__(self, trainers: list[Trainer]):
        """Take over the state of `trainers`, which differ in seed and VARIABLE settings alone."""
        self.trainers = trainers
        lead = trainers[0]
        for other in trainers[1:]:  # one compilation serves every member's evaluation
            other.eval_agents = lead.eval_agents
        self.updates = lead.learning.updates
        self._mesh = _mesh(len(trainers))
        self.values = _varied(trainers)
        self._compile(lead)
        self._keys = self._stacked([t.key for t in trainers])
        self.metrics: list[Any] = [t.loop.metrics for t in trainers]
        parts = [t.loop._replace(metrics={}, plan_info=None) for t in trainers]
        self.loop = self._stacked(parts)
        for m, trainer in enumerate(trainers):
            trainer.loop = _Share(self, m)  # pyright: ignore[reportAttributeAccessIssue]

    def _compile(self, lead: Trainer) -> None:
        # Members that share a core take turns: an update's own arrays then fit its caches.
        most = None if self._mesh is None else 1
        act, learn = _actor(lead.pure[0].act), _learner(lead.net, self.updates, most)
        reductions = cpu_options(many_reductions=True)
        self._act = jax.jit(self._split(act), compiler_options=cpu_options())
        self._learn = jax.jit(self._split(learn), compiler_options=reductions)
        self._add = jax.jit(self._split(jax.vmap(replay_lib.add)), donate_argnums=0)
        self._take = jax.jit(lambda tree, m: jax.tree.map(lambda x: x[m], tree))

    def _split(self, one_device: Callable[..., Any]) -> Callable[..., Any]:
        """A function of stacked members, computed for a share of them on each device."""
        if self._mesh is None:
            return one_device
        spec = PartitionSpec(MEMBERS)
        # Scans that begin from constants are as varying as what they become; nothing to check.
        options = {"in_specs": spec, "out_specs": spec, "check_vma": False}
        return jax.shard_map(one_device, mesh=self._mesh, **options)

    def _stacked(self, trees: list[Any]) -> Any:
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        if self._mesh is None:
            return stacked
        return jax.device_put(stacked, NamedSharding(self._mesh, PartitionSpec(MEMBERS)))

    def cycle(self, live: np.ndarray) -> list[Cycle | None]:
        """One cycle of the members that are `live` [M]; None for the others, which stay as is."""
        settled = [t.counters.env_steps >= t.seed_steps for t in self.trainers]
        acting = live & np.array(settled)
        planned = self._decide(acting) if acting.any() else []
        cycles: list[Cycle | None] = [None] * len(self.trainers)
        for m in np.flatnonzero(live):
            driver, count = self.trainers[m].driver, self.trainers[m].counters.cycles
            cycles[m] = driver.step(planned[m] if acting[m] else driver.random_actions(count))
        self._store(cycles)
        return cycles

    def _decide(self, acting: np.ndarray) -> np.ndarray:
        """Actions [M, E, A]; the updates that are due run meanwhile."""
        drivers = [t.driver for t in self.trainers]
        obs = jnp.asarray(np.stack([d.obs for d in drivers]), jnp.float32)
        first = jnp.asarray(np.stack([d.is_first for d in drivers]))
        cycles = jnp.asarray([t.counters.cycles for t in self.trainers])
        planned, carry, info = self._act(
            self.loop.train.params, self.loop.carry, obs, first, self._keys, cycles, acting
        )
        self.loop = self.loop._replace(carry=carry, plan_info=info)
        self._update(acting)
        return np.asarray(planned)

    def _update(self, acting: np.ndarray) -> None:
        """Dispatch the updates that acting members are due."""
        while True:
            ready = acting & np.array([t.updates_due >= self.updates for t in self.trainers])
            if not ready.any():
                return
            done = jnp.asarray([t.counters.updates for t in self.trainers])
            train, metrics = self._learn(
                self.values, self.loop.train, self.loop.replay, self._keys, done, ready
            )
            self.loop = self.loop._replace(train=train)
            for m in np.flatnonzero(ready):
                self.trainers[m].counters.updates += self.updates
                self.metrics[m] = metrics

    def _store(self, cycles: list[Cycle | None]) -> None:
        """Append the rows; a member that does not go on gets zeros, after its state was taken."""
        shape = next(c.rows.shape for c in cycles if c is not None)
        rows = [np.zeros(shape, np.float32) if c is None else c.rows for c in cycles]
        replay = self._add(self.loop.replay, jnp.asarray(np.stack(rows)))
        self.loop = self.loop._replace(replay=replay)
        for trainer, cycle in zip(self.trainers, cycles, strict=True):
            if cycle is not None:
                trainer.counters = trainer.counters.after(cycle)

    def part(self, m: int, name: str) -> Any:
        """A field of the loop state of member `m`, as it is now."""
        stacked = self.metrics[m] if name == "metrics" else getattr(self.loop, name)
        share = jax.tree.map(partial(_share_of, m), stacked)
        each = len(self.trainers) // (self._mesh.size if self._mesh else 1)
        return jax.device_put(self._take(share, m % each), jax.local_devices()[0])


class _Share:
    """The loop state of a member, each field taken out of the population's when it is read."""

    def __init__(self, pop: Population, m: int):
        self._pop, self._m = pop, m

    def __getattr__(self, name: str) -> Any:
        return self._pop.part(self._m, name)


def _actor(act: Callable[..., Any]) -> Callable[..., Any]:
    """Decisions of members [M, ...]; the memory of those that do not act stays."""

    def act_all(params, carry, obs, is_first, keys, cycles, acting):
        drawn = jax.vmap(lambda key, n: stream(key, ACT, n))(keys, cycles)
        actions, moved, info = jax.vmap(act)(params, carry, obs, is_first, drawn)
        return actions, _where(acting, moved, carry), info

    return act_all


def _learner(net: Networks, count: int, most: int | None) -> Callable[..., Any]:
    """`count` updates of members [M, ...], `most` of them at a time; those not ready stay."""

    def update_one(values, state, batch, key):
        return learner.update(with_learner(net, values), state, batch, key)

    def learn_all(values, state, replay, keys, done, ready):
        drawn = jax.vmap(lambda key, n: stream(key, LEARN, n))(keys, done)
        of_updates = jax.vmap(lambda key: jax.random.split(key, count), out_axes=1)(drawn)

        def update(state, batches, keys):
            return over_rows(update_one, (values, state, batches, keys), most)

        draw_all = jax.vmap(partial(draw, net))
        learned, metrics = updates_on(draw_all, update, state, replay, of_updates)
        return _where(ready, learned, state), metrics

    return learn_all


def _mesh(members: int) -> Mesh | None:
    """As many devices as share the members evenly; None for one."""
    devices = jax.local_devices()
    count = even_shares(members, len(devices))
    return Mesh(np.array(devices[:count]), (MEMBERS,)) if count > 1 else None


def _share_of(m: int, stacked: Array) -> Array:
    """The part of [M, ...] on the device with member `m`: nothing has to be gathered."""
    shards = [s for s in stacked.addressable_shards if (s.index[0].start or 0) <= m]
    return max(shards, key=lambda shard: shard.index[0].start or 0).data


def _where(chosen: Array, new: Any, old: Any) -> Any:
    """Leaves [M, ...] of `new` for the members `chosen` [M], else of `old`."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(jnp.reshape(chosen, (-1, *[1] * (a.ndim - 1))), a, b)

    return jax.tree.map(pick, new, old)


def _varied(trainers: list[Trainer]) -> dict[str, Array]:
    """The settings in which members differ, name to values [M]."""
    values = {name: [getattr(t.net.learner, name) for t in trainers] for name in VARIABLE}
    return {k: jnp.asarray(v, jnp.float32) for k, v in values.items() if len(set(v)) > 1}
