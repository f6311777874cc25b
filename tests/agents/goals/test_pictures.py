"""Pictures of goals in hindsight show what counts, and not what the task leaves open."""

import jax
import numpy as np
import pytest

from agents.data.dataset import Dataset
from agents.goals.model import table_of
from agents.goals.pictures import GoalPictures
from agents.runs.load_pretrained import load
from scripts.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("goals") / "data")
    flags = "--policy scripted --episodes 5 --steps 12 --size 32"
    assert main(["collect", "push-t", *flags.split(), "--out", folder]) == 0
    return Dataset.open(folder)


def middle_of(pictures, channel):
    """Centroids [n, 2] of the pixels of pictures [n, H, W, 3] that are mostly of a colour."""
    ours = pictures[..., channel].astype(float)
    others = np.delete(pictures, channel, -1).max(-1)
    weight = np.maximum(ours - others - 60, 0)
    grid = np.moveaxis(np.indices(weight.shape[1:]), 0, -1)
    return (weight[..., None] * grid).sum((1, 2)) / weight.sum((1, 2))[:, None]


def test_the_block_stays_and_the_pusher_is_somewhere_else(data):
    rows = np.arange(0, 39, 3)
    goals = GoalPictures(data)
    shown, seen = goals[rows[:, None]][:, 0], data.arrays["pixels"][rows]
    assert shown.dtype == np.uint8 and shown.shape == seen.shape
    block = middle_of(shown, 2) - middle_of(seen, 2)
    pusher = middle_of(shown, 0) - middle_of(seen, 0)
    assert np.linalg.norm(block, axis=1).max() < 1.0
    assert np.median(np.linalg.norm(pusher, axis=1)) > 3.0
    np.testing.assert_array_equal(goals[rows[::-1, None]][::-1, 0], shown)  # kept
    np.testing.assert_array_equal(GoalPictures(data)[rows[-2:, None]][:, 0], shown[-2:])


def test_tables_of_pictures_have_such_goals(data, tmp_path):
    """Those of turned episodes too: goals turn with their places."""
    run = str(tmp_path / "run")
    flags = "--preset pixels --rotation-augmentation --updates 2"
    flags += " --learner.rollout 1 --learner.batch-size 8"
    small = "--model.history 1 --model.latent-dim 4 --model.cnn-channels 2 --model.cnn-patch 8"
    words = ["pretrain", str(data.path), "--run-dir", run, *flags.split(), *small.split()]
    assert main([*words, "--learner.sigreg-directions", "8"]) == 0
    trained = load(run)
    table, turned = table_of(trained, data), table_of(trained, data, turns=2)
    rows = len(table.last)
    assert len(turned.last) == 2 * rows
    assert np.abs(np.asarray(table.goal) - np.asarray(table.embedding)).max() > 1e-3
    assert np.abs(np.asarray(turned.goal[:rows]) - np.asarray(turned.goal[rows:])).max() > 1e-3
    first = data.episodes[data.split("train")[0]]
    expected = GoalPictures(data)[np.arange(first.start, first.start + 3)[:, None]]
    embedded = jax.jit(jax.vmap(trained.net.encode, (None, 0)))(trained.params, expected)
    np.testing.assert_allclose(table.goal[:3], embedded, atol=1e-5)
