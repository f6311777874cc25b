"""Scores of an inspection as functions of arrays, each with its formula. Imports no jax.

Intervals are 95 % percentile bootstraps; what belongs together (an episode) is drawn so. Of a
single one nothing can be said: NaN.
"""

from collections.abc import Callable

import numpy as np

from agents.evaluation import stats
from agents.evaluation.stats import Interval

CONSTANT = 1e-12
"""Share of the sum of squares below which a spread is rounding."""


def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """1 - sum (y - p)^2 / sum (y - mean y)^2; NaN for a constant y."""
    spread, least = np.sum((true - true.mean()) ** 2), CONSTANT * np.sum(true**2)
    return float(1 - np.sum((true - predicted) ** 2) / spread) if spread > least else float("nan")


def r2_interval(
    true: np.ndarray, predicted: np.ndarray, groups: np.ndarray, seed: int = 0
) -> Interval:
    """Interval of `r2` when groups (episodes) are drawn, with all their rows."""

    def r2s(n: np.ndarray, total: np.ndarray, squares: np.ndarray, errors: np.ndarray):
        spread = squares - total**2 / n
        known = spread > CONSTANT * np.maximum(squares, 1e-300)
        return np.where(known, 1 - errors / np.where(known, spread, 1), np.nan)

    columns = (np.ones_like(true), true, true**2, (true - predicted) ** 2)
    return _of_groups(groups, columns, r2s, seed)


def mean_interval(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Interval:
    """Interval of the mean of values [n] when groups are drawn, with all their rows."""
    return _of_groups(groups, (np.ones_like(values), values), lambda n, total: total / n, seed)


def _of_groups(
    groups: np.ndarray, columns: tuple, statistic: Callable[..., np.ndarray], seed: int
) -> Interval:
    """Interval of a statistic of the sums of columns [n] over the rows of the groups drawn."""
    names, where = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    sums = np.stack([np.bincount(where, column) for column in columns], -1)  # [groups, columns]
    found = stats.resamples([len(names)], lambda drawn: statistic(*(drawn @ sums).T), seed)
    return stats.ends(stats.clean(found))


def straightness(paths: np.ndarray) -> np.ndarray:
    """Mean cosine between consecutive steps of each path [N, T >= 3, D], [N].

    1 for a straight line whatever its pace, 0 for a random walk, -1 for going back and forth
    (Henaff, Goris and Simoncelli, 2019, have its angle). NaN where a path stands still throughout.
    """
    steps = np.diff(np.asarray(paths, float), axis=1)
    length = np.linalg.norm(steps, axis=-1)
    dots = np.sum(steps[:, 1:] * steps[:, :-1], axis=-1)
    norms = length[:, 1:] * length[:, :-1]
    cosine = np.where(norms > 1e-12, dots / np.maximum(norms, 1e-12), np.nan)
    known = np.isfinite(cosine).sum(1)
    with np.errstate(invalid="ignore"):
        return np.where(known > 0, np.nansum(cosine, 1) / known, np.nan)


def nearest_own(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Whether each prediction is nearest to its own outcome among its start's, [S, M] float.

    Predictions and outcomes [S, M, D]; a tie between n outcomes counts 1 / n.
    """
    gap = predicted[:, :, None] - true[:, None]
    distance = np.sum(gap**2, axis=-1)
    own = np.diagonal(distance, axis1=1, axis2=2)
    least = distance.min(-1)
    ties = (distance == least[..., None]).sum(-1)
    return (own == least) / ties
