"""Statistics against hand-worked cases and scipy."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from agents.evaluation import stats


def test_mean_and_its_interval():
    mean, low, high = stats.mean_ci([1.0, 2.0, 3.0, 4.0])
    assert mean == pytest.approx(2.5, abs=1e-9)
    assert 1.0 <= low < 2.5 < high <= 4.0
    assert stats.mean_ci([1.0, 2.0, 3.0, 4.0]) == (mean, low, high)
    assert stats.mean_ci([7.0] * 5) == (7.0, 7.0, 7.0)


def test_interval_agrees_with_scipys_bootstrap():
    values = np.random.default_rng(0).normal(10, 2, 40)
    _, low, high = stats.mean_ci(values)
    rng = np.random.default_rng(1)
    theirs = scipy_stats.bootstrap((values,), np.mean, method="percentile", rng=rng)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.05)


def test_percentiles_and_their_absence():
    assert stats.percentiles(list(range(101))) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert all(math.isnan(v) for v in stats.percentiles([]).values())


def test_invalid_episodes_do_not_count():
    result = SimpleNamespace(episode_returns=[10.0, 1e9, 20.0], valid=[True, False, True])
    summary = stats.return_summary(result)
    assert summary["return_mean"] == pytest.approx(15.0, abs=1e-9)
    assert (summary["episodes_valid"], summary["episodes_asked"]) == (2, 3)
    nothing = stats.return_summary(SimpleNamespace(episode_returns=[1.0], valid=[False]))
    assert math.isnan(nothing["return_mean"]) and nothing["episodes_valid"] == 0
