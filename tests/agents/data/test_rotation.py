"""Turned episodes are episodes of the same world, told of other sides."""

import numpy as np
import pytest

from agents.data.augment import Augmented
from agents.data.dataset import Dataset
from agents.data.rotate_pictures import RotatedPictures, rotate_pictures
from agents.data.rotation import random_rotation, rotated_rows, rotation_of
from agents.goals.model import table_of
from agents.runs.config import ConfigError
from agents.runs.load_pretrained import load
from envs.registry import make_spec, make_vec
from scripts.cli import main

PUSH = "push-t"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("turned") / "data")
    flags = "--policy scripted --episodes 6 --steps 12 --size 32"
    assert main(["collect", PUSH, *flags.split(), "--out", folder]) == 0
    return Dataset.open(folder)


@pytest.mark.parametrize(("angles", "tolerance"), [("quarters", 1e-3), ("any", 0.03)])
def test_a_turned_world_goes_on_as_a_turned_world(angles, tolerance):
    """The same pushes from another side: poses follow as `rotated` says.

    To rounding for quarters; nearly so for other angles, as dry friction works along the axes.
    """
    count = 16
    rng = np.random.default_rng(0)
    turn = rotation_of(make_spec(PUSH))
    drawn = rng.integers(1, 4, count) * np.pi / 2
    angle = drawn if angles == "quarters" else rng.uniform(-np.pi, np.pi, count)
    plain, other = make_vec(PUSH, count), make_vec(PUSH, count)
    plain.reset(seed=1)
    other.reset(seed=1)
    qpos = np.array([plain.simulators.task.free_start(rng).qpos for _ in range(count)])
    qpos[:, :4] -= np.tile(qpos[:, 2:4], 2)  # the block in the middle
    seen = qpos.copy()
    seen[:, :2], seen[:, 4] = turned_pair(qpos[:, :2], angle), qpos[:, 4] + angle
    for env, place in ((plain, qpos), (other, seen)):
        env.simulators.place(place, 0.0, place)
    obs = plain.simulators.task.flat_obs(np, plain.simulators.data)
    for _ in range(8):
        towards = obs[:, 2:4] - obs[:, :2]
        action = 0.6 * towards / np.linalg.norm(towards, axis=1, keepdims=True)
        _, theirs = turn(obs, action, angle)
        obs = plain.step(action)[0]
        found = other.step(theirs)[0]
        expected, _ = turn(obs, action, angle)
        np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=tolerance)
    moved = np.linalg.norm(obs[:, 2:4], axis=1)
    assert (moved > 0.02).mean() > 0.5


def test_a_turned_arm_goes_on_as_a_turned_arm():
    """Any angle of the shoulder, the same torques."""
    count, rng = 8, np.random.default_rng(0)
    turn, angle = rotation_of(make_spec("reacher-goal")), rng.uniform(-np.pi, np.pi, count)
    plain, other = make_vec("reacher-goal", count), make_vec("reacher-goal", count)
    plain.reset(seed=1)
    other.reset(seed=1)
    qpos = plain.simulators.data.qpos.copy()
    other.simulators.place(qpos + np.stack([angle, np.zeros(count)], 1), 0.0, qpos)
    plain.simulators.place(qpos, 0.0, qpos)
    for _ in range(20):
        action = rng.uniform(-1, 1, (count, 2))
        obs = plain.step(action)[0]
        expected, theirs = turn(obs, action, angle)
        np.testing.assert_allclose(other.step(theirs)[0], expected, atol=1e-5)


