"""Statistics of returns, success rates, surprises and latencies.

Scores over tasks are a list of *strata*: one array [n] a task, one number a run, of any lengths.
Numbers that are not finite (invalid episodes) are left out everywhere. Intervals are 95 % and a
function of the data and of `seed` alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

REPS = 10_000
CONFIDENCE = 0.95
CHUNK = 1 << 22
"""Numbers of resamples that are held in memory."""
_NAN = float("nan")
Interval = tuple[float, float]
Strata = Sequence[Any]


def clean(values: Any) -> np.ndarray:
    """The finite numbers, [n] float64."""
    x = np.asarray(values, float).ravel()
    return x[np.isfinite(x)]


def mean(values) -> float:
    """Mean; NaN without values."""
    x = clean(values)
    return float(x.mean()) if len(x) else _NAN


def mean_ci(values, seed: int = 0, reps: int = REPS) -> tuple[float, float, float]:
    """Mean and its percentile-bootstrap interval; NaN without values."""
    return mean(values), *bootstrap([values], mean_of, seed, reps)


def iqm(values) -> float:
    """Interquartile mean: what is left without the lowest and the highest quarter."""
    x = clean(values)
    return float(scipy_stats.trim_mean(x, 0.25)) if len(x) else _NAN


def optimality_gap(values) -> float:
    """Mean shortfall from 1; what exceeds it does not make up for others."""
    return mean(np.maximum(1 - clean(values), 0))


def percentiles(values) -> dict[str, float]:
    """{"p50", "p95", "p99"}; NaN without values."""
    x = clean(values)
    return {f"p{q}": float(np.percentile(x, q)) if len(x) else _NAN for q in (50, 95, 99)}


def wilson(successes: int, trials: int) -> tuple[float, ...]:
    """Success rate and its Wilson interval (rate, low, high); NaN without trials."""
    if not trials:
        return _NAN, _NAN, _NAN
    found = scipy_stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, "wilson")
    return successes / trials, float(found.low), float(found.high)


def mean_of(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of values [n] of which each was drawn so often, [reps, n]."""
    return counts @ values / counts.sum(-1)


def iqm_of(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Interquartile means of values [n] of which each was drawn so often, [reps, n]."""
    order, cut = np.argsort(values), len(values) // 4
    ranks = np.clip(np.cumsum(counts[:, order], -1), cut, len(values) - cut)
    return np.diff(ranks, prepend=cut) @ values[order] / (len(values) - 2 * cut)


def resamples(
    sizes: Sequence[int], statistic: Callable[..., np.ndarray], seed: int = 0, reps: int = REPS
) -> np.ndarray:
    """A statistic of bootstrap resamples, [reps, ...]; each stratum is resampled within itself.

    `statistic` takes how often each of a stratum's n units was drawn, [reps, n] a stratum.
    """
    rng, chunk, found = np.random.default_rng(seed), max(1, CHUNK // sum(sizes)), []
    for begin in range(0, reps, chunk):
        count = min(chunk, reps - begin)
        found.append(statistic(*[_multiplicities(size, count, rng) for size in sizes]))
    return np.concatenate(found)


def ends(drawn: np.ndarray) -> Interval:
    """Percentile interval of resamples [reps]; NaN without any."""
    if not len(drawn):
        return _NAN, _NAN
    low, high = _quantiles(drawn)
    return float(low), float(high)


def bootstrap(
    strata: Strata,
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    seed: int = 0,
    reps: int = REPS,
) -> Interval:
    """Percentile interval of `mean_of` or `iqm_of` all strata together; NaN without values."""
    kept = [x for x in map(clean, strata) if len(x)]
    if not kept:
        return _NAN, _NAN
    values = np.concatenate(kept)

    def joint(*counts: np.ndarray) -> np.ndarray:
        return statistic(values, np.concatenate(counts, -1))

    return ends(resamples([*map(len, kept)], joint, seed, reps))


def auroc(events: Any, controls: Any) -> float:
    """Probability that a random event scores above a random control, ties counting half.

    The area under the ROC curve (Mann and Whitney's U over the number of pairs). NaN without both.
    """
    wins = _wins(clean(events), clean(controls))
    return float(wins.mean()) if wins.size else _NAN


def auroc_interval(events: np.ndarray, controls: np.ndarray, seed: int = 0) -> Interval:
    """Interval of `auroc` for finite events [n] and controls [n] made from the same n clips."""
    if (count := len(events)) < 2:
        return _NAN, _NAN
    wins = _wins(events, controls)

    def of_clips(drawn: np.ndarray) -> np.ndarray:
        return ((drawn @ wins) * drawn).sum(-1) / count**2

    return ends(resamples([count], of_clips, seed))


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's, of pairs [n]; NaN where one of the two does not vary or is not known."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if len(a) < 2 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return _NAN
    found: Any = scipy_stats.spearmanr(a, b)
    return float(found.statistic)


def improvement(
    a: Strata, b: Strata, seed: int = 0, reps: int = REPS
) -> tuple[float, float, float]:
    """Probability that a run of A beats one of B on a task, ties half, mean over tasks; interval.

    Tasks on which one of the two has no score are left out.
    """
    wins = [_wins(clean(x), clean(y)) for x, y in zip(a, b, strict=True)]
    wins = [of for of in wins if of.size]
    if not wins:
        return _NAN, _NAN, _NAN

    def over_tasks(*drawn: np.ndarray) -> np.ndarray:
        pairs = zip(drawn[::2], drawn[1::2], wins, strict=True)
        return np.mean([((x @ of) * y).sum(-1) / of.size for x, y, of in pairs], 0)

    sizes = [size for of in wins for size in of.shape]
    point = float(np.mean([of.mean() for of in wins]))
    return point, *ends(resamples(sizes, over_tasks, seed, reps))


def profile(
    strata: Strata, taus, seed: int = 0, reps: int = 2000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Performance profile: share of runs x tasks above each tau, and its pointwise band, each [T].

    NaN without scores.
    """
    above = [(clean(x)[:, None] > taus).astype(float) for x in strata]
    above = [of for of in above if len(of)]
    if not above:
        nothing = np.full(len(taus), _NAN)
        return nothing, nothing, nothing

    def share(*drawn: np.ndarray) -> np.ndarray:
        return np.sum([*map(np.matmul, drawn, above)], 0) / sum(map(len, above))

    low, high = _quantiles(resamples([*map(len, above)], share, seed, reps))
    return np.concatenate(above).mean(0), low, high


def return_summary(result: Any) -> dict[str, Any]:
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


def _quantiles(x: np.ndarray) -> np.ndarray:
    return np.quantile(x, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)


def _wins(a: Any, b: Any) -> np.ndarray:
    """[n, m]: 1 where a [n] is above b [m], 0.5 where they are equal."""
    a, b = np.asarray(a, float)[:, None], np.asarray(b, float)
    return (a > b) + 0.5 * (a == b)


def _multiplicities(size: int, reps: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of each of `size` runs in each resample, [reps, size]."""
    drawn = rng.integers(0, size, (reps, size)) + size * np.arange(reps)[:, None]
    return np.bincount(drawn.ravel(), minlength=reps * size).reshape(reps, size).astype(float)
