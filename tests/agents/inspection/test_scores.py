"""The formulae of an inspection against scipy, brute force and cases worked by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from agents.inspection import scores

RNG = np.random.default_rng(0)


def test_r2_by_hand_and_as_a_squared_correlation():
    y = np.array([1.0, 2, 3])
    assert scores.r2(y, y) == 1 and scores.r2(y, np.full(3, 2.0)) == 0
    assert scores.r2(y, np.array([3.0, 2, 1])) == 1 - 8 / 2
    assert np.isnan(scores.r2(np.ones(3), y))
    rounded = np.array([0.1, 0.1, np.nextafter(0.1, 1)])
    assert np.isnan(scores.r2(rounded, y)), "rounding is no spread"
    x = RNG.standard_normal(50)
    y = 2 * x + RNG.standard_normal(50)
    line = np.polyval(np.polyfit(x, y, 1), x)
    assert scores.r2(y, line) == pytest.approx(scipy_stats.linregress(x, y).rvalue ** 2)


def test_of_a_single_group_there_is_no_interval():
    one, values = np.zeros(9, int), RNG.standard_normal(9)
    assert np.isnan(scores.mean_interval(values, one)).all()
    assert np.isnan(scores.r2_interval(values, values + 0.1, one)).all()


def test_r2_interval_draws_whole_groups():
    groups = np.repeat(np.arange(12), 25)
    true = RNG.standard_normal(300) + groups / 4
    guess = true + 0.6 * RNG.standard_normal(300)
    rng, brute = np.random.default_rng(2), []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 12, 12)])
        brute.append(scores.r2(true[rows], guess[rows]))
    found = scores.r2_interval(true, guess, groups)
    np.testing.assert_allclose(found, np.percentile(brute, (2.5, 97.5)), atol=0.012)


def test_mean_interval_draws_whole_groups():
    groups = np.repeat(np.arange(10), [3, 9, 1, 4, 6, 2, 8, 5, 7, 10])
    values = groups + RNG.standard_normal(55)
    rng, brute = np.random.default_rng(3), []
    for _ in range(3000):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 10, 10)])
        brute.append(values[rows].mean())
    found = scores.mean_interval(values, groups)
    np.testing.assert_allclose(found, np.percentile(brute, (2.5, 97.5)), atol=0.15)


def test_straightness_of_known_paths():
    line = np.arange(5.0)[:, None] ** 2 * np.ones(3)
    back = np.array([[0.0], [1], [0], [1]]) * np.ones(3)
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    assert scores.straightness(line[None])[0] == pytest.approx(1)
    assert scores.straightness(back[None])[0] == pytest.approx(-1)
    assert scores.straightness(square[None])[0] == pytest.approx(0)
    assert np.isnan(scores.straightness(np.ones((1, 4, 2)))[0])
    walk = np.cumsum(RNG.standard_normal((400, 20, 30)), axis=1)
    assert scores.straightness(walk).mean() == pytest.approx(0, abs=0.02)


def test_nearest_own_counts_ties_by_halves():
    true = np.array([[[0.0], [1.0], [2.0]], [[0.0], [0.0], [5.0]]])
    told = np.array([[[0.1], [1.9], [2.0]], [[0.0], [0.3], [4.0]]])
    expected = [[1, 0, 1], [0.5, 0.5, 1]]
    np.testing.assert_allclose(scores.nearest_own(told, true), expected)


def test_guessing_is_right_as_often_as_chance():
    told, true = RNG.standard_normal((2, 3000, 8, 4))
    assert scores.nearest_own(told, true).mean() == pytest.approx(1 / 8, abs=0.01)
