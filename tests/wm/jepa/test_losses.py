"""Terms of reward-free objectives against independent float64 references."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.jepa import objectives
from wm.jepa.collapse import effective_rank, monitor
from wm.jepa.config import JepaConfig, JepaLearnerConfig
from wm.jepa.decoders import PixelDecoder
from wm.jepa.objectives import TERMS, Views, make_objective
from wm.regularizers import vicreg
from wm.regularizers.sigreg import epps_pulley, sigreg

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SIZES = (8, 2, (3, 4))


def random_views(batch=16, steps=4, rng=RNG):
    z, a = rng.normal(size=(batch, steps + 1, 8)) * 0.6, rng.normal(size=(batch, steps, 2))
    frames = rng.normal(size=(batch, steps + 1, 3, 4))
    predicted, rolled = z[:, 1:] + 0.1, z[:, 1:] - 0.3
    return Views(z, frames, a, predicted, z[:, 1:], rolled, z[:, 1:])


def test_variance_and_covariance_agree_with_the_reference():
    z = RNG.normal(size=(30, 6)) * np.array([0.1, 0.5, 0.9, 1.0, 1.5, 3.0])
    std = np.sqrt(z.var(0, ddof=1) + 1e-4)
    cov = np.cov(z.T)
    off = cov[~np.eye(6, dtype=bool)]
    with jax.enable_x64(True):
        hinge = vicreg.variance_hinge(jnp.asarray(z))
        np.testing.assert_allclose(hinge, np.maximum(1 - std, 0).mean(), rtol=1e-12)
        np.testing.assert_allclose(vicreg.covariance(jnp.asarray(z)), (off**2).mean(), rtol=1e-12)


def test_similarity_and_inverse_agree_with_the_reference():
    z, a, w = RNG.normal(size=(5, 4, 3)), RNG.normal(size=(5, 3, 2)), RNG.normal(size=(6, 2))
    total = inverse = 0.0
    for b in range(5):
        for t in range(3):
            total += ((z[b, t + 1] - z[b, t]) ** 2).mean() / 15
            guess = np.concatenate([z[b, t], z[b, t + 1]]) @ w
            inverse += ((guess - a[b, t]) ** 2).mean() / 15
    with jax.enable_x64(True):
        ours = objectives.temporal_similarity(jnp.asarray(z))
        np.testing.assert_allclose(ours, total, rtol=1e-12)
        ours = objectives.inverse_dynamics(lambda x: x @ w, jnp.asarray(z), jnp.asarray(a))
        np.testing.assert_allclose(ours, inverse, rtol=1e-12)


def test_the_gradient_of_sigreg_agrees_with_differences():
    """It is written by hand."""
    x = RNG.normal(size=(7, 3)) * 1.3
    with jax.enable_x64(True):
        weights = jnp.array([1.0, -2.0, 0.5])

        @jax.jit
        def total(x):
            return epps_pulley(x) @ weights

        ours, step = np.asarray(jax.jit(jax.grad(total))(jnp.asarray(x))), 1e-6
        for i, j in np.ndindex(x.shape):
            moved = [x.copy(), x.copy()]
            moved[0][i, j] += step
            moved[1][i, j] -= step
            slope = (total(jnp.asarray(moved[0])) - total(jnp.asarray(moved[1]))) / (2 * step)
            assert ours[i, j] == pytest.approx(float(slope), abs=1e-7)


def test_half_precision_latents_get_gradients_of_their_own_type():
    z = jnp.asarray(RNG.normal(size=(8, 4)), jnp.bfloat16)
    loss = jax.value_and_grad(lambda z: sigreg(z, KEY, 16).astype(jnp.float32))
    value, grad = jax.jit(loss)(z)
    assert np.isfinite(float(value)) and grad.dtype == jnp.bfloat16


@pytest.mark.parametrize("batch", [32, 512])
def test_the_weight_of_sigreg_does_not_depend_on_the_batch(batch):
    """At total collapse the statistic is 0.402048 B; the term is the same at any B."""
    learner = JepaLearnerConfig(sigreg_directions=8)
    term = make_objective("lewm", JepaConfig(latent_dim=8), learner, SIZES).terms["sigreg"]
    views = random_views(batch)
    collapsed = views._replace(latents=jnp.zeros((batch, 5, 8)))
    assert float(jax.jit(term)({}, collapsed, KEY)) == pytest.approx(
        0.09 * 0.402048 * 128, rel=1e-4
    )


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_objective_sums_its_weighted_terms(name):
    learner = JepaLearnerConfig(openloop_coef=0.5, sigreg_directions=8)
    objective = make_objective(name, JepaConfig(latent_dim=8, predictor_width=4), learner, SIZES)
    params = {
        head: jax.jit(module.init)(KEY, jnp.zeros(size))["params"]
        for head, (module, size) in objective.heads.items()
    }
    views = jax.tree.map(jnp.asarray, random_views())
    terms = jax.jit(lambda *seen: {k: term(*seen) for k, term in objective.terms.items()})
    found = {name: float(value) for name, value in terms(params, views, KEY).items()}
    assert set(found) == {"prediction", "openloop", *TERMS[name]}
    assert found["prediction"] == pytest.approx(0.01, rel=1e-4)
    assert found["openloop"] == pytest.approx(0.5 * 0.09, rel=1e-4)
    if name == "vicreg":
        each = [vicreg.variance_hinge(views.latents[:, t]) for t in range(5)]
        assert found["variance"] == pytest.approx(16 * float(np.mean(each)), rel=1e-5)
        each = [vicreg.covariance(views.latents[:, t]) for t in range(5)]
        assert found["covariance"] == pytest.approx(8 * float(np.mean(each)), rel=1e-5)


def test_terms_can_be_added_and_unknown_ones_are_refused():
    made = make_objective("lewm", JepaConfig(), JepaLearnerConfig(extra="inverse"), SIZES)
    assert "inverse" in made.terms and "inverse" in made.heads
    with pytest.raises(ValueError, match="got invers"):
        make_objective("lewm", JepaConfig(), JepaLearnerConfig(extra="invers"), SIZES)
    with pytest.raises(ValueError, match="objective must be one of"):
        make_objective("byol", JepaConfig(), JepaLearnerConfig(), SIZES)


def test_reconstruction_is_the_share_of_variance_left_unexplained():
    """1 for the mean, whatever the scale of what is seen; 0 for what it was."""
    frames = RNG.normal(size=(64, 2, 4)) * np.array([1.0, 0.1, 0.5, 3.0]) + 2.0
    for scale in (1.0, 1e-2):
        seen = jnp.asarray(scale * frames)
        assert float(objectives.reconstruction(seen, seen)) == 0
        mean = jnp.broadcast_to(seen.mean(0), seen.shape)
        assert float(objectives.reconstruction(mean, seen)) == pytest.approx(1, rel=1e-4)


def test_one_moment_of_each_slice_is_decoded():
    """The same moments of latents and frames: decoding what is there leaves nothing."""
    learner = JepaLearnerConfig(reconstruction_coef=3.0)
    made = make_objective("reconstruction", JepaConfig(predictor_width=4), learner, (8, 2, (2, 4)))
    module, size = made.heads["decoder"]
    params = {"decoder": jax.jit(module.init)(KEY, jnp.zeros(size))["params"]}
    latents = jnp.asarray(RNG.normal(size=(16, 5, 8)))
    one = jax.vmap(lambda z: module.apply({"params": params["decoder"]}, z))
    decode = jax.jit(jax.vmap(one))
    views = random_views()._replace(latents=latents, frames=decode(latents))
    term = jax.jit(made.terms["reconstruction"])
    assert float(term(params, views, KEY)) == pytest.approx(0, abs=1e-6)
    swapped = views._replace(frames=views.frames[:, ::-1])
    values = {float(term(params, swapped, jax.random.key(i))) for i in range(4)}
    assert min(values) > 0.1 and len(values) == 4


def test_a_pixel_decoder_keeps_pictures_in_order():
    """What it makes of patch (row, column) lands there: one pixel a parameter of its last bias."""
    decoder = PixelDecoder(4, 8, (2, 16, 24, 3))
    params = jax.eval_shape(decoder.init, KEY, jnp.zeros(5))["params"]
    params = jax.tree.map(lambda x: jnp.zeros(x.shape), params)
    bias = np.arange(8 * 8 * 2 * 3).reshape(8, 8, 2, 3)
    params["Dense_1"]["bias"] = jnp.asarray(bias.reshape(-1), jnp.float32)
    made = np.asarray(jax.jit(decoder.apply)({"params": params}, jnp.zeros(5)))
    assert made.shape == (2, 16, 24, 3)
    for k, y, x, c in np.ndindex(made.shape):
        assert made[k, y, x, c] == bias[y % 8, x % 8, k, c]


def test_the_effective_rank_of_known_spreads():
    z = np.zeros((400, 16))
    assert float(effective_rank(jnp.asarray(z + 3.0))) == 0
    noise = 3.0 + 1e-4 * RNG.normal(size=(400, 16))  # a point, seen with rounding noise
    assert float(effective_rank(jnp.asarray(noise))) == 0
    z[:, 3] = RNG.normal(size=400)
    assert float(effective_rank(jnp.asarray(z))) == pytest.approx(1)
    square = np.linalg.qr(RNG.normal(size=(400, 16)) - 0)[0]
    square = 20 * np.linalg.qr(square - square.mean(0))[0]
    assert float(effective_rank(jnp.asarray(square))) == pytest.approx(16, rel=1e-3)
    uneven = square * np.array([3.0, 1.0] + 14 * [0.001])  # shares 3/4, 1/4, and fourteen dead
    expected = np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert float(effective_rank(jnp.asarray(uneven))) == pytest.approx(expected, rel=1e-3)


def test_the_monitor_raises_the_alarm_for_a_line_and_not_for_a_gaussian():
    z = RNG.normal(size=(256, 32)).astype(np.float32)
    watch = jax.jit(monitor)
    fine, flat = watch(jnp.asarray(z), KEY), watch(jnp.asarray(z[:, :1] * np.ones(32)), KEY)
    assert float(fine["alarm"]) == 0 and float(flat["alarm"]) == 1
    assert float(fine["sigreg"]) == pytest.approx(1.05, abs=0.3)
    assert float(flat["effective_rank_share"]) == pytest.approx(1 / 32, rel=1e-3)


TWO_DEVICES = """
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from wm.regularizers.sigreg import sigreg
assert len(jax.devices()) == 2, jax.devices()
mesh = jax.make_mesh((2,), ("batch",))
z = 0.7 * jax.random.normal(jax.random.key(1), (64, 24)) + 0.2
spread = jax.device_put(z, NamedSharding(mesh, PartitionSpec("batch")))
f = jax.jit(jax.value_and_grad(lambda z: sigreg(z, jax.random.key(0), 64)))
(one, slope), (two, slopes) = f(z), f(spread)
assert len(spread.sharding.device_set) == 2
print(float(one), float(two), float(abs(slope - slopes).max() / abs(slope).max()))
"""


def test_two_devices_find_the_statistic_of_one():
    """The batch is split between them; means run over all of it."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    env = {**os.environ, "XLA_FLAGS": flags}
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    run = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        capture_output=True,
        text=True,
        env={**env, "PYTHONPATH": root},
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    one, two, slopes = map(float, run.stdout.split())
    assert two == pytest.approx(one, rel=1e-5)
    assert slopes < 1e-4
