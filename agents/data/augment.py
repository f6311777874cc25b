"""Data augmentation: what is drawn from a dataset is changed at random."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from agents.data.dataset import Data, Split

Rows = dict[str, np.ndarray]


class Augmentation(NamedTuple):
    """A random change of stretches of rows."""

    change: Callable[[np.random.Generator, Rows], Rows]
    """The fields [B, T, ...] that become others, from all that were drawn."""
    needs: tuple[str, ...] = ()
    """Fields that it has to see, whichever are asked for."""


class Augmented:
    """A dataset whose stretches are changed, by one augmentation after another, when drawn."""

    def __init__(self, data: Data, *augmentations: Augmentation):
        self._data, self._augmentations = data, augmentations

    def slices(
        self,
        rng: np.random.Generator,
        split: Split,
        batch: int,
        length: int,
        *,
        fields: Sequence[str],
    ) -> Rows:
        """As those of the dataset, changed. Raises ConfigError where that cannot be."""
        needed = [name for each in self._augmentations for name in each.needs]
        seen = tuple(dict.fromkeys((*fields, *needed)))
        drawn = self._data.slices(rng, split, batch, length, fields=seen)
        for each in self._augmentations:
            drawn |= each.change(rng, drawn)
        return {name: drawn[name] for name in fields}
