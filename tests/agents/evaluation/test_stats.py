"""Scores over tasks: hand-worked cases, agreement with scipy, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats

from agents.evaluation import stats

CLOSE = {"abs": 1e-9, "rel": 1e-9}
NUMBERS = st.floats(-1000, 1000, allow_nan=False).map(lambda x: round(x, 3))
STRATA = st.lists(st.lists(NUMBERS, min_size=1, max_size=6), min_size=1, max_size=4)


def draw(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(i, 1, n) for i, n in enumerate(sizes)]


def test_iqm_by_hand():
    assert stats.iqm([0, 1, 2, 3, 4, 5, 6, 1000]) == pytest.approx(3.5, **CLOSE)
    assert stats.iqm([5.0]) == 5.0
    assert stats.iqm([[1, 2], [3, math.nan]]) == pytest.approx(2.0, **CLOSE)
    assert math.isnan(stats.iqm([])) and math.isnan(stats.iqm([math.nan]))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 30, 101])
def test_iqm_is_scipys_trimmed_mean(size):
    (values,) = draw(size)
    expected = scipy_stats.trim_mean(values, 0.25)
    assert stats.iqm(values) == pytest.approx(expected, **CLOSE)
    once = np.ones((1, size))
    assert stats.iqm_of(values, once) == pytest.approx([expected], **CLOSE)


def test_optimality_gap_by_hand():
    assert stats.optimality_gap([0.5, 0.75, 3.0]) == pytest.approx(0.25, **CLOSE)
    assert stats.optimality_gap([2.0]) == 0.0
    assert math.isnan(stats.optimality_gap([]))


THEIRS = {
    stats.mean_of: lambda x: x.mean(-1),
    stats.iqm_of: lambda x: scipy_stats.trim_mean(x, 0.25, axis=-1),
}


@pytest.mark.parametrize("statistic", THEIRS)
@pytest.mark.parametrize("sizes", [(12,), (5, 3, 8)])
def test_bootstrap_is_scipys(statistic, sizes, monkeypatch):
    """The same resamples, whether in one piece or in several."""
    strata = draw(*sizes)
    for at_once in (1 << 22, 7_000):
        monkeypatch.setattr(stats, "CHUNK", at_once)
        theirs = scipy_stats.bootstrap(
            strata,
            lambda *x, axis: THEIRS[statistic](np.concatenate(x, -1)),
            n_resamples=3000,
            batch=max(1, at_once // sum(sizes)),
            method="percentile",
            rng=np.random.default_rng(5),
        ).confidence_interval
        ours = stats.bootstrap(strata, statistic, seed=5, reps=3000)
        assert ours == pytest.approx((theirs.low, theirs.high), **CLOSE)


def test_strata_are_resampled_within_themselves():
    """Tasks far apart, runs alike: the choice of runs moves nothing."""
    assert stats.bootstrap([[0.0] * 5, [100.0] * 5], stats.mean_of) == (50.0, 50.0)
    low, high = stats.bootstrap([[0.0] * 5 + [100.0] * 5], stats.mean_of)
    assert low < 30 and high > 70


def test_interval_of_the_mean_covers_what_it_promises():
    rng = np.random.default_rng(0)
    strata = rng.normal(0, 1, (300, 3, 20))
    found = [stats.bootstrap(s, stats.mean_of, reps=500) for s in strata]
    covered = np.mean([low <= 0 <= high for low, high in found])
    assert 0.90 <= covered <= 0.98


def test_improvement_by_hand():
    point, low, high = stats.improvement([[3, 1]], [[2, 1]])
    assert point == pytest.approx((1 + 1 + 0 + 0.5) / 4, **CLOSE)
    assert 0 <= low <= point <= high <= 1
    point, *_ = stats.improvement([[2.0, 3.0], [1.0]], [[1.0], [1.0, 2.0]])
    assert point == pytest.approx((1.0 + 0.25) / 2, **CLOSE)
    assert stats.improvement([[5.0] * 4], [[1.0] * 4]) == (1.0, 1.0, 1.0)
    point, *_ = stats.improvement([[1.0], []], [[0.0], [7.0]])
    assert point == 1.0
    assert all(map(math.isnan, stats.improvement([[]], [[1.0]])))


def test_improvement_is_the_mean_of_mann_whitney():
    rng = np.random.default_rng(2)
    a = [rng.integers(0, 6, n).astype(float) for n in (7, 4, 9)]
    b = [rng.integers(1, 6, n).astype(float) for n in (5, 8, 3)]
    expected = np.mean(
        [
            scipy_stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
            for x, y in zip(a, b, strict=True)
        ]
    )
    point, *_ = stats.improvement(a, b)
    assert point == pytest.approx(expected, **CLOSE)


def test_interval_of_improvement_is_scipys_bootstrap():
    a, b = draw(6, 4, seed=3), draw(5, 7, seed=4)

    def statistic(x0, y0, x1, y1, axis):
        wins = [(x[..., :, None] > y[..., None, :]).mean((-2, -1)) for x, y in ((x0, y0), (x1, y1))]
        return np.mean(wins, 0)

    theirs = scipy_stats.bootstrap(
        (a[0], b[0], a[1], b[1]),
        statistic,
        n_resamples=2000,
        batch=2000,
        method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval
    _, low, high = stats.improvement(a, b, seed=9, reps=2000)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), **CLOSE)


def test_auroc_by_hand():
    assert stats.auroc([3.0, 4], [1.0, 2]) == 1
    assert stats.auroc([1.0, 4], [2.0, 3]) == 0.5
    assert stats.auroc([1.0, 1], [1.0]) == 0.5
    assert stats.auroc([2.0, 1, 3], [1.0, 2]) == (1.5 + 0.5 + 2) / 6
    assert stats.auroc([0.0, math.nan], [2.0, 3.0]) == 0, "what is not known does not count"
    assert math.isnan(stats.auroc([], [1.0])) and math.isnan(stats.auroc([math.nan], [1.0]))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
)
def test_auroc_is_mann_whitneys_u(events, controls):
    u = scipy_stats.mannwhitneyu(events, controls).statistic
    assert stats.auroc(events, controls) == pytest.approx(u / (len(events) * len(controls)))


def test_auroc_interval_is_the_paired_bootstrap():
    events, controls = draw(40, 40)[::-1]
    drawn = np.random.default_rng(0).integers(0, 40, (stats.REPS, 40))
    brute = [stats.auroc(events[d], controls[d]) for d in drawn]
    expected = np.percentile(brute, (2.5, 97.5))
    assert stats.auroc_interval(events, controls) == pytest.approx(expected, **CLOSE)
    assert stats.auroc_interval(controls + 9, controls) == (1, 1)
    assert all(map(math.isnan, stats.auroc_interval(np.ones(1), np.zeros(1))))


def test_rank_correlation_is_scipys():
    a, b = np.random.default_rng(0).integers(0, 9, (2, 30))
    theirs = scipy_stats.spearmanr(a, b).statistic
    assert stats.rank_correlation(a, b) == pytest.approx(theirs, **CLOSE)
    assert stats.rank_correlation(a, a**3) == pytest.approx(1, **CLOSE)
    for nothing in ([1.0], [2.0, 2.0], [math.nan, 1.0], [math.nan, math.nan]):
        assert math.isnan(stats.rank_correlation(nothing, range(len(nothing))))


def test_profile_by_hand():
    share, low, high = stats.profile([[0.1, 0.5], [0.9, math.nan]], [0.0, 0.1, 0.5, 0.9])
    assert share == pytest.approx([1, 2 / 3, 1 / 3, 0], **CLOSE)
    assert (low <= share).all() and (share <= high).all()
    assert low[1] == pytest.approx(1 / 3) and high[1] == pytest.approx(1)
    assert np.isnan(stats.profile([[]], [0.5])[0]).all()


def test_band_of_the_profile_is_scipys_bootstrap():
    strata = draw(6, 9)
    theirs = scipy_stats.bootstrap(
        strata,
        lambda *x, axis: (np.concatenate(x, -1) > 0.7).mean(-1),
        n_resamples=1000,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    _, low, high = stats.profile(strata, [0.7], seed=1, reps=1000)
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), **CLOSE)


@pytest.mark.parametrize("trials", [1, 2, 10, 137])
def test_wilson_is_scipys(trials):
    for successes in {0, 1, trials // 2, trials}:
        theirs = scipy_stats.binomtest(successes, trials).proportion_ci(method="wilson")
        ours = stats.wilson(successes, trials)
        assert ours == pytest.approx((successes / trials, theirs.low, theirs.high), **CLOSE)


def test_wilson_needs_trials():
    assert all(map(math.isnan, stats.wilson(0, 0)))
    with pytest.raises(ValueError, match="4"):
        stats.wilson(4, 3)


@settings(max_examples=40, deadline=None)
@given(STRATA, st.randoms())
def test_scores_are_bounded_and_know_no_order(strata, random):
    shuffled = [random.sample(x, len(x)) for x in strata]
    flat = [v for x in strata for v in x]
    low, high = stats.bootstrap(strata, stats.iqm_of, reps=50)
    assert min(flat) - 1e-9 <= low <= high <= max(flat) + 1e-9
    assert min(flat) - 1e-9 <= stats.iqm(flat) <= max(flat) + 1e-9
    assert stats.iqm(np.concatenate(shuffled)) == pytest.approx(stats.iqm(flat), **CLOSE)
    assert stats.optimality_gap(flat) >= 0
    share, *_ = stats.profile(strata, [-1001, -5, 0, 5, 1000], reps=20)
    assert share[0] == 1 and share[-1] == 0 and (np.diff(share) <= 0).all()
    again, *_ = stats.profile(shuffled, [-1001, -5, 0, 5, 1000], reps=20)
    assert (share == again).all()


@settings(max_examples=40, deadline=None)
@given(STRATA, STRATA)
def test_improvement_is_a_probability_and_its_mirror(a, b):
    tasks = min(len(a), len(b))
    a, b = a[:tasks], b[:tasks]
    point, low, high = stats.improvement(a, b, reps=50)
    assert -1e-9 <= low <= high <= 1 + 1e-9 and -1e-9 <= point <= 1 + 1e-9
    mirrored, *_ = stats.improvement(b, a, reps=50)
    assert point + mirrored == pytest.approx(1, **CLOSE)
    assert stats.improvement(a, a, reps=50)[0] == pytest.approx(0.5, **CLOSE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_is_bounded(successes, more):
    rate, low, high = stats.wilson(successes, successes + more)
    if successes + more:
        assert 0 <= low <= rate <= high <= 1


@settings(max_examples=40, deadline=None)
@given(arrays(float, st.integers(1, 8), elements=st.floats(-10, 10)), st.integers(0, 5))
def test_invalid_numbers_change_nothing(values, count):
    holes = np.concatenate([values, np.full(count, np.nan), np.full(count, np.inf)])
    assert stats.iqm(holes) == stats.iqm(values)
    assert stats.mean_ci(holes, reps=50) == stats.mean_ci(values, reps=50)
    assert stats.percentiles(holes) == stats.percentiles(values)
    assert stats.optimality_gap(holes) == stats.optimality_gap(values)
