"""The figures of an inspection as plain functions of arrays, each with its formula. Imports no jax.

Intervals are 95 % percentile bootstraps; what belongs together (an episode, a clip) is drawn so.
Of a single one nothing can be said: NaN.
"""

import numpy as np

REPS = 2000
CONSTANT = 1e-12
"""Share of the sum of squares below which a spread is rounding."""
Interval = tuple[float, float]


def auroc(events: np.ndarray, controls: np.ndarray) -> float:
    """Probability that a random event scores above a random control, ties counting half.

    The area under the ROC curve (Mann and Whitney's U over the number of pairs). NaN without both.
    """
    wins = _wins(events, controls)
    return float(wins.mean()) if wins.size else float("nan")


def auroc_interval(events: np.ndarray, controls: np.ndarray, seed: int = 0) -> Interval:
    """Interval of `auroc` for events [n] and controls [n] that were made from the same n clips."""
    wins, count = _wins(events, controls), len(events)
    if not wins.size:
        return float("nan"), float("nan")
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), REPS)
    found = np.einsum("ri,ij,rj->r", weights, wins, weights, optimize=True) / count**2
    return _ends(found, count)


def _wins(events: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """[n, m]: 1 where event i scores above control j, 0.5 where they are equal."""
    a, b = np.asarray(events, float)[:, None], np.asarray(controls, float)[None]
    return (a > b) + 0.5 * (a == b)


def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """1 - sum (y - p)^2 / sum (y - mean y)^2; NaN for a constant y."""
    spread, least = np.sum((true - true.mean()) ** 2), CONSTANT * np.sum(true**2)
    return float(1 - np.sum((true - predicted) ** 2) / spread) if spread > least else float("nan")


def r2_interval(
    true: np.ndarray, predicted: np.ndarray, groups: np.ndarray, seed: int = 0
) -> Interval:
    """Interval of `r2` when groups (episodes) are drawn, with all their rows."""
    _, where = np.unique(groups, return_inverse=True)
    count = where.max() + 1
    columns = (np.ones_like(true), true, true**2, (true - predicted) ** 2)
    sums = np.stack([np.bincount(where, c, count) for c in columns])  # [4, groups]
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), REPS)
    n, total, squares, errors = sums @ weights.T
    spread = squares - total**2 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 1 - errors / spread
    return _ends(found[spread > CONSTANT * np.maximum(squares, 1e-300)], count)


def mean_interval(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Interval:
    """Interval of the mean of values [n] when groups are drawn, with all their rows."""
    _, where = np.unique(groups, return_inverse=True)
    count = where.max() + 1
    sums = np.stack([np.bincount(where, c, count) for c in (np.ones_like(values), values)])
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), REPS)
    n, total = sums @ weights.T
    return _ends(total / n, count)


def _ends(found: np.ndarray, groups: int) -> Interval:
    if groups < 2 or not found.size:
        return float("nan"), float("nan")
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


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
