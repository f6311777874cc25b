"""A decoder fitted after the fact, only to look at latents and predicted latents.

Nothing of it flows back into the model. It is kernel ridge regression in closed form: latents are
first mapped linearly to what they say about pictures (their principal components), so that what
pictures do not show, such as velocity, does not keep moments apart; a Gaussian kernel there gives
the picture.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg
from scipy.spatial.distance import cdist

from agents.data.dataset import Dataset
from agents.inspection.config import InspectConfig
from agents.inspection.model import InspectedModel, rows_of

SIDE, COMPONENTS = 32, 128
"""Most pixels of a side of decoded pictures, and most components they are made of."""
WIDTHS, RIDGES = (0.05, 0.1, 0.2, 0.4, 0.8), (1e-4, 1e-2)
"""Of the kernel, times the median distance; and of its ridge. Chosen on validation moments."""
CLIPS, STEPS = 3, (0, 1, 2, 4, 8)
"""Clips that are shown, and how many steps ahead."""


class Decoder(NamedTuple):
    """A fitted kernel ridge regression."""

    mean: np.ndarray
    std: np.ndarray
    linear: np.ndarray
    """[D, C] normalised latents to components."""
    centres: np.ndarray
    """[N, C] components that train latents give."""
    weights: np.ndarray
    """[N, C]"""
    scale: float
    """Twice the squared width of the kernel."""
    basis: np.ndarray
    """[C, P] pixels of the components."""
    picture: np.ndarray
    """[P] mean picture."""


def decoded(model: InspectedModel, dataset: Dataset, config: InspectConfig) -> dict[str, Any]:
    """Fit on train moments, choose on validation moments, decode test moments and predictions.

    Returns {"note"} without pictures, else the error (mean squared, of pixels in 0..1, of test
    moments; beside that of the mean picture) and `clips`: pictures uint8 [C, 3, K, H, W, 3], true,
    decoded from the encoding of the moment, decoded from the prediction.
    """
    if "pixels" not in dataset.arrays:
        return {"note": "the dataset has no pictures to decode to"}
    if not config.decoder_rows:
        return {"note": "left out (--decoder-rows 0)"}
    pixels, frames = dataset.arrays["pixels"], dataset.arrays[model.field]

    def rows(split: str, most: int, ahead: int = 0) -> np.ndarray:
        return rows_of(dataset, split, model, most, config.seed, ahead)[0]

    def pair(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return model.embeddings(frames, row), _small(np.asarray(pixels[row]))

    train = pair(rows("train", config.decoder_rows))
    decoder = fit(*train, *pair(rows("validation", max(config.decoder_rows // 4, 1))))
    steps = [k for k in STEPS if k <= config.horizon]
    ahead = steps[-1] * model.block
    row = rows("test", 64, ahead)
    actions = np.asarray(dataset.arrays["action"][row[:, None] + np.arange(ahead)])
    predicted = model.rollout(frames, row, actions, steps[-1])[:, steps]
    latents, true = pair(row[:, None] + model.block * np.array(steps))
    shown = [decode(decoder, z).reshape(true.shape) for z in (latents, predicted)]
    plain = decoder.picture.reshape(true.shape[2:])
    chosen = np.linspace(0, len(row) - 1, CLIPS).astype(int)
    both = [(255 * np.clip(s[chosen], 0, 1)).astype(np.uint8) for s in (true, *shown)]
    return {
        "error": float(np.mean((shown[0] - true) ** 2)),
        "mean_picture_error": float(np.mean((plain - true) ** 2)),
        "steps": steps,
        "clips": np.stack(both, 1),
    }


def _small(pictures: np.ndarray) -> np.ndarray:
    """Pictures [..., H, W, 3] in 0..1, averaged down to at most SIDE pixels where H divides."""
    side = pictures.shape[-2]
    n = max(side // SIDE, 1) if side % SIDE == 0 else 1
    shape = (*pictures.shape[:-3], side // n, n, side // n, n, 3)
    return pictures.reshape(shape).mean((-4, -2), dtype=np.float32) / np.float32(255)


def fit(z: np.ndarray, pictures: np.ndarray, held_z: np.ndarray, held: np.ndarray) -> Decoder:
    """From latents [N, D] and pictures [N, ...] of train and validation moments."""
    std = z.std(0)
    mean, std = z.mean(0), np.where(std > 1e-6, std, 1.0)
    flat = pictures.reshape(len(z), -1)
    picture = flat.mean(0)
    values, vectors = np.linalg.eigh((flat - picture) @ (flat - picture).T)
    kept = slice(max(len(z) - COMPONENTS, 0), None)
    scores = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0))
    basis = np.linalg.pinv(scores) @ (flat - picture)
    x = (z - mean) / std
    linear = np.linalg.solve(x.T @ x + 1e-3 * len(z) * np.eye(x.shape[1]), x.T @ scores)
    centres = x @ linear
    held_scores = (held.reshape(len(held_z), -1) - picture) @ basis.T
    distance = cdist(centres, centres, "sqeuclidean")
    held_distance = cdist(((held_z - mean) / std) @ linear, centres, "sqeuclidean")
    unit = max(float(np.median(distance)), 1e-12)
    best, scale, weights = np.inf, unit, np.zeros_like(scores)
    for width, ridge in itertools.product(WIDTHS, RIDGES):
        wide = 2 * width**2 * unit
        kernel = np.exp(-distance / wide) + ridge * np.eye(len(z))
        found = linalg.solve(kernel, scores, assume_a="pos")
        error = float(np.mean((np.exp(-held_distance / wide) @ found - held_scores) ** 2))
        if error < best:
            best, scale, weights = error, wide, found
    return Decoder(mean, std, linear, centres, weights, scale, basis, picture)


def decode(decoder: Decoder, z: np.ndarray) -> np.ndarray:
    """Pictures [..., P] in about 0..1 of latents [..., D]."""
    flat = (z.reshape(-1, z.shape[-1]) - decoder.mean) / decoder.std
    distance = cdist(flat @ decoder.linear, decoder.centres, "sqeuclidean")
    kernel = np.exp(-distance / decoder.scale)
    found = kernel @ decoder.weights @ decoder.basis + decoder.picture
    return found.reshape(*z.shape[:-1], -1)
