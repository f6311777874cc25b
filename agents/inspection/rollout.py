"""Open-loop errors, counterfactual actions, and the geometry of latents."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from agents.data.dataset import Dataset
from agents.inspection import scores
from agents.inspection.config import InspectConfig
from agents.inspection.model import InspectedModel, rows_of
from envs.native.recorded import EditedSimulator, ObservationSource
from wm.jepa import collapse

STRAIGHT_ROWS = 6
"""Steps of the model in a path whose straightness is measured."""


def open_loop(model: InspectedModel, dataset: Dataset, config: InspectConfig) -> dict[str, Any]:
    """Errors of k = 1.. steps in latent space, beside those of a latent that stays as it was.

    Squared distances over that of a random pair of test moments; 1 is no better than a guess.
    """
    ahead = config.horizon * model.block
    row, owner = rows_of(dataset, "test", model, config.rows // 4, config.seed, ahead)
    frames = dataset.arrays[model.field]
    actions = np.asarray(dataset.arrays["action"][row[:, None] + np.arange(ahead)])
    predicted = model.rollout(frames, row, actions, config.horizon)
    at = row[:, None] + model.block * np.arange(config.horizon + 1)
    true = model.embeddings(frames, at)
    other = np.random.default_rng(config.seed).permutation(len(row))
    unit = max(float(np.mean(np.sum((true[:, 0] - true[other, 0]) ** 2, -1))), 1e-12)
    curves = {}
    for name, guess in (("model", predicted[:, 1:]), ("copy", true[:, :1])):
        error = np.sum((guess - true[:, 1:]) ** 2, -1) / unit
        ends = [scores.mean_interval(column, owner, config.seed) for column in error.T]
        low, high = zip(*ends, strict=True)
        curves[name] = {"mean": error.mean(0).tolist(), "low": list(low), "high": list(high)}
    seconds = model.block * dataset.spec.control_dt * dataset.spec.action_repeat
    return {**curves, "step_s": seconds, "moments": len(row)}


def geometry(
    latents: np.ndarray, model: InspectedModel, dataset: Dataset, config: InspectConfig
) -> dict[str, Any]:
    """Effective rank, spread of every dimension, and how straight paths are, of test moments."""
    std = latents.std(0)
    rank = float(collapse.effective_rank(jnp.asarray(latents, jnp.float32)))
    ahead = STRAIGHT_ROWS * model.block
    row, owner = rows_of(dataset, "test", model, config.rows // 8, config.seed, ahead)
    at = row[:, None] + model.block * np.arange(STRAIGHT_ROWS + 1)
    frames = dataset.arrays[model.field]
    paths = {
        "latent": model.embeddings(frames, at),
        model.field: np.asarray(frames[at], np.float32).reshape(*at.shape, -1),
    }
    straight = {}
    for name, path in paths.items():
        values = scores.straightness(path)
        known = np.isfinite(values)
        if known.any():
            low, high = scores.mean_interval(values[known], owner[known], config.seed)
            straight[name] = {"mean": float(values[known].mean()), "low": low, "high": high}
    return {
        "dimensions": latents.shape[1],
        "effective_rank": rank,
        "effective_rank_share": rank / latents.shape[1],
        "std": std.tolist(),
        "straightness": straight,
    }


def counterfactuals(model: InspectedModel, dataset: Dataset, config: InspectConfig) -> list[dict]:
    """Same start, other actions: is what the model foresees nearest to what those actions do?

    One row for a short and one for a longer stretch: the share of predictions that are nearest, of
    all outcomes from their start, to their own; its interval, over starts; and that of chance.
    """
    frames = dataset.arrays[model.field]
    views = ObservationSource(dataset.spec, frames.shape[1] if model.field == "pixels" else 0)
    steps = sorted({1, min(5, config.horizon)})
    found = [_counterfactual(model, dataset, config, views, k) for k in steps]
    views.close()
    return found


def _counterfactual(
    model: InspectedModel,
    dataset: Dataset,
    config: InspectConfig,
    views: ObservationSource,
    steps: int,
) -> dict[str, Any]:
    ahead, world = steps * model.block, EditedSimulator(dataset.spec)
    row, owner = rows_of(dataset, "test", model, config.starts, config.seed, ahead)
    actions = _branches(dataset, row, ahead, config)  # [S, M, ahead, A]
    shape = (*actions.shape[:2], -1)
    frames, physics = dataset.arrays[model.field], dataset.arrays["physics"]
    read = ahead + model.offsets()  # of the last moment's encoding, counted from the start
    clips = []  # what is read of the recorded past and of each branch
    for start, own in zip(row, actions, strict=True):
        ran = [world.run(np.asarray(physics[start]), branch) for branch in own]
        later = [np.stack(arrays)[:, read[read > 0]] for arrays in zip(*ran, strict=True)]
        seen = views.of(*later)
        past = np.asarray(frames[start + read[read <= 0]])
        clips += [np.concatenate([past, branch]) for branch in seen]
    latents = replace(model, spacing=1).embeddings(
        np.concatenate(clips), len(read) * np.arange(1, len(clips) + 1) - 1
    )
    predicted = model.rollout(
        frames, np.repeat(row, shape[1]), actions.reshape(len(clips), ahead, -1), steps
    )[:, -1]
    right = scores.nearest_own(predicted.reshape(shape), latents.reshape(shape)).mean(1)
    low, high = scores.mean_interval(right, owner, config.seed)
    return {
        "steps": steps,
        "seconds": ahead * dataset.spec.control_dt * dataset.spec.action_repeat,
        "accuracy": float(right.mean()),
        "low": low,
        "high": high,
        "chance": 1 / config.branches,
        "starts": len(row),
    }


def _branches(dataset: Dataset, row: np.ndarray, ahead: int, config: InspectConfig) -> np.ndarray:
    """Actions [S, M, ahead, A]: what was done there, and elsewhere in test episodes."""
    rng = np.random.default_rng([config.seed, 3])
    elsewhere = dataset.slice_rows(rng, "test", len(row) * (config.branches - 1), ahead + 1)
    others = elsewhere[:, :-1].reshape(len(row), config.branches - 1, ahead)
    own = row[:, None, None] + np.arange(ahead)
    return np.asarray(dataset.arrays["action"][np.concatenate([own, others], axis=1)])
