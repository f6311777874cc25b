"""Statistics of returns, success rates and latencies.

Scores over tasks are a list of *strata*: one array [n] a task, one number a run, of any lengths.
Numbers that are not finite (invalid episodes) are left out everywhere. Intervals are 95 % and a
function of the data and of `seed` alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

REPS = 10_000
CONFIDENCE = 0.95
_AT_ONCE = 1 << 22  # numbers of a resample held in memory
_NAN = float("nan")
Interval = tuple[float, float]
Strata = Sequence[Any]


def clean(values: Any) -> np.ndarray:
    """The finite numbers, [n] float64."""
    x = np.asarray(values, float).ravel()
    return x[np.isfinite(x)]


def mean_ci(
    values, confidence: float = CONFIDENCE, seed: int = 0, reps: int = REPS
) -> tuple[float, float, float]:
    """Mean and its percentile-bootstrap interval; NaN without values."""
    x = clean(values)
    if not len(x):
        return _NAN, _NAN, _NAN
    return float(x.mean()), *bootstrap([x], along_mean, confidence, seed, reps)


def mean(values) -> float:
    """Mean; NaN without values."""
    x = clean(values)
    return float(x.mean()) if len(x) else _NAN


def iqm(values) -> float:
    """Interquartile mean: what is left without the lowest and the highest quarter."""
    x = clean(values)
    return float(scipy_stats.trim_mean(x, 0.25)) if len(x) else _NAN


def optimality_gap(values, target: float = 1.0) -> float:
    """Mean shortfall from `target`; what exceeds it does not make up for others."""
    x = clean(values)
    return float(np.maximum(target - x, 0).mean()) if len(x) else _NAN


def percentiles(values) -> dict[str, float]:
    """{"p50", "p95", "p99"}; NaN without values."""
    x = clean(values)
    if not len(x):
        return dict.fromkeys(("p50", "p95", "p99"), _NAN)
    return {f"p{q}": float(np.percentile(x, q)) for q in (50, 95, 99)}


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, ...]:
    """Success rate and its Wilson interval (rate, low, high); NaN without trials."""
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..{trials}, got {successes}")
    if not trials:
        return _NAN, _NAN, _NAN
    z2, rate = float(scipy_stats.norm.ppf((1 + confidence) / 2)) ** 2, successes / trials
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(z2 * (rate * (1 - rate) + z2 / (4 * trials)) / trials) / (1 + z2 / trials)
    low = 0.0 if successes == 0 else centre - spread
    return rate, low, 1.0 if successes == trials else centre + spread


def along_mean(x: np.ndarray) -> np.ndarray:
    """Means of resamples [..., n]."""
    return x.mean(-1)


def along_iqm(x: np.ndarray) -> np.ndarray:
    """Interquartile means of resamples [..., n]."""
    cut = x.shape[-1] // 4
    return np.sort(x, -1)[..., cut : x.shape[-1] - cut].mean(-1)


def bootstrap(
    strata: Strata,
    statistic: Callable[[np.ndarray], np.ndarray],
    confidence: float = CONFIDENCE,
    seed: int = 0,
    reps: int = REPS,
) -> Interval:
    """Stratified percentile interval: every stratum is resampled within itself.

    `statistic` takes resamples of all strata side by side, [reps, n], to [reps].
    """
    kept = [x for x in map(clean, strata) if len(x)]
    if not kept:
        return _NAN, _NAN
    rng = np.random.default_rng(seed)
    chunk, found = max(1, _AT_ONCE // sum(map(len, kept))), []
    for begin in range(0, reps, chunk):
        count = min(chunk, reps - begin)
        drawn = [x[rng.integers(0, len(x), (count, len(x)))] for x in kept]
        found.append(statistic(np.concatenate(drawn, -1)))
    return _ends(np.concatenate(found), confidence)


def improvement(
    a: Strata, b: Strata, confidence: float = CONFIDENCE, seed: int = 0, reps: int = REPS
) -> tuple[float, float, float]:
    """Probability that a run of A beats one of B on a task, ties half, mean over tasks; interval.

    Tasks on which one of the two has no score are left out.
    """
    pairs = [(clean(x), clean(y)) for x, y in zip(a, b, strict=True)]
    pairs = [(x, y) for x, y in pairs if len(x) and len(y)]
    if not pairs:
        return _NAN, _NAN, _NAN
    rng, drawn, point = np.random.default_rng(seed), np.zeros(reps), 0.0
    for x, y in pairs:
        wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        point += float(wins.mean()) / len(pairs)
        of_x, of_y = _multiplicities(len(x), reps, rng), _multiplicities(len(y), reps, rng)
        drawn += ((of_x @ wins) * of_y).sum(-1) / (wins.size * len(pairs))
    return point, *_ends(drawn, confidence)


def profile(
    strata: Strata, taus, confidence: float = CONFIDENCE, seed: int = 0, reps: int = 2000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Performance profile: share of runs x tasks above each tau, and its pointwise band, each [T].

    NaN without scores.
    """
    taus = np.asarray(taus, float)
    kept = [x for x in map(clean, strata) if len(x)]
    if not kept:
        nothing = np.full(len(taus), _NAN)
        return nothing, nothing, nothing
    rng, total = np.random.default_rng(seed), sum(map(len, kept))
    above = [(x[:, None] > taus).astype(float) for x in kept]
    drawn = sum(_multiplicities(len(x), reps, rng) @ x for x in above) / total
    low, high = _quantiles(np.asarray(drawn), confidence)
    return np.concatenate(above).mean(0), low, high


def summarise(result: Any) -> dict[str, Any]:
    """Return with its interval, over the valid episodes."""
    returns = np.array(result.episode_returns)[np.array(result.valid, bool)]
    mean, low, high = mean_ci(returns)
    return {
        "return_mean": mean,
        "return_ci95": [low, high],
        "episode_returns": result.episode_returns,
        "episodes_valid": len(clean(returns)),
        "episodes_asked": len(result.episode_returns),
    }


def _quantiles(x: np.ndarray, confidence: float) -> np.ndarray:
    return np.quantile(x, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)


def _ends(x: np.ndarray, confidence: float) -> Interval:
    low, high = _quantiles(x, confidence)
    return float(low), float(high)


def _multiplicities(size: int, reps: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `size` runs is drawn in each resample, [reps, size]."""
    drawn = rng.integers(0, size, (reps, size)) + size * np.arange(reps)[:, None]
    return np.bincount(drawn.ravel(), minlength=reps * size).reshape(reps, size).astype(float)
