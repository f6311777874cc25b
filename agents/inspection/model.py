"""A world model as an inspection uses it: three batched functions and what they read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from agents.data.dataset import Dataset
from agents.runs.config import ConfigError

CHUNK = 256


@dataclass(frozen=True)
class InspectedModel:
    """A model that can be looked into, whatever is behind it.

    Attributes:
        kind: jepa (reward-free) or reward (TD-MPC2 style).
        field: the array of a dataset that it sees: obs or pixels.
        history: frames of one encoding, `spacing` decisions apart, the latest last.
        block: decisions that one step spans.
        encode: frames [N, history, ...] -> latents (pytree, [N, ...]).
        step: latents, actions [N, block * A] -> latents.
        embed: latents -> [N, D].
    """

    kind: Literal["jepa", "reward"]
    field: str
    history: int
    spacing: int
    block: int
    encode: Callable[[Any], Any]
    step: Callable[[Any, Any], Any]
    embed: Callable[[Any], Any]

    @property
    def span(self) -> int:
        """Rows before the latest that an encoding reads."""
        return (self.history - 1) * self.spacing

    def offsets(self) -> np.ndarray:
        """Rows of an encoding's frames, relative to the latest, [history]."""
        return self.spacing * np.arange(1 - self.history, 1)

    def embeddings(self, frames: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[..., D] of the moments at rows [...] of frames [R, ...], which are read in chunks."""
        flat = rows.reshape(-1)
        found = [np.asarray(self.embed(latent)) for _, latent in self._encoded(frames, flat)]
        return np.concatenate(found)[: len(flat)].reshape(*rows.shape, -1)

    def rollout(
        self, frames: np.ndarray, rows: np.ndarray, actions: np.ndarray, steps: int
    ) -> np.ndarray:
        """Open-loop embeddings [N, steps + 1, D], the first of them encoded.

        `rows` [N] of the first moment in frames [R, ...], `actions` [N, steps * block, A].
        """
        blocks = actions.reshape(len(rows), steps, -1)
        found = []
        for begin, latent in self._encoded(frames, rows):
            chunk = _padded(blocks[begin : begin + CHUNK])
            path = [self.embed(latent)]
            for k in range(steps):
                latent = self.step(latent, chunk[:, k])
                path.append(self.embed(latent))
            found.append(np.stack([np.asarray(p) for p in path], 1))
        return np.concatenate(found)[: len(rows)]

    def _encoded(self, frames: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, Any]]:
        """First index and latents of every chunk of rows; the last chunk is padded."""
        for begin in range(0, len(rows), CHUNK):
            chunk = _padded(rows[begin : begin + CHUNK])
            yield begin, self.encode(np.asarray(frames[chunk[:, None] + self.offsets()]))


def _padded(values: np.ndarray) -> np.ndarray:
    """[CHUNK, ...]: the first entry repeated at the end, so that one program serves all chunks."""
    missing = CHUNK - len(values)
    return np.concatenate([values, np.repeat(values[:1], missing, 0)]) if missing else values


def of_jepa(net: Any, params: Any) -> InspectedModel:
    """A reward-free model (`wm/jepa/model.py`)."""
    config = net.config
    return InspectedModel(
        "jepa",
        "pixels" if config.pixels else "obs",
        config.history,
        config.spacing,
        config.action_block,
        encode=jax.jit(jax.vmap(lambda f: net.encode(params, f))),
        step=jax.jit(jax.vmap(lambda z, a: net.step(params, z, a))),
        embed=jax.jit(jax.vmap(lambda z: net.embed(params, z))),
    )


def of_tdmpc(net: Any, params: Any) -> InspectedModel:
    """A reward-driven model (`wm/tdmpc/model.py`): one observation, one decision a step."""
    return InspectedModel(
        *("reward", "obs", 1, 1, 1),
        encode=jax.jit(lambda f: net.encode(params, jnp.asarray(f[:, 0], jnp.float32))),
        step=jax.jit(lambda z, a: net.predict(params, z, a)),
        embed=lambda z: z,
    )


def require_frames(model: InspectedModel, dataset: Dataset) -> None:
    """Raise ConfigError unless the dataset has what the model sees."""
    if model.field not in dataset.arrays:
        raise ConfigError(
            f"the model reads {model.field}, which {dataset.path} does not have: collect with it"
        )


def rows_of(
    dataset: Dataset, split: Any, model: InspectedModel, most: int, seed: int, after: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a split with a whole history before and `after` rows behind, and their episodes.

    At most `most`, drawn without replacement. Raises ConfigError where there is none.
    """
    rows, owners = [], []
    for number in dataset.split(split):
        episode = dataset.episodes[number]
        rows.append(np.arange(episode.start + model.span, episode.rows.stop - after))
        owners.append(np.full(len(rows[-1]), number))
    if not sum(map(len, rows)):
        raise ConfigError(
            f"{dataset.path}: no episode of split {split} has {model.span + after + 1} rows; "
            "collect more or longer episodes"
        )
    row, owner = np.concatenate(rows), np.concatenate(owners)
    if len(row) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(row), most, replace=False))
        row, owner = row[chosen], owner[chosen]
    return row, owner
