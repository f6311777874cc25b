"""Paired differences on common seeds: how large, whether resolved, how many pairs it would take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from agents.evaluation.stats import CONFIDENCE, clean

POWER = 0.8
_NAN = float("nan")


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its t interval."""

    pairs: int
    mean: float
    low: float
    high: float
    needed: int | None
    """Pairs (a task) that would resolve this difference, at 95 % confidence and 80 % power."""

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "pairs": self.pairs,
            "difference": self.mean,
            "ci95": [self.low, self.high],
            "resolved": self.resolved,
            "needed": self.needed,
        }


def paired(a, b, confidence: float = CONFIDENCE) -> Difference:
    """Difference A - B of paired values [n]; a pair counts when both are finite."""
    return pooled([np.asarray(a, float) - np.asarray(b, float)], confidence)


def pooled(differences: Sequence[Any], confidence: float = CONFIDENCE) -> Difference:
    """Mean over tasks of the mean paired difference, with Welch's degrees of freedom.

    `differences` holds one array [n] a task. Without two pairs on every task there is a mean and
    no interval; tasks without pairs are left out. With one task this is the paired t interval.
    """
    kept = [x for x in map(clean, differences) if len(x)]
    count = sum(map(len, kept))
    if not kept:
        return Difference(0, _NAN, _NAN, _NAN, None)
    mean = float(np.mean([x.mean() for x in kept]))
    if min(map(len, kept)) < 2:
        return Difference(count, mean, _NAN, _NAN, None)
    sizes = np.array([len(x) for x in kept])
    variances = np.array([x.var(ddof=1) for x in kept])
    parts = variances / sizes
    shares = parts / (parts.sum() or 1)
    # Welch-Satterthwaite degrees of freedom; without any spread they do not matter
    free = 1 / ((shares**2 / (sizes - 1)).sum() or 1)
    error = math.sqrt(parts.sum()) / len(kept)
    half = float(scipy_stats.t.ppf((1 + confidence) / 2, free)) * error
    spread = math.sqrt(variances.sum()) / len(kept)
    effect = mean / spread if spread else math.inf
    needed = pairs_to_resolve(effect, confidence) if mean else None
    return Difference(count, mean, mean - half, mean + half, needed)


def unpaired(a, b) -> Difference:
    """Difference A - B of two independent samples (Welch); `pairs` counts all values."""
    half = pooled([clean(a), -clean(b)])
    return replace(half, mean=2 * half.mean, low=2 * half.low, high=2 * half.high)


def pairs_to_resolve(effect: float, confidence: float = CONFIDENCE) -> int | None:
    """Fewest pairs with which a paired t test finds `effect` (mean / standard deviation).

    With a power of 80 %; None when no number of pairs would do.
    """
    if not abs(effect) > 1e-9:
        return None
    alpha = 1 - confidence
    ideal = ((scipy_stats.norm.ppf(1 - alpha / 2) + scipy_stats.norm.ppf(POWER)) / effect) ** 2
    count = max(2, math.ceil(ideal))
    while count < 100_000 and _power(count, abs(effect), alpha) < POWER:
        count += 1
    return count


def _power(count: int, effect: float, alpha: float) -> float:
    """Power of the two-sided paired t test with `count` pairs."""
    if math.isinf(effect):
        return 1.0
    critical = scipy_stats.t.ppf(1 - alpha / 2, count - 1)
    return float(scipy_stats.nct.sf(critical, count - 1, effect * math.sqrt(count)))
