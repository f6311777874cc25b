"""The shape of noise over the horizon: its colour and its knots, as one small constant matrix.

White noise [K] times a matrix [H, K] is the noise of one action dimension. Everything here is
numpy, worked out while tracing; `draw` alone runs in the compiled program.
"""

import jax
import jax.numpy as jnp
import numpy as np

from planning.config import PlannerConfig
from planning.types import Array


def colouring(length: int, beta: float) -> np.ndarray:
    """Matrix [L, L] that makes white noise coloured: power ~ 1 / f^beta, unit variance.

    The symmetric root of the autocovariance of a process of twice the length, so that the ends
    of the horizon are not tied together (as they are in noise made by one FFT of its length).
    Frequency zero has the power of the lowest one (arXiv 2008.06389).
    """
    if beta == 0:
        return np.eye(length)
    period = 2 * length
    frequencies = np.fft.fftfreq(period)
    frequencies[0] = 1 / period
    covariance = np.fft.ifft(np.abs(frequencies) ** -beta).real[:length]
    lags = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    values, vectors = np.linalg.eigh((covariance / covariance[0])[lags])
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def interpolation(horizon: int, num_knots: int, spline: str = "linear") -> np.ndarray:
    """Matrix [H, K] from values at evenly spaced knots to values at every step.

    The first and the last step are knots. Cubic: Hermite, with slopes from the neighbours.
    """
    if num_knots == 1:
        return np.ones((horizon, 1))
    knots = np.eye(num_knots)
    position = np.linspace(0, num_knots - 1, horizon)
    left = np.minimum(position.astype(int), num_knots - 2)
    t = (position - left)[:, None]
    if spline == "linear":
        return (1 - t) * knots[left] + t * knots[left + 1]
    slopes = np.gradient(knots, axis=0)
    return (
        (1 + 2 * t) * (1 - t) ** 2 * knots[left]
        + t * (1 - t) ** 2 * slopes[left]
        + t**2 * (3 - 2 * t) * knots[left + 1]
        + t**2 * (t - 1) * slopes[left + 1]
    )


def shaping(config: PlannerConfig) -> np.ndarray | None:
    """Matrix [H, K] of the configured noise: coloured knots, interpolated. None is white noise."""
    count = config.num_knots or config.horizon
    if config.noise_beta == 0 and count == config.horizon:
        return None
    matrix = colouring(count, config.noise_beta)
    if count < config.horizon:
        matrix = interpolation(config.horizon, count, config.spline) @ matrix
    return matrix


def draw(config: PlannerConfig, key: Array, count: int, action_dim: int, dtype) -> Array:
    """Noise [N, H, A] of unit variance at the knots, independent over samples and dimensions."""
    matrix = shaping(config)
    if matrix is None:
        return jax.random.normal(key, (count, config.horizon, action_dim), dtype)
    white = jax.random.normal(key, (count, matrix.shape[1], action_dim), dtype)
    return jnp.einsum("hk,nka->nha", jnp.asarray(matrix, dtype), white)
