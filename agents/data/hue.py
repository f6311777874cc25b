"""Recorded pictures in other colours: what colour things have is nothing to predict."""

import numpy as np

from agents.data.changed import Changed
from agents.data.dataset import Data
from agents.runs.config import ConfigError

GREY = np.full((3, 3), 1 / 3)
ACROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)


def hue_turn(angle: np.ndarray) -> np.ndarray:
    """Matrices [..., 3, 3] that turn colours about the grey axis by angles [...] in radians."""
    cos, sin = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    return cos * np.eye(3) + (1 - cos) * GREY + sin * ACROSS


class Recoloured(Changed):
    """A dataset each of whose stretches has its colours turned, half of them anew on the way.

    `share` of the circle of hues, (0, 1]: angles lie within half of it to either side. Where
    colours may change at any time they are nothing to predict; mostly they stay, as in the world.
    """

    def __init__(self, data: Data, share: float):
        super().__init__(data)
        self._most = np.pi * share

    def _change(
        self, rng: np.random.Generator, drawn: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        if "pixels" not in drawn:
            raise ConfigError("only pictures have colours: leave out --hue-jitter")
        pictures = drawn["pixels"]
        batch, length = pictures.shape[:2]
        turns = hue_turn(self._angles(rng, batch, length)).astype(np.float32)
        flat = pictures.reshape(batch, length, -1, 3).astype(np.float32)
        turned = np.clip(flat @ turns.swapaxes(-1, -2) + 0.5, 0, 255)
        return {"pixels": turned.astype(np.uint8).reshape(pictures.shape)}

    def _angles(self, rng: np.random.Generator, batch: int, length: int) -> np.ndarray:
        """[B, T] one angle a stretch, or two, with the change at a random row."""
        angles = rng.uniform(-self._most, self._most, (2, batch, 1))
        change = np.where(rng.random(batch) < 0.5, rng.integers(0, length, batch), length)
        return np.where(np.arange(length) < change[:, None], *angles)
