"""Does the model follow the world: open-loop errors, counterfactuals, and the shape of latents."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from agents.data.dataset import Dataset
from agents.inspection import scores as scores
from agents.inspection.config import InspectConfig
from agents.inspection.model import Viewed, rows_of
from envs.native.recorded import EditedSimulator, ObservationSource
from wm.jepa import collapse

STRAIGHT_ROWS = 6
"""Steps of the model in a path whose straightness is measured."""


def open_loop(model: Viewed, dataset: Dataset, config: InspectConfig) -> dict[str, Any]:
    """Errors of k = 1.. steps in latent space, beside those of a latent that stays as it was.

    Squared distances over that of a random pair of test moments; 1 is no better than a guess.
    """
    ahead = config.horizon * model.block
    row, owner = rows_of(dataset, "test", model, config.rows // 4, config.seed, ahead)
    frames = dataset.arrays[model.field]
    actions = np.asarray(dataset.arrays["action"][row[:, None] + np.arange(ahead)])
    told = model.rollout(frames, row, actions, config.horizon)
    at = row[:, None] + model.block * np.arange(config.horizon + 1)
    true = model.embeddings(frames, at)
    other = np.random.default_rng(config.seed).permutation(len(row))
    unit = max(float(np.mean(np.sum((true[:, 0] - true[other, 0]) ** 2, -1))), 1e-12)
    curves = {}
    for name, guess in (("model", told[:, 1:]), ("copy", true[:, :1])):
        error = np.sum((guess - true[:, 1:]) ** 2, -1) / unit
        ends = [scores.mean_interval(column, owner, config.seed) for column in error.T]
        low, high = zip(*ends, strict=True)
        curves[name] = {"mean": error.mean(0).tolist(), "low": list(low), "high": list(high)}
    seconds = model.block * dataset.spec.control_dt * dataset.spec.action_repeat
    return {**curves, "step_s": seconds, "moments": len(row)}


def geometry(
    latents: np.ndarray, model: Viewed, dataset: Dataset, config: InspectConfig
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


def counterfactuals(model: Viewed, dataset: Dataset, config: InspectConfig) -> list[dict]:
    """Same start, other actions: is what the model foresees nearest to what those actions do?

    One row for a short and one for a longer stretch: the share of predictions that are nearest, of
    all outcomes from their start, to their own; its interval, over starts; and that of chance.
    """
    world, size = EditedSimulator(dataset.spec), 0
    if model.field == "pixels":
        size = dataset.arrays["pixels"].shape[1]
    views = ObservationSource(dataset.spec, size)
    steps = sorted({1, min(5, config.horizon)})
    found = [_counterfactual(model, dataset, config, world, views, k) for k in steps]
    views.close()
    return found


def _counterfactual(
    model: Viewed,
    dataset: Dataset,
    config: InspectConfig,
    world: EditedSimulator,
    views: ObservationSource,
    steps: int,
) -> dict[str, Any]:
    ahead, many = steps * model.block, config.branches
    row, owner = rows_of(dataset, "test", model, config.starts, config.seed, ahead)
    actions = _branches(dataset, row, ahead, config)  # [S, M, ahead, A]
    frames, physics = dataset.arrays[model.field], dataset.arrays["physics"]
    true, size = [], model.span + ahead + 1
    keep = np.unique(np.concatenate([size - 1 + model.offsets(), [size - 1]]))
    for start, own in zip(row, actions, strict=True):
        ran = [world.run(np.asarray(physics[start]), branch) for branch in own]
        after = keep[keep > model.span] - model.span  # moments of the branch that are looked at
        seen = views.of(
            np.stack([moments[after] for moments, _ in ran]),
            np.stack([obs[after] for _, obs in ran]),
        )
        past = np.asarray(frames[start + keep[keep <= model.span] - model.span])
        for branch in seen:
            true.append(np.concatenate([past, branch]))
    flat = np.concatenate(true)
    history = np.searchsorted(keep, size - 1 + model.offsets())
    latents = _encode_clips(model, flat, len(true), len(keep), history)
    told = model.rollout(
        frames, np.repeat(row, many), actions.reshape(len(row) * many, ahead, -1), steps
    )[:, -1]
    shape = (len(row), many, -1)
    right = scores.nearest_own(told.reshape(shape), latents.reshape(shape)).mean(1)
    low, high = scores.mean_interval(right, owner, config.seed)
    seconds = ahead * dataset.spec.control_dt * dataset.spec.action_repeat
    return {
        "steps": steps,
        "seconds": seconds,
        "accuracy": float(right.mean()),
        "low": low,
        "high": high,
        "chance": 1 / many,
        "starts": len(row),
    }


def _encode_clips(
    model: Viewed, flat: np.ndarray, clips: int, length: int, history: np.ndarray
) -> np.ndarray:
    """Embeddings [clips, D] of the last moment of clips of `length` frames each.

    `history` [K] says where its frames are in a clip.
    """
    rows = np.arange(clips)[:, None] * length + history
    last = np.arange(clips) * model.history + model.history - 1
    return replace(model, spacing=1).embeddings(flat[rows.reshape(-1)], last)


def _branches(dataset: Dataset, row: np.ndarray, ahead: int, config: InspectConfig) -> np.ndarray:
    """Actions [S, M, ahead, A]: what was done there, and elsewhere in test episodes."""
    rng = np.random.default_rng([config.seed, 3])
    elsewhere = dataset.slice_rows(rng, "test", len(row) * (config.branches - 1), ahead + 1)
    others = elsewhere[:, :-1].reshape(len(row), config.branches - 1, ahead)
    own = row[:, None, None] + np.arange(ahead)
    return np.asarray(dataset.arrays["action"][np.concatenate([own, others], axis=1)])
