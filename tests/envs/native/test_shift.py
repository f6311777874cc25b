"""Shifted worlds: what is asked for happens where it is asked for, and nothing else."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.native.env import make_native
from envs.native.goals import goal_info
from envs.native.shift import Shift, ShiftError, shift_looks
from envs.registry import make_vec
from envs.spec import EnvError
from envs.tasks import TASKS

NUMBERS = st.floats(0.01, 10.0)
SHIFTS = st.builds(
    Shift, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.floats(-30, 30), obs_delay=st.integers(0, 5)
)


def field(env, name):
    """A model field [E, ...] of every simulator."""
    models = [env.simulators.batch.get_model(i) for i in range(env.num_envs)]
    return np.array([getattr(model, name) for model in models])


@given(SHIFTS)
@settings(max_examples=50, deadline=None)
def test_text_and_shift_are_the_same(shift):
    assert Shift.parse(str(shift)) == shift
    assert Shift.parse("") == Shift() and str(Shift()) == ""
    assert Shift.parse("mass=2, obs_delay=1") == Shift(mass=2.0, obs_delay=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mas=1", "'mas' is unknown: did you mean mass"),
        ("mass", "mass: expected mass=NUMBER"),
        ("mass=1 mass=2", "mass: expected mass=NUMBER once"),
        ("tilt=x", r"tilt must be a number, got 'x'"),
        ("friction=nan", r"friction must lie in \[0, 1000\], got nan"),
        ("damping=-1", r"damping must lie in \[0, 1000\], got -1.0"),
        ("mass=0", r"mass must lie in \[0.001, 1000\], got 0.0"),
        ("obs_delay=1.5", "obs_delay must be an integer, got '1.5'"),
    ],
)
def test_bad_shifts_name_their_key(text, message):
    with pytest.raises(ShiftError, match=message) as caught:
        make_vec("two-room", 1, shift=text)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_no_shift_changes_nothing():
    plain, empty = make_vec("push-t", 2, seed=0), make_vec("push-t", 2, seed=0, shift="mass=1")
    plain.reset()
    empty.reset()
    rng = np.random.default_rng(0)
    for _ in range(10):
        actions = rng.uniform(-1, 1, (2, 2))
        np.testing.assert_array_equal(plain.step(actions)[0], empty.step(actions)[0])


def test_each_simulator_has_its_own_physics():
    shifts = [Shift(), Shift(mass=2.0), Shift(friction=3.0, damping=0.5), Shift(gravity=0.5)]
    shifts += [Shift(gain=0.5), Shift()]
    env = make_vec("push-t", 6, shift=shifts)
    base = make_native("push-t", 1).simulators.task.model
    np.testing.assert_allclose(field(env, "body_mass")[1], 2 * base.body_mass)
    np.testing.assert_allclose(field(env, "dof_M0")[1], 2 * base.dof_M0, rtol=1e-9)
    np.testing.assert_allclose(field(env, "geom_friction")[2], 3 * base.geom_friction)
    np.testing.assert_allclose(field(env, "dof_frictionloss")[2], 3 * base.dof_frictionloss)
    np.testing.assert_allclose(field(env, "dof_damping")[2], 0.5 * base.dof_damping)
    gravity = env.simulators.batch.get_model(3).opt.gravity
    np.testing.assert_allclose(gravity, 0.5 * base.opt.gravity)
    np.testing.assert_allclose(field(env, "actuator_gainprm")[4], 0.5 * base.actuator_gainprm)
    for name in ("body_mass", "geom_friction", "dof_damping", "actuator_gainprm", "dof_M0"):
        np.testing.assert_allclose(field(env, name)[[0, 5]], np.array([getattr(base, name)] * 2))


def test_a_heavier_point_speeds_up_more_slowly():
    env = make_vec("two-room", 3, shift=["mass=1", "mass=2", "gain=0.5 friction=0.5 damping=0.5"])
    env.reset(seed=0)
    start = np.tile([0.3, 0.0], (3, 1))
    env.begin(start, start)
    obs, *_ = env.step(np.tile([1.0, 0.0], (3, 1)))
    light, heavy, weak = obs[:, 2]
    assert heavy < 0.75 * light
    # half of all forces on one mass is the same as twice the mass
    np.testing.assert_allclose(weak, heavy, rtol=1e-6)


def test_things_fall_down_a_tilted_world():
    env = make_vec("two-room", 3, shift=["tilt=10", "tilt=-10", "gravity=3"])
    env.reset(seed=0)
    start = np.tile([0.5, 0.0], (3, 1))
    env.begin(start, start)
    for _ in range(5):
        obs, *_ = env.step(np.zeros((3, 2)))
    assert obs[0, 2] > 0.1 and np.isclose(obs[1, 2], -obs[0, 2])
    np.testing.assert_allclose(obs[2], [0.5, 0, 0, 0], atol=1e-12)


def test_shifted_worlds_are_saved_and_restored():
    env = make_vec("push-t", 2, seed=1, shift=["mass=2 obs_noise=0.1", "obs_delay=2 tilt=3"])
    env.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (8, 2, 2))
    env.step(actions[0])
    state = env.get_state()
    first = [env.step(a)[0] for a in actions]
    env.set_state(state)
    for left, right in zip(first, (env.step(a)[0] for a in actions), strict=True):
        np.testing.assert_array_equal(left, right)


def test_late_and_noisy_observations():
    plain = make_vec("two-room", 3, seed=4)
    shifts = [Shift(obs_delay=2), Shift(obs_noise=0.2), Shift()]
    env = make_vec("two-room", 3, seed=4, shift=shifts)
    obs, given = [plain.reset()[0]], [env.reset()[0]]
    np.testing.assert_array_equal(given[0][[0, 2]], obs[0][[0, 2]])
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = rng.uniform(-1, 1, (3, 2))
        obs.append(plain.step(actions)[0])
        given.append(env.step(actions)[0])
    obs, given = np.array(obs), np.array(given)
    np.testing.assert_array_equal(given[2:, 0], obs[:-2, 0])
    np.testing.assert_array_equal(given[:2, 0], obs[[0, 0], 0])
    np.testing.assert_array_equal(given[:, 2], obs[:, 2])
    noise = given[:, 1] - obs[:, 1]
    assert 0.15 < noise.std() < 0.25 and abs(noise.mean()) < 0.05


def test_late_actions():
    plain, env = (
        make_vec("two-room", 2, seed=4),
        make_vec("two-room", 2, seed=4, shift="action_delay=2"),
    )
    plain.reset()
    env.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 2, 2))
    for late, now in zip([*np.zeros((2, 2, 2)), *actions], actions, strict=False):
        np.testing.assert_array_equal(env.step(now)[0], plain.step(late)[0])


def test_channels_begin_afresh_with_an_episode():
    env = make_vec("two-room", 2, seed=0, shift="obs_delay=3 action_delay=3")
    env.reset()
    state = env.get_state()
    state["frames"][0] = env.env_spec.episode_frames - 2
    env.set_state(state)
    ones = np.ones((2, 2))
    assert env.step(ones)[3].tolist() == [True, False]
    obs, *_, info = env.step(ones)
    assert info["is_reset"].tolist() == [True, False]
    np.testing.assert_array_equal(obs[0], [*info["achieved"][0], 0, 0])
    for _ in range(3):  # the actions before the reset are forgotten
        *_, info = env.step(ones)
        np.testing.assert_allclose(info["achieved"][0], obs[0, :2], atol=1e-12)
    assert not np.allclose(env.step(ones)[-1]["achieved"][0], obs[0, :2], atol=1e-4)


def test_noise_does_not_change_how_episodes_start():
    plain, noisy = make_vec("two-room", 3), make_vec("two-room", 3, shift="action_noise=0.5")
    again = make_vec("two-room", 3, shift="action_noise=0.5")
    np.testing.assert_array_equal(plain.reset(seed=2)[0], noisy.reset(seed=2)[0])
    again.reset(seed=2)
    zeros = np.zeros((3, 2))
    moved = noisy.step(zeros)[0]
    np.testing.assert_array_equal(again.step(zeros)[0], moved)
    assert not np.array_equal(plain.step(zeros)[0], moved)


@pytest.mark.parametrize("env_id", ["humanoid-run", "Pendulum-v1"])
def test_adapters_take_noise_and_delays_only(env_id):
    env = make_vec(env_id, 1, seed=0, shift="obs_delay=1")
    first = env.reset()[0]
    actions = np.zeros((1, env.env_spec.action_dim))
    np.testing.assert_array_equal(env.step(actions)[0], first)
    env.close()
    with pytest.raises(EnvError, match=r"only noise and delays can be shifted, not 'mass=2\.0'"):
        make_vec(env_id, 1, shift="mass=2")


def test_cameras_and_colours_differ_and_goals_are_seen_the_same_way():
    shifts = [Shift(), Shift(camera=0.2), Shift(roll=90.0), Shift(color=0.4)]
    env = make_vec("two-room", 4, shift=shifts)
    env.reset(seed=[0] * 4)
    try:
        plain, moved, rolled, colored = (env.render(i, 64, 64).astype(int) for i in range(4))
    except EnvError as error:
        pytest.skip(f"no OpenGL here: {error}")
    pixels = round(0.2 * 64)
    assert abs(moved[:, :-pixels] - plain[:, pixels:]).mean() < 3
    assert min(abs(rolled - np.rot90(plain, k)).mean() for k in (1, 3)) < 3
    changed = abs(colored - plain).max(axis=-1) > 50
    red = (plain[..., 0] > 200) & (plain[..., 1] < 90)
    assert red.any() and changed[red].all() and changed.mean() < 0.02
    goals = env.goal_view(env.simulators.data.userdata[[0] * 4], picture=(64, 64)).pictures
    assert goals is not None
    assert abs(goals[1, :, :-pixels].astype(int) - goals[0, :, pixels:]).mean() < 3
    with pytest.raises(EnvError, match="different shifts"):
        env.goal_view(np.zeros((2, 2)))
    env.close()


@pytest.mark.parametrize("task", ["two-room", "reacher-goal"])  # colours of geoms, of materials
def test_a_model_looks_as_the_simulator_of_the_same_shift_does(task):
    env = make_vec(task, 1, shift="camera=0.1 roll=20 color=0.3")
    model, usual = TASKS[task]().model, TASKS[task]().model
    before = model.cam_pos.copy()
    shift_looks(model, Shift(mass=2.0))
    np.testing.assert_array_equal(model.cam_pos, before)
    shift_looks(model, Shift(camera=0.1, roll=20.0, color=0.3))
    for name in ("cam_pos", "cam_quat", "geom_rgba"):
        assert (getattr(model, name) != getattr(usual, name)).any(), name
        shown = field(env, name)[0]
        np.testing.assert_allclose(getattr(model, name), shown, atol=1e-6, err_msg=name)
    env.close()


def test_gymnasium_ids_take_shifts():
    envs.register()
    one = gymnasium.make("latentmpc/two-room-v0", shift="tilt=5 obs_delay=1")
    obs, info = one.reset(seed=0)
    assert info["success"] is False and info["goal"].shape == info["achieved"].shape == (2,)
    late, *_ = one.step(np.zeros(2, np.float32))
    np.testing.assert_array_equal(late, obs)
    assert one.step(np.zeros(2, np.float32))[0][2] > 0, "it slides towards +x"
    many = gymnasium.make_vec("latentmpc/two-room-v0", num_envs=2, shift="obs_delay=1")
    first = many.reset(seed=0)[0]
    np.testing.assert_array_equal(many.step(np.ones((2, 2)))[0], first)
    one.close()
    many.close()


def test_goal_quantities_do_not_pass_the_channels():
    env = make_vec("two-room", 1, seed=0, shift="obs_noise=1")
    env.reset()
    info = env.step(np.ones((1, 2)))[-1]
    expected = goal_info(env.simulators.task, env.simulators.data)
    np.testing.assert_array_equal(info["achieved"], expected["achieved"])
