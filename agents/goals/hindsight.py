"""Recorded episodes as a table of embeddings, and goals relabelled in hindsight.

Every row of the data has two embeddings: as the place where the agent is (with its real history)
and as a goal (standing still there, as goals are embedded when acting; an observation vector of a
moment in motion is shown without its velocities).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.goals.agent import GoalModel
from agents.goals.config import GoalHeadsConfig

Array = jax.Array
CHUNK = 512
VELOCITY = "velocity"
"""Name of the part of an observation that a goal at rest shows as zeros."""


class Table(NamedTuple):
    """N rows of data; on device."""

    place: Array
    """[N, D] embeddings with history."""
    goal: Array
    """[N, D] embeddings of the same moments as goals."""
    action: Array
    """[N, block x A] actions taken from here on."""
    last: Array
    """[N] last row of the episode."""


class Hindsight(NamedTuple):
    """B rows, moments a stride later, and goals for them."""

    place: Array
    """[B, D]"""
    action: Array
    """[B, block x A]"""
    later: Array
    """[B, D] place `lead` decisions later."""
    lead: Array
    """[B] decisions between the two: the stride, less where the episode ends."""
    goal: Array
    """[B, D]"""
    taken: Array
    """[B] decisions from place to goal in the episode; infinite where the goal is elsewhere."""


def at_rest(
    frames: Any, obs_names: Sequence[tuple[str, int]], left_open: Sequence[str] = ()
) -> np.ndarray:
    """Observation vectors [N, O] as goals show them: without motion, velocities are zero.

    Parts that goals leave open are those of another row, so that nothing is learned of them.
    """
    still, begin = np.array(frames), 0
    for name, size in obs_names:
        part = slice(begin, begin + size)
        if name == VELOCITY:
            still[:, part] = 0.0
        elif name in left_open:
            still[:, part] = np.random.default_rng(begin).permutation(still[:, part])
        begin += size
    return still


def embed_rows(
    model: GoalModel,
    params: Any,
    frames: Any,
    starts: np.ndarray,
    lengths: np.ndarray,
    goals: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D] of all rows as places and as goals.

    `frames` are rows [N, ...] of whole episodes; before its first row an episode stood still.
    `goals` are the same rows as goals show them, where these look different.
    """
    goals = frames if goals is None else goals
    back = model.spacing * np.arange(model.history - 1, -1, -1)
    row = np.concatenate([s + np.arange(n) for s, n in zip(starts, lengths, strict=True)])
    first = np.repeat(starts, lengths)

    def all_of(frames: Any, index: np.ndarray) -> np.ndarray:
        found = []
        for begin in range(0, len(index), CHUNK):
            part = index[begin : begin + CHUNK]
            full = np.resize(part, (CHUNK, *part.shape[1:]))  # one program for all
            found.append(np.asarray(_embed(model, params, jnp.asarray(frames[full])))[: len(part)])
        return np.concatenate(found)

    place = all_of(frames, np.maximum(row[:, None] - back, first[:, None]))
    return place, all_of(goals, np.repeat(row[:, None], model.history, axis=1))


@partial(jax.jit, static_argnums=0)
def _embed(model: GoalModel, params: Any, histories: Array) -> Array:
    """Embeddings [n, D]; compiled once a model, however many tables it makes."""
    return jax.vmap(lambda frames: model.embed(params, model.encode(params, frames)))(histories)


def make_table(
    model: GoalModel,
    params: Any,
    frames: Any,
    action: Any,
    starts: np.ndarray,
    lengths: np.ndarray,
    goals: Any = None,
) -> Table:
    """The table of episodes that begin at rows `starts` and have `lengths` rows.

    Rows of other episodes are left out. At an episode's end its last action is repeated. `goals`
    are the rows as goals show them, where these look different (`at_rest`).
    """
    place, goal = embed_rows(model, params, frames, starts, lengths, goals)
    blocks, last, begin = [], [], 0
    for start, length in zip(starts, lengths, strict=True):
        step = np.arange(length)[:, None] + np.arange(model.block)
        taken = np.asarray(action[start : start + length])[np.clip(step, 0, max(length - 2, 0))]
        blocks.append(taken.reshape(length, -1))
        last.append(np.full(length, begin + length - 1))
        begin += length
    arrays = (place, goal, np.concatenate(blocks), np.concatenate(last).astype(np.int32))
    return Table(*(jnp.asarray(x) for x in arrays))


def joined(tables: Sequence[Table]) -> Table:
    """One table of the episodes of all."""
    begins = np.cumsum([0, *(len(table.last) for table in tables[:-1])])
    moved = [t._replace(last=t.last + int(begin)) for t, begin in zip(tables, begins, strict=True)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *moved)


def relabel(table: Table, config: GoalHeadsConfig, key: Array) -> Hindsight:
    """A batch of rows with goals, some from later in the same episode and some from anywhere."""
    keys = jax.random.split(key, 5)
    count, rows = config.batch_size, table.last.shape[0]
    at = jax.random.randint(keys[0], (count,), 0, rows)
    left = table.last[at] - at
    lead = jnp.minimum(config.stride, left)
    ahead = jax.random.geometric(keys[1], config.nearness, (count,)).astype(jnp.int32)
    same = (jax.random.uniform(keys[2], (count,)) < config.same_episode) & (left > 0)
    other = jax.random.randint(keys[3], (count,), 0, rows)
    goal = jnp.where(same, at + jnp.minimum(ahead, left), other)
    within = (goal >= at) & (goal <= table.last[at])
    taken = jnp.where(within, goal - at, jnp.inf).astype(jnp.float32)
    noise = jax.random.normal(keys[4], (3, count, table.place.shape[1]))
    noise = noise * (config.noise * table.place.std(0))[None, None]
    return Hindsight(
        table.place[at] + noise[0],
        table.action[at],
        table.place[at + lead] + noise[1],
        lead.astype(jnp.float32),
        table.goal[goal] + noise[2],
        taken,
    )
