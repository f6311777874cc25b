"""The CNN over frames, and over the latest frame and its changes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.jepa.config import JepaConfig
from wm.jepa.encoders import latest_and_changes, make_encoder

KEY = jax.random.key(0)


def test_changes_are_those_that_led_to_the_latest_frame():
    frames = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 2)), jnp.float32)
    seen = latest_and_changes(frames)
    np.testing.assert_allclose(seen[0], frames[3])
    np.testing.assert_allclose(seen[0] - jnp.cumsum(seen[:0:-1], 0)[-1], frames[0], atol=1e-6)
    assert latest_and_changes(frames[:1]).shape == (1, 3, 2)


def test_a_still_scene_gives_no_change_and_the_same_parameters_serve_both():
    plain = JepaConfig(encoder="cnn", latent_dim=4, history=3, cnn_channels=2, encoder_width=8)
    one, two = make_encoder(plain), make_encoder(replace(plain, frame_differences=True))
    still = jnp.ones((3, 16, 16, 3)) * jax.random.uniform(KEY, (1, 16, 16, 3))
    params = jax.jit(one.init)(KEY, still)
    changed = jax.jit(two.apply)(params, still)
    alone = jnp.concatenate([still[:1], jnp.zeros((2, 16, 16, 3))])
    np.testing.assert_allclose(changed, jax.jit(one.apply)(params, alone), atol=1e-6)


@pytest.mark.parametrize("patch", [2, 4, 8, 16])
def test_patches_of_any_side_see_the_whole_picture(patch):
    """Whatever the first patches, the last map has a place for each 16 x 16 pixels."""
    config = JepaConfig(encoder="cnn", latent_dim=4, history=1, cnn_channels=3, cnn_patch=patch)
    encoder = make_encoder(config)
    frames = jax.random.normal(KEY, (1, 32, 48, 3))
    params = jax.jit(encoder.init)(KEY, frames)
    last = 3 if patch == 16 else 6
    assert params["params"]["MLP_0"]["NormedDense_0"]["Dense_0"]["kernel"].shape[0] == 2 * 3 * last
    loss = lambda x: jnp.sum(encoder.apply(params, x) ** 2)  # noqa: E731  # pyright: ignore
    slopes = jax.jit(jax.grad(loss))(frames)
    assert float(jnp.abs(slopes).sum(-1).min()) > 0


def test_patches_that_do_not_double_to_a_cell_are_refused():
    with pytest.raises(ValueError, match=r"model.cnn_patch must be one of 2, 4, 8, 16, got 6"):
        JepaConfig(cnn_patch=6)
