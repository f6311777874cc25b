"""Other colours, the same pictures."""

import numpy as np
import pytest

from agents.data.augment import Augmented
from agents.data.hue import hue_angles, hue_jitter, hue_rotation
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import PretrainConfig


def test_hues_turn_about_grey():
    """Grey stays, brightness stays, and a third of a turn takes red to green."""
    turns = hue_rotation(np.linspace(-3, 3, 7))
    np.testing.assert_allclose(turns @ np.ones(3), 1, atol=1e-12)
    np.testing.assert_allclose(turns.sum(-2), 1, atol=1e-12)
    third = hue_rotation(np.array(2 * np.pi / 3))
    np.testing.assert_allclose(third @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_stretches_have_colours_of_their_own_that_may_change_and_keep_their_brightness(point_data):
    data = point_data(pixels=True)
    data.arrays["pixels"] = (data.arrays["pixels"] * [0.7, 0.3, 0.1]).astype(np.uint8)

    def draw(source):
        return source.slices(np.random.default_rng(0), "train", 16, 3, fields=("action", "pixels"))

    plain, drawn = draw(data), draw(Augmented(data, hue_jitter(0.4)))
    np.testing.assert_array_equal(drawn["action"], plain["action"])
    before, after = (x["pixels"].astype(int) for x in (plain, drawn))
    bright = before.sum(-1) > 60
    kept = (after > 0).all(-1) & bright  # nothing was cut off
    assert kept.sum() > 50
    np.testing.assert_allclose(after.sum(-1)[kept], before.sum(-1)[kept], atol=3)
    shares = (after / np.maximum(after.sum(-1, keepdims=True), 1))[bright]
    assert np.ptp(shares[:, 0]) > 0.1
    hues = hue_angles(np.random.default_rng(1), 400, 5, 0.4)
    changes = (np.diff(hues) != 0).sum(1)
    assert set(changes) == {0, 1} and 0.3 < changes.mean() < 0.6
    again = draw(Augmented(data, hue_jitter(0.4)))
    np.testing.assert_array_equal(again["pixels"], drawn["pixels"])


def test_vectors_have_no_colours(point_data):
    with pytest.raises(ConfigError, match="only pictures have colours"):
        drawn = Augmented(point_data(), hue_jitter(0.4))
        drawn.slices(np.random.default_rng(0), "train", 2, 3, fields=("obs",))
    with pytest.raises(ConfigError, match="hue_jitter must lie in"):
        PretrainConfig(hue_jitter=1.5)
