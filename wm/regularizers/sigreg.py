"""SIGReg: latents kept from collapse by an Epps-Pulley test of Gaussianity.

The [B, D] batch is projected on random unit directions; along each, the empirical
characteristic function is compared with that of N(0, 1) (LeJEPA, arXiv 2511.08544). The
statistic of a sample from N(0, I) is about 1.05 at any batch size; that of a batch collapsed
to one point grows with B, so the weight of the loss is quoted at a batch size (128).

Knots are equally spaced, so exp(i t_k x) is the k-th power of exp(i dt x): one sine and one
cosine a projection instead of seventeen, and by hand the same for the gradient (fourteen times
faster on a CPU core than the literal form).
"""

import jax
import jax.numpy as jnp

Array = jax.Array

NUM_KNOTS = 17
LAST_KNOT = 3.0
SPACING = LAST_KNOT / (NUM_KNOTS - 1)
REFERENCE_BATCH = 128
"""The batch size that weights of the loss are quoted at; used as weight x 128 / B."""


def _knots(dtype) -> tuple[Array, Array, Array]:
    """Knots, the characteristic function of N(0, 1) there, and weights, each [NUM_KNOTS - 1].

    The knot at 0 says nothing (both functions are 1) and is left out.
    """
    knots = SPACING * jnp.arange(1, NUM_KNOTS, dtype=dtype)
    window = jnp.exp(-0.5 * knots**2)
    trapezoid = jnp.full(NUM_KNOTS - 1, 2 * SPACING, dtype).at[-1].set(SPACING)
    return knots, window, trapezoid * window


@jax.custom_vjp
def epps_pulley(x: Array) -> Array:
    """Statistic [M] of the samples x [B, M] against N(0, 1), one column a test. Float32."""
    return _forward(x)[0]


def _forward(x: Array) -> tuple[Array, tuple[Array, ...]]:
    wide = x if x.dtype == jnp.float64 else x.astype(jnp.float32)
    cos, sin = jnp.cos(SPACING * wide), jnp.sin(SPACING * wide)

    def rotate(power: tuple[Array, Array], _) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        c, s = power
        return (c * cos - s * sin, s * cos + c * sin), (c.mean(0), s.mean(0))

    _, (real, imag) = jax.lax.scan(rotate, (cos, sin), None, length=NUM_KNOTS - 1)
    _, window, weights = _knots(wide.dtype)
    error = real - window[:, None]
    statistic = x.shape[0] * (weights @ (error**2 + imag**2))
    # The empty slice remembers the dtype of x, which residuals could not hold otherwise.
    return statistic, (cos, sin, error, imag, x[:0])


def _backward(kept: tuple[Array, ...], cotangent: Array) -> tuple[Array]:
    """sum_k 2 w_k t_k (imag_k cos(t_k x) - error_k sin(t_k x)), by Horner's rule."""
    cos, sin, error, imag, empty = kept
    knots, _, weights = _knots(cos.dtype)
    scale = (2 * knots * weights)[:, None] * cotangent[None]
    real, imaginary = scale * imag, scale * error
    c, s = jnp.zeros_like(cos), jnp.zeros_like(cos)
    for k in reversed(range(NUM_KNOTS - 1)):
        c, s = c + real[k][None], s + imaginary[k][None]
        c, s = c * cos - s * sin, c * sin + s * cos
    return (c.astype(empty.dtype),)


epps_pulley.defvjp(_forward, _backward)


def sigreg(latents: Array, key: Array, num_directions: int) -> Array:
    """Mean statistic [] of latents [B, D] over `num_directions` random unit directions."""
    directions = jax.random.normal(key, (latents.shape[-1], num_directions), latents.dtype)
    directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)
    return jnp.mean(epps_pulley(latents @ directions))
