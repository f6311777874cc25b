"""Coloured noise by its spectrum and variance; splines by what they reproduce. No compilation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.config import PlannerConfig
from planning.noise import colouring, interpolation, shaping

lengths = st.integers(1, 24)


@given(lengths, st.floats(0, 10))
@settings(max_examples=60, deadline=None)
def test_coloured_noise_has_unit_variance(length, beta):
    matrix = colouring(length, beta)
    assert matrix.shape == (length, length) and np.isfinite(matrix).all()
    np.testing.assert_allclose((matrix**2).sum(1), 1, atol=1e-6)


def test_no_colour_is_white():
    np.testing.assert_array_equal(colouring(5, 0.0), np.eye(5))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_spectrum_falls_with_the_exponent(beta):
    """Expected power of windowed noise, from the matrix alone: nothing is drawn."""
    length = 128
    matrix = np.hanning(length)[:, None] * colouring(length, beta)
    power = (np.abs(np.fft.rfft(matrix, axis=0)) ** 2).sum(1)
    bins = np.arange(4, length // 4)
    slope = np.polyfit(np.log(bins), np.log(power[bins]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.15)


@given(st.integers(3, 24), st.floats(0.1, 5))
@settings(max_examples=40, deadline=None)
def test_more_colour_ties_neighbours_closer(length, beta):
    def neighbours(beta):
        matrix = colouring(length, beta)
        return (matrix @ matrix.T)[0, 1]

    assert neighbours(beta + 1) > neighbours(beta) > 0
    far = colouring(length, beta) @ colouring(length, beta).T
    assert far[0, 1] > far[0, -1]  # the ends of the horizon are not tied together


splines = pytest.mark.parametrize("spline", ["linear", "cubic"])


@splines
@given(st.integers(1, 30), st.data())
@settings(max_examples=60, deadline=None)
def test_splines_keep_constants_and_straight_lines(spline, horizon, data):
    knots = data.draw(st.integers(1, horizon))
    matrix = interpolation(horizon, knots, spline)
    assert matrix.shape == (horizon, knots)
    np.testing.assert_allclose(matrix @ np.ones(knots), 1, atol=1e-9)
    if knots > 1:
        line = np.linspace(-1, 2, knots)
        np.testing.assert_allclose(matrix @ line, np.linspace(-1, 2, horizon), atol=1e-9)


@splines
@pytest.mark.parametrize(("horizon", "knots"), [(9, 3), (7, 4), (5, 5), (13, 2)])
def test_splines_pass_through_their_knots(spline, horizon, knots):
    matrix = interpolation(horizon, knots, spline)
    at = np.linspace(0, horizon - 1, knots).astype(int)
    np.testing.assert_allclose(matrix[at], np.eye(knots), atol=1e-9)


def test_a_cubic_is_smooth_where_a_line_bends():
    """One bump: second differences stay small across its knot."""
    bump = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    bends = {
        spline: np.abs(np.diff(interpolation(41, 5, spline) @ bump, 2)).max()
        for spline in ("linear", "cubic")
    }
    assert bends["cubic"] < bends["linear"] / 3


def test_shaping_combines_colour_and_knots():
    assert shaping(PlannerConfig(horizon=6)) is None
    assert shaping(PlannerConfig(horizon=6, num_knots=6)) is None
    both = shaping(PlannerConfig(horizon=6, num_knots=3, noise_beta=1.0))
    assert both is not None
    np.testing.assert_allclose(both, interpolation(6, 3) @ colouring(3, 1.0))
    cubic = shaping(PlannerConfig(horizon=6, num_knots=3, spline="cubic"))
    assert cubic is not None
    np.testing.assert_allclose(cubic, interpolation(6, 3, "cubic"))
