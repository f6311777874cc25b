"""Datasets that are learned from as if they had been recorded otherwise."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agents.data.dataset import Data, Split


class Changed:
    """A dataset whose stretches are changed at random when they are drawn."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Fields that a change has to see, whichever are asked for."""

    def __init__(self, data: Data):
        self._data = data

    def slices(
        self,
        rng: np.random.Generator,
        split: Split,
        batch: int,
        length: int,
        pixels: bool = False,
        fields: Sequence[str] = ("obs", "action"),
    ) -> dict[str, np.ndarray]:
        """As those of the dataset, changed. Raises ConfigError where that cannot be."""
        seen = tuple(dict.fromkeys((*fields, *self.needs)))
        drawn = self._data.slices(rng, split, batch, length, pixels, seen)
        drawn |= self._change(rng, drawn)
        return {name: drawn[name] for name in (*fields, *(["pixels"] if pixels else []))}

    @abstractmethod
    def _change(
        self, rng: np.random.Generator, drawn: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The fields [B, T, ...] that become others."""
