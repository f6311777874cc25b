"""Pictures of simulators, on machines with and without OpenGL."""

import numpy as np
import pytest

from envs.native.env import make_native
from envs.spec import EnvError


def picture_or_reason(env, index=0):
    """A picture, or None after checking that the error says what to type."""
    try:
        return env.render(index, 120, 160)
    except EnvError as error:
        reason = str(error)
    assert "MUJOCO_GL" in reason and "\n" not in reason
    return None


def test_pictures_show_each_simulators_own_target():
    env = make_native("reacher-easy", 2, seed=1)
    env.reset()
    qpos = env.simulators.data.qpos
    qpos[1] = qpos[0]
    frames = [picture_or_reason(env, index) for index in (0, 1)]
    env.close()
    if frames[0] is None or frames[1] is None:
        return
    assert frames[0].shape == (120, 160, 3) and frames[0].dtype == np.uint8
    assert frames[0].std() > 5
    moved = abs(frames[0].astype(int) - frames[1]).max(axis=-1) > 30
    assert 50 < moved.sum() < 4000, "only the target differs, and it does"


def test_a_picture_does_not_disturb_the_physics():
    env, plain = (make_native("walker-walk", 2, seed=0) for _ in range(2))
    env.reset()
    plain.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, (2, 6))
        np.testing.assert_array_equal(env.step(action)[0], plain.step(action)[0])
        picture_or_reason(env, 1)
    env.close()


def test_bad_pictures_are_named(monkeypatch):
    env = make_native("walker-walk", 2, seed=0)
    env.reset()
    with pytest.raises(EnvError, match="no simulator 2; expected 0 to 1"):
        env.render(2)
    with pytest.raises(EnvError, match="does not fit"):
        env.render(0, 100_000, 10)
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    with pytest.raises(EnvError, match="'crayons' cannot render"):
        env.render(0)


def test_cameras_do_not_disturb_one_another():
    env = make_native("push-t", 1, seed=0)
    env.reset()
    first = picture_or_reason(env)
    if first is None:
        return
    expected = env.goal_view(picture=(64, 64)).pictures
    for size in (32, 120):
        env.render(0, size, size)  # closes the camera before
        np.testing.assert_array_equal(env.goal_view(picture=(64, 64)).pictures, expected)
    np.testing.assert_array_equal(picture_or_reason(env), first)
    assert expected is not None
    assert abs(expected[0].astype(int) - env.render(0, 64, 64)).max() > 100, "the goal is elsewhere"
    env.close()
