"""Events for violation of expectation: one simulator, one moment, and back again."""

import numpy as np
import pytest

from envs.native.env import make_native
from envs.native.events import CONTROLS, VIOLATIONS, Stage
from envs.registry import make_vec
from envs.spec import EnvError

WORLDS = ["two-room", "point-maze", "push-t", "reacher-goal"]


def running(env_id, count=2, steps=4):
    """An environment under way, and its stage."""
    env = make_native(env_id, count, seed=1)
    env.reset()
    for _ in range(steps):
        env.step(np.full((count, env.env_spec.action_dim), 0.5))
    return env, Stage(env)


def picture(env, index):
    try:
        return env.render(index, 64, 64).astype(int)
    except EnvError as error:
        pytest.skip(f"no OpenGL here: {error}")


@pytest.mark.parametrize("env_id", [*WORLDS, "cheetah-run"])
def test_an_event_happens_to_one_simulator_only(env_id):
    env, stage = running(env_id)
    plain, _ = running(env_id)
    action = np.full((2, env.env_spec.action_dim), 0.3)
    rng = np.random.default_rng(0)
    for event in ("teleport", "reverse", "mass", "gravity", "color"):
        before = env.get_state(), plain.get_state()
        stage.apply(event, 0, rng)
        obs, expected = env.step(action)[0], plain.step(action)[0]
        same = np.array_equal(obs[0], expected[0])
        assert same == (event in CONTROLS), event
        np.testing.assert_array_equal(obs[1], expected[1])
        stage.restore(0)
        for one, state in zip((env, plain), before, strict=True):
            one.set_state(state)
        np.testing.assert_array_equal(env.step(action)[0], plain.step(action)[0], err_msg=event)


def test_reversed_velocities():
    env, stage = running("two-room")
    before = env.simulators.data.qvel.copy()
    stage.reverse(1)
    np.testing.assert_array_equal(env.simulators.data.qvel, before * [[1], [-1]])


def test_teleports_go_far_and_leave_the_pusher():
    env, stage = running("push-t", 8)
    before = env.simulators.data.qpos.copy()
    rng = np.random.default_rng(0)
    for index in range(8):
        stage.teleport(index, rng)
    after = env.simulators.data.qpos
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert np.linalg.norm(after[:, 2:] - before[:, 2:], axis=1).min() > 0.3
    assert env.simulators.batch.bind("ncon").max() == 0


def test_hidden_things_vanish_and_come_back():
    env, stage = running("two-room")
    first, other = picture(env, 0), picture(env, 1)
    red = (first[..., 0] > 200) & (first[..., 1] < 90)
    with pytest.raises(EnvError, match="nothing is behind the occluder of simulator 0"):
        stage.vanish(0)
    stage.occlude(0, env.simulators.data.qpos[0], 0.3)
    covered = picture(env, 0)
    assert not ((covered[..., 0] > 200) & (covered[..., 1] < 90)).any()
    stage.lift(0)
    np.testing.assert_array_equal(picture(env, 0), first)
    stage.occlude(0, env.simulators.data.qpos[0], 0.3)
    stage.apply("vanish", 0, np.random.default_rng(0))
    stage.lift(0)
    gone = abs(picture(env, 0) - first).max(axis=-1) > 20
    assert gone[red].all() and gone.sum() < 3 * red.sum()
    stage.restore(0)
    np.testing.assert_array_equal(picture(env, 0), first)
    np.testing.assert_array_equal(picture(env, 1), other)
    env.close()


def test_a_wrong_event_or_world_is_named():
    env, stage = running("cheetah-run")
    with pytest.raises(EnvError, match="unknown event 'fly'; expected one of teleport"):
        stage.apply("fly", 0, np.random.default_rng(0))
    with pytest.raises(EnvError, match="Cheetah has no occluder"):
        stage.occlude(0, np.zeros(2), 0.1)
    with pytest.raises(EnvError, match="need a native environment"):
        Stage(make_vec("Pendulum-v1", 1))
    assert set(VIOLATIONS) | set(CONTROLS) == set(stage.names)
    env.close()


def test_events_keep_the_shift_of_a_world():
    env = make_vec("two-room", 1, seed=0, shift="mass=2 tilt=5")
    env.reset()
    model = env.simulators.batch.get_model(0)
    stage = Stage(env)
    stage.change_mass(0)
    stage.change_gravity(0)
    stage.restore(0)
    again = env.simulators.batch.get_model(0)
    np.testing.assert_array_equal(again.body_mass, model.body_mass)
    np.testing.assert_array_equal(again.opt.gravity, model.opt.gravity)
    np.testing.assert_allclose(again.dof_M0, model.dof_M0, rtol=1e-12)
