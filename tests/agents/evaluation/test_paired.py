"""Paired differences: hand-worked cases, agreement with scipy, published sample sizes."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from agents.evaluation.paired import paired, pairs_to_resolve, pooled, unpaired

CLOSE = {"abs": 1e-9, "rel": 1e-9}
VALUES = st.lists(st.integers(-10_000, 10_000).map(lambda n: n / 10), min_size=0, max_size=12)


def test_difference_by_hand():
    """Differences 1, 2, 3: mean 2, standard error 1 / sqrt 3, t(2) = 4.302653."""
    found = paired([2, 4, 6], [1, 2, 3])
    assert (found.pairs, found.mean) == (3, 2.0)
    assert found.low == pytest.approx(2 - 4.302652729911275 / math.sqrt(3), **CLOSE)
    assert not found.resolved
    assert found.to_json()["ci95"] == [found.low, found.high]
    assert json.loads(json.dumps(found.to_json()))["resolved"] is False


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_difference_is_scipys_paired_t_test(shift):
    rng = np.random.default_rng(1)
    b = rng.normal(0, 3, 15)
    a = b + rng.normal(shift, 1, 15)
    test = scipy_stats.ttest_rel(a, b)
    theirs = test.confidence_interval(0.95)
    found = paired(a, b)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), **CLOSE)
    assert found.resolved == (test.pvalue < 0.05)


def test_difference_over_two_tasks_is_welchs():
    """The mean of d1 and d2 is half of d1 - (-d2): scipy's unequal-variance test of the two."""
    rng = np.random.default_rng(2)
    first, second = rng.normal(1, 1, 9), rng.normal(0.5, 4, 14)
    theirs = scipy_stats.ttest_ind(first, -second, equal_var=False).confidence_interval(0.95)
    found = pooled([first, second])
    assert (found.low, found.high) == pytest.approx((theirs.low / 2, theirs.high / 2), **CLOSE)
    assert found.mean == pytest.approx((first.mean() + second.mean()) / 2, **CLOSE)
    assert found.pairs == 23
    apart = unpaired(first, -second)
    assert (apart.low, apart.high) == pytest.approx((theirs.low, theirs.high), **CLOSE)
    assert apart.mean == pytest.approx(first.mean() + second.mean(), **CLOSE)


def test_what_is_invalid_on_either_side_is_left_out():
    found = paired([1.0, math.nan, 3.0, 4.0], [0.0, 0.0, math.nan, 1.0])
    assert (found.pairs, found.mean) == (2, 2.0)


def test_too_few_pairs_have_no_interval():
    one = paired([2.0], [1.0])
    assert (one.pairs, one.mean, one.resolved, one.needed) == (1, 1.0, False, None)
    assert math.isnan(one.low)
    none = paired([math.nan], [1.0])
    assert (none.pairs, none.resolved) == (0, False) and math.isnan(none.mean)
    assert not pooled([[5.0, 5.1, 5.2], [5.0]]).resolved


def test_a_constant_difference_is_resolved():
    found = paired([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert (found.low, found.mean, found.high, found.resolved) == (1.0, 1.0, 1.0, True)
    assert found.needed == 2


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_pairs_to_resolve_are_the_tabulated_ones(effect, pairs):
    """Sample sizes every power table gives for a two-sided paired t test."""
    assert pairs_to_resolve(effect) == pairs
    assert pairs_to_resolve(-effect) == pairs


def test_pairs_to_resolve_have_the_power_promised():
    rng = np.random.default_rng(3)
    needed = pairs_to_resolve(0.6) or 0
    x = rng.normal(0.6, 1, (20_000, needed))
    found = scipy_stats.ttest_1samp(x, 0, axis=1)
    assert np.mean((found.pvalue < 0.05) & (found.statistic > 0)) == pytest.approx(0.8, abs=0.03)


def test_pairs_to_resolve_at_the_ends():
    assert pairs_to_resolve(0.0) is None
    assert pairs_to_resolve(math.nan) is None
    assert pairs_to_resolve(math.inf) == 2
    assert pairs_to_resolve(1e-3) == pytest.approx(7.849e6, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.randoms())
def test_identical_inputs_are_never_resolved(values, random):
    found = paired(values, values)
    assert not found.resolved and found.needed is None
    order = random.sample(range(len(values)), len(values))
    other = [v + i for i, v in enumerate(values)]
    straight = paired(values, other)
    mixed = paired([values[i] for i in order], [other[i] for i in order])
    assert mixed.pairs == straight.pairs
    assert (mixed.mean, mixed.low) == pytest.approx(
        (straight.mean, straight.low), nan_ok=True, **CLOSE
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_the_interval_holds_the_mean_and_mirrors(differences):
    found = pooled(differences)
    mirrored = pooled([[-v for v in x] for x in differences])
    assert mirrored.resolved == found.resolved and mirrored.needed == found.needed
    if math.isfinite(found.low):
        assert found.low <= found.mean <= found.high
        assert mirrored.low == pytest.approx(-found.high, **CLOSE)
    if found.resolved and found.needed:
        assert found.needed >= 2


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 20), st.floats(1.01, 5))
def test_larger_differences_need_fewer_pairs(effect, factor):
    more, fewer = pairs_to_resolve(effect), pairs_to_resolve(effect * factor)
    assert more is not None and fewer is not None and 2 <= fewer <= more