def turned_pair(pair, angle):
    """Points [E, 2] about the middle."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * pair[:, 0] - sin * pair[:, 1], sin * pair[:, 0] + cos * pair[:, 1]], 1)


def test_pictures_are_turned_with_what_they_show(data):
    """The picture of the turned state is the turned picture, at any angle."""
    env = make_vec(PUSH, 1)
    env.reset(seed=0)
    qpos = env.simulators.data.qpos.copy()
    angles, pictures = np.array([0, 0.5, 1, 2, 3]) * np.pi / 2 + [0, 0.3, 0.1, -0.4, 0.6], []
    for angle in angles:
        angle, place = np.full(1, angle), qpos.copy()
        place[:, :2] = turned_pair(qpos[:, :2], angle)
        place[:, 2:4] = turned_pair(qpos[:, 2:4], angle)
        place[:, 4] += angle
        env.simulators.place(place, 0.0, place)
        pictures.append(env.simulators.picture(0, 64, 64).astype(int))
    turned = RotatedPictures(np.array(pictures[:1], np.uint8).repeat(5, 0), angles)[
        np.arange(5)[:, None]
    ]
    others = [*pictures[1:], pictures[0]]
    for ours, theirs, unlike in zip(turned[:, 0], pictures, others, strict=True):
        error = np.abs(ours.astype(int) - theirs).mean()
        assert error < 1 and error < np.abs(theirs - unlike).mean() / 4


def test_quarters_of_pictures_are_exact_but_for_the_frame():
    some = np.random.default_rng(0).integers(0, 256, (4, 2, 16, 16, 3)).astype(np.uint8)
    made = rotate_pictures(some, np.arange(4) * np.pi / 2)
    for quarter in range(4):
        expected = np.rot90(some[quarter], quarter, (1, 2))[:, 1:-1, 1:-1].astype(int)
        assert np.abs(made[quarter, :, 1:-1, 1:-1] - expected).max() <= 1
    np.testing.assert_array_equal(made[:, :, 0], some[:, :, 0])
    np.testing.assert_array_equal(made[:, :, :, -1], some[:, :, :, -1])


def test_stretches_are_turned_as_a_whole(data):
    """Distances stay, each stretch has one angle, and the same seed draws the same."""
    fields = ("obs", "action")
    draw = lambda source: source.slices(np.random.default_rng(3), "train", 8, 5, fields=fields)  # noqa: E731
    rotated = Augmented(data, random_rotation(data.spec))
    plain, turned, again = draw(data), draw(rotated), draw(rotated)
    np.testing.assert_array_equal(turned["obs"], again["obs"])
    apart = [
        np.linalg.norm(x["obs"][..., :2] - x["obs"][..., 2:4], axis=-1) for x in (plain, turned)
    ]
    np.testing.assert_allclose(*apart, atol=1e-5)
    by = np.arctan2(turned["obs"][..., 5], turned["obs"][..., 4])
    by = by - np.arctan2(plain["obs"][..., 5], plain["obs"][..., 4])
    np.testing.assert_allclose(np.cos(by - by[:, :1]), 1, atol=1e-5)
    assert np.ptp(np.cos(by[:, 0])) > 0.1


def test_turned_pictures_come_with_turned_actions(data):
    fields = ("obs", "action", "pixels")
    plain = data.slices(np.random.default_rng(2), "train", 6, 3, fields=fields)
    rotated = Augmented(data, random_rotation(data.spec))
    drawn = rotated.slices(np.random.default_rng(2), "train", 6, 3, fields=fields)
    heading = [np.arctan2(x["obs"][..., 5], x["obs"][..., 4]) for x in (plain, drawn)]
    angle = (heading[1] - heading[0])[:, 0]
    for i in range(6):
        expected = turned_pair(plain["action"][i], np.full(3, angle[i]))
        np.testing.assert_allclose(drawn["action"][i], expected, atol=1e-5)
    expected = rotate_pictures(plain["pixels"], angle).astype(int)
    assert np.abs(drawn["pixels"] - expected).max() <= 1
    np.testing.assert_array_equal(drawn["pixels"][::2], plain["pixels"][::2])
    assert np.abs(angle[1::2]).min() > 0 and not angle[::2].any()


def test_episodes_are_turned_by_angles_of_their_own(data):
    obs, action = rotated_rows(rotation_of(data.spec), data, 0, pixels=False)
    assert obs.shape == data.arrays["obs"].shape and action.shape == data.arrays["action"].shape
    other, _ = rotated_rows(rotation_of(data.spec), data, 1, pixels=False)
    by = np.arctan2(obs[:, 5], obs[:, 4]) - np.arctan2(
        data.arrays["obs"][:, 5], data.arrays["obs"][:, 4]
    )
    angles = [np.cos(by[e.rows]) for e in data.episodes]
    assert all(np.ptp(a) < 1e-4 for a in angles)
    assert np.ptp([a[0] for a in angles]) > 0.1
    assert not np.allclose(obs, other)


def test_what_has_a_north_is_not_turned():
    with pytest.raises(ConfigError, match="point-maze does not look the same"):
        rotation_of(make_spec("point-maze"))


def test_the_state_itself_is_learned_turned_and_distilled(data, tmp_path, capfd):
    """An identity encoder: latents are the normalised observation; guides from turned episodes."""
    run = str(tmp_path / "run")
    flags = "--objective frozen --model.encoder identity --model.history 1 --model.action-block 2"
    small = "--model.predictor-width 16 --learner.rollout 2 --learner.batch-size 16 --updates 20"
    words = ["pretrain", str(data.path), "--run-dir", run, "--turned", *flags.split()]
    assert main([*words, *small.split()]) == 0
    trained = load(run)
    norm = {k: np.asarray(v) for k, v in trained.params["normalizer"].items()}
    table = table_of(trained, data, turns=2)
    rows = [e.length + 1 for i in data.split("train") for e in [data.episodes[i]]]
    assert len(table.last) == 2 * sum(rows)
    assert int(table.last[-1]) == len(table.last) - 1
    first = data.episodes[data.split("train")[0]]
    expected = (
        rotated_rows(rotation_of(data.spec), data, 1, False)[0][first.rows] - norm["mean"]
    ) / norm["std"]
    found = table.embedding[sum(rows) : sum(rows) + rows[0]]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    guide = (
        "--goal-heads.updates 50 --goal-heads.width 16 --goal-heads.imagined 0 --goal-heads.turns 2"
    )
    assert main(["distill", run, *guide.split()]) == 0
    assert main(["eval", run, "--mode", "prior", "--goals", "2", "--slots", "2", "--json"]) == 0
    capfd.readouterr()
    wrong = ["pretrain", str(data.path), "--run-dir", str(tmp_path / "no"), "--updates", "20"]
    assert main([*wrong, "--model.encoder", "identity"]) == 2
    assert "objective frozen goes with" in capfd.readouterr().err
