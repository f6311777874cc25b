"""Statistics of returns and latencies."""

from typing import Any

import numpy as np
from scipy import stats as scipy_stats


def mean_ci(values, confidence: float = 0.95, seed: int = 0) -> tuple[float, float, float]:
    """Mean and its percentile-bootstrap interval."""
    x = np.asarray(values, float)
    if not len(x):
        return float("nan"), float("nan"), float("nan")
    means = x[np.random.default_rng(seed).integers(0, len(x), (10_000, len(x)))].mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(x.mean()), float(low), float(high)


def iqm(values) -> float:
    """Interquartile mean."""
    return float(scipy_stats.trim_mean(np.asarray(values, float).ravel(), 0.25))


def percentiles(values) -> dict[str, float]:
    """{"p50", "p95", "p99"}; NaN without values."""
    if not len(values):
        return dict.fromkeys(("p50", "p95", "p99"), float("nan"))
    return {f"p{q}": float(np.percentile(values, q)) for q in (50, 95, 99)}


def summarise(result: Any) -> dict[str, Any]:
    """Return with its interval, over the valid episodes."""
    returns = np.array(result.episode_returns)[np.array(result.valid, bool)]
    mean, low, high = mean_ci(returns)
    return {
        "return_mean": mean,
        "return_ci95": [low, high],
        "episode_returns": result.episode_returns,
        "episodes_valid": len(returns),
        "episodes_asked": len(result.episode_returns),
    }
