"""Recorded episodes as a table of embeddings, and goals relabelled in hindsight.

Every row of the data has two embeddings: of the moment with its real history, and as a goal
(standing still there, as goals are embedded when acting; an observation vector of a moment in
motion is shown without its velocities).
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

    embedding: Array
    """[N, D] with history."""
    goal: Array
    """[N, D] of the same moments as goals."""
    action: Array
    """[N, block x A] actions from here on."""
    last: Array
    """[N] last row of the episode."""


class Hindsight(NamedTuple):
    """B rows, moments a stride later, and goals for them."""

    embedding: Array
    """[B, D]"""
    action: Array
    """[B, block x A]"""
    next_embedding: Array
    """[B, D] `lead` decisions later."""
    lead: Array
    """[B] decisions between the two: the stride, less where the episode ends."""
    goal: Array
    """[B, D]"""
    steps: Array
    """[B] decisions to the goal in the episode; infinite where the goal is elsewhere."""


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

    Rows of other episodes are left out. Before its first row an episode stood still, at its end
    its last action is repeated. `goals` are the rows as goals show them, where these look
    different (`at_rest`).
    """
    row = np.concatenate([s + np.arange(n) for s, n in zip(starts, lengths, strict=True)])
    first, last = (np.repeat(x, lengths)[:, None] for x in (starts, starts + lengths - 1))
    back = model.spacing * np.arange(model.history - 1, -1, -1)
    step = np.clip(row[:, None] + np.arange(model.block), first, np.maximum(last - 1, first))
    embed = partial(_embedded, model, params)
    arrays = (
        embed(frames, np.maximum(row[:, None] - back, first)),
        embed(frames if goals is None else goals, np.repeat(row[:, None], model.history, axis=1)),
        np.asarray(action)[step].reshape(len(row), -1),
        np.repeat(np.cumsum(lengths) - 1, lengths).astype(np.int32),
    )
    return Table(*(jnp.asarray(x) for x in arrays))


def _embedded(model: GoalModel, params: Any, frames: Any, index: np.ndarray) -> np.ndarray:
    """Embeddings [N, D] of the histories of `frames` at `index` [N, history]."""
    found = []
    for begin in range(0, len(index), CHUNK):
        part = index[begin : begin + CHUNK]
        full = np.resize(part, (CHUNK, *part.shape[1:]))  # one program for all
        found.append(np.asarray(_embed(model, params, jnp.asarray(frames[full])))[: len(part)])
    return np.concatenate(found)


@partial(jax.jit, static_argnums=0)
def _embed(model: GoalModel, params: Any, histories: Array) -> Array:
    """Embeddings [n, D]; compiled once a model, however many tables it makes."""
    return jax.vmap(lambda frames: model.embed(params, model.encode(params, frames)))(histories)


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
    later = (goal >= at) & (goal <= table.last[at])
    steps = jnp.where(later, goal - at, jnp.inf).astype(jnp.float32)
    noise = jax.random.normal(keys[4], (3, count, table.embedding.shape[1]))
    noise = noise * (config.noise * table.embedding.std(0))[None, None]
    return Hindsight(
        table.embedding[at] + noise[0],
        table.action[at],
        table.embedding[at + lead] + noise[1],
        lead.astype(jnp.float32),
        table.goal[goal] + noise[2],
        steps,
    )
