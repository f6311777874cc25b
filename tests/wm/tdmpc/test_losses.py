"""Losses against known values and independent float64 references."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wm.layers import layer_norm, mish, simnorm
from wm.regularizers.sigreg import epps_pulley, sigreg
from wm.tdmpc import two_hot

BINS = two_hot.Bins(101, 10.0)
KEY = jax.random.key(0)


def reference_two_hot(x, bins=BINS):
    """By search: the two neighbouring bins share the weight."""
    centers = np.linspace(-bins.limit, bins.limit, bins.count)
    s = np.clip(np.sign(x) * np.log1p(np.abs(x)), -bins.limit, bins.limit)
    low = int(np.clip(np.searchsorted(centers, s, "right") - 1, 0, bins.count - 2))
    share = (s - centers[low]) / (centers[low + 1] - centers[low])
    out = np.zeros(bins.count)
    out[low], out[low + 1] = 1 - share, share
    return out


two_hot_of = jax.jit(lambda x: two_hot.encode(x, BINS))
decoded = jax.jit(lambda p: two_hot.decode(jnp.log(p + 1e-300), BINS))


@given(st.floats(-30_000, 30_000))
@settings(max_examples=60, deadline=None)
def test_two_hot_agrees_with_the_reference(x):
    with jax.enable_x64(True):
        ours = np.asarray(two_hot_of(jnp.float64(x)))
    np.testing.assert_allclose(ours, reference_two_hot(x), atol=1e-9)
    assert ours.sum() == pytest.approx(1, abs=1e-9)
    assert (ours > 1e-12).sum() <= 2


@given(st.floats(-20_000, 20_000))
@settings(max_examples=60, deadline=None)
def test_decoding_undoes_encoding(x):
    """A distribution on two bins decodes to where it came from."""
    with jax.enable_x64(True):
        assert float(decoded(two_hot_of(jnp.float64(x)))) == pytest.approx(x, rel=1e-6, abs=1e-6)


def test_symexp_undoes_symlog():
    x = jnp.array([-1e4, -1.0, -1e-4, 0.0, 1e-4, 1.0, 1e4])
    np.testing.assert_allclose(two_hot.symexp(two_hot.symlog(x)), x, rtol=1e-5)


def test_cross_entropy_agrees_with_the_reference():
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(7, 101)), rng.normal(size=7) * 50
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = [-(reference_two_hot(v) * row).sum() for v, row in zip(x, log_p, strict=True)]
    with jax.enable_x64(True):
        ours = two_hot.cross_entropy(jnp.asarray(logits), jnp.asarray(x), BINS)
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_the_slope_of_cross_entropy_is_that_of_the_plain_form():
    rng = np.random.default_rng(1)
    aims = jnp.asarray(rng.normal(size=(3, 7)) * 50)

    def plain(logits, x):
        return -jnp.sum(two_hot.encode(x, BINS) * jax.nn.log_softmax(logits), -1)

    with jax.enable_x64(True):
        logits = jnp.asarray(rng.normal(size=(2, 3, 7, 101)) * 5)
        slopes = [
            jax.jit(jax.grad(lambda z, f=f: jnp.sum(jnp.sin(f(z, aims[None])))))(logits)
            for f in (plain, partial(two_hot.cross_entropy, bins=BINS))
        ]
        np.testing.assert_allclose(*slopes, atol=1e-12)
    wide = jnp.full((1, 101), -1e30).at[0, 3].set(1e30)
    assert np.isfinite(
        jax.grad(lambda z: two_hot.cross_entropy(z, aims[0, :1], BINS)[0])(wide)
    ).all()


@pytest.mark.parametrize("mished", [False, True])
def test_layer_norm_and_its_slopes_agree_with_flax(mished):
    """Also mapped over an ensemble, with rows that are all alike and rows far from zero."""
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        x = rng.normal(size=(2, 5, 16)) * 3
        x[:, 1], x[:, 2] = 4.0, x[:, 2] + 1e3
        x, scale, bias = jnp.asarray(x), jnp.asarray(rng.normal(size=(2, 16))), jnp.ones((2, 16))

        def flax(x, scale, bias):
            params = {"params": {"scale": scale, "bias": bias}}
            y = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False).apply(params, x)
            return mish(y) if mished else y

        def total(function, *args):
            return jnp.sum(jnp.sin(jax.vmap(function)(*args)))

        ours = partial(layer_norm, mished=mished)
        values, slopes = zip(
            *(
                jax.jit(jax.value_and_grad(partial(total, f), argnums=(0, 1, 2)))(x, scale, bias)
                for f in (flax, ours)
            ),
            strict=True,
        )
        np.testing.assert_allclose(*values, rtol=1e-9)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-7), *slopes)


def test_simnorm_is_a_softmax_of_each_group():
    x = np.random.default_rng(0).normal(size=(3, 24))
    ours = np.asarray(simnorm(jnp.asarray(x), 8))
    groups = np.exp(x.reshape(3, 3, 8))
    expected = (groups / groups.sum(-1, keepdims=True)).reshape(3, 24)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    np.testing.assert_allclose(ours.reshape(3, 3, 8).sum(-1), 1, rtol=1e-6)


def test_mish_and_its_gradient_agree_with_the_literal_form():
    with jax.enable_x64(True):
        x = jnp.linspace(-60.0, 60.0, 2001)

        def literal(x):
            return x * jnp.tanh(jax.nn.softplus(x))

        np.testing.assert_allclose(mish(x), literal(x), atol=1e-7)
        slopes = [jax.jit(jax.vmap(jax.grad(f)))(x) for f in (mish, literal)]
        np.testing.assert_allclose(*slopes, atol=1e-7)
    wide = jnp.array([-1e4, -100.0, 100.0, 1e4])
    assert np.isfinite(np.asarray(mish(wide))).all()
    assert np.isfinite(np.asarray(jax.jit(jax.vmap(jax.grad(mish)))(wide))).all()


def reference_epps_pulley(x):
    """Knot by knot, in float64."""
    knots, total = np.linspace(0, 3, 17), 0.0
    for i, t in enumerate(knots):
        weight = (1 if i in (0, 16) else 2) * 3 / 16 * np.exp(-(t**2) / 2)
        error = (np.cos(t * x).mean() - np.exp(-(t**2) / 2)) ** 2 + np.sin(t * x).mean() ** 2
        total += weight * error
    return len(x) * total


def test_epps_pulley_agrees_with_the_reference():
    x = np.random.default_rng(0).normal(size=(40, 5)) * 1.7
    expected = [reference_epps_pulley(column) for column in x.T]
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(epps_pulley)(jnp.asarray(x)), expected, rtol=1e-9)


penalty = jax.jit(sigreg, static_argnums=2)


@pytest.mark.parametrize("batch", [32, 128])
def test_sigreg_of_a_collapsed_batch(batch):
    value = float(penalty(jnp.zeros((batch, 192)), KEY, 64))
    assert value == pytest.approx(0.402048 * batch, rel=1e-5)


@pytest.mark.parametrize("batch", [64, 128])
def test_sigreg_of_a_gaussian_batch(batch):
    def draw(key):
        return sigreg(jax.random.normal(key, (batch, 64)), key, 1024)

    values = jax.lax.map(draw, jax.random.split(KEY, 60))
    error = float(jnp.std(values)) / 60**0.5
    assert float(values.mean()) == pytest.approx(1.0525, abs=4 * error)


@jax.jit
def of_partly_alive(alive):
    """Mean over twelve Gaussian batches of which some dimensions live."""

    def draw(key):
        return sigreg(jax.random.normal(key, (128, 192)) * alive[None], key, 1024)

    return jax.lax.map(draw, jax.random.split(KEY, 12)).mean()


@pytest.mark.parametrize(
    ("dimensions", "expected"), [(2, 49.4), (8, 43.8), (32, 27.7), (96, 7.4), (192, 1.06)]
)
def test_sigreg_when_only_some_dimensions_live(dimensions, expected):
    value = float(of_partly_alive((jnp.arange(192) < dimensions).astype(jnp.float32)))
    assert value == pytest.approx(expected, rel=0.05)


def test_sigreg_of_narrow_and_of_uniform_batches():
    narrow = 0.1 * jax.random.normal(KEY, (128, 192))
    assert float(penalty(narrow, KEY, 1024)) == pytest.approx(49.5, rel=0.01)

    def draw(key):
        x = jax.random.uniform(key, (128, 1), minval=-(3**0.5), maxval=3**0.5)
        return epps_pulley(x)[0]

    value = float(jax.jit(jax.vmap(draw))(jax.random.split(KEY, 400)).mean())
    assert value == pytest.approx(3.12, rel=0.08)


def test_sigreg_lifts_latents_out_of_a_near_collapse():
    """From std 0.01 back to unit variance; at total collapse the gradient is exactly zero."""
    flat = jax.jit(jax.grad(lambda z: sigreg(z, KEY, 64)))(jnp.zeros((64, 8)))
    assert float(jnp.abs(flat).max()) == 0.0

    def step(z, key):
        return z - 0.05 * jax.grad(lambda z: sigreg(z, key, 64))(z), None

    start = 0.01 * jax.random.normal(KEY, (64, 8))
    z, _ = jax.lax.scan(step, start, jax.random.split(KEY, 1500))
    assert 0.8 < float(z.std()) < 1.2
