"""Hue jitter: recorded pictures in other colours, so that colour is nothing to predict."""

import numpy as np

from agents.data.augment import Augmentation, Rows
from agents.runs.config import ConfigError

GREY = np.full((3, 3), 1 / 3)
ACROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)


def hue_rotation(angle: np.ndarray) -> np.ndarray:
    """Matrices [..., 3, 3] that rotate colours about the grey axis by angles [...] in radians."""
    cos, sin = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    return cos * np.eye(3) + (1 - cos) * GREY + sin * ACROSS


def hue_jitter(share: float) -> Augmentation:
    """Each stretch has its hues rotated, half of the stretches anew on the way.

    `share` of the circle of hues, (0, 1]: angles lie within half of it to either side. Where
    colours may change at any time they are nothing to predict; mostly they stay, as in the world.
    """

    def change(rng: np.random.Generator, drawn: Rows) -> Rows:
        if "pixels" not in drawn:
            raise ConfigError("only pictures have colours: leave out --hue-jitter")
        pictures = drawn["pixels"]
        batch, length = pictures.shape[:2]
        rotation = hue_rotation(hue_angles(rng, batch, length, share)).astype(np.float32)
        flat = pictures.reshape(batch, length, -1, 3).astype(np.float32)
        rotated = np.clip(flat @ rotation.swapaxes(-1, -2) + 0.5, 0, 255)
        return {"pixels": rotated.astype(np.uint8).reshape(pictures.shape)}

    return Augmentation(change)


def hue_angles(rng: np.random.Generator, batch: int, length: int, share: float) -> np.ndarray:
    """[B, T] one angle a stretch, or two, with the change at a random row."""
    angles = rng.uniform(-np.pi * share, np.pi * share, (2, batch, 1))
    change = np.where(rng.random(batch) < 0.5, rng.integers(0, length, batch), length)
    return np.where(np.arange(length) < change[:, None], *angles)
