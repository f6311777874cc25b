"""The vector environment's contract: episodes, autoreset, seeds, state."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from envs.native.env import make_native
from envs.spec import EnvError


def actions_for(env, seed=0, steps=1):
    """Random actions [T, E, A] float32."""
    shape = (steps, env.num_envs, env.env_spec.action_dim)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def record(env, actions):
    """Everything the steps return, as a list of arrays."""
    out = []
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        out += [obs, reward, terminated, truncated, info["invalid"], info["is_reset"]]
    return out


def assert_equal(left, right):
    """Two records are equal to the last bit."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def near_end(env, frames_left):
    """Move every simulator's clock close to the time limit."""
    state = env.get_state()
    state["frames"][:] = env.env_spec.episode_frames - frames_left
    env.set_state(state)


def test_shapes_types_and_spaces():
    env = make_native("walker-walk", 3, seed=0)
    obs, info = env.reset()
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert obs.shape == (3, 24) and obs.dtype == np.float64
    assert env.observation_space.contains(obs)
    assert env.single_action_space.dtype == np.float32
    assert info["is_reset"].all() and not info["invalid"].any()
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert reward.shape == (3,) and reward.dtype == np.float64
    assert terminated.dtype == truncated.dtype == info["invalid"].dtype == np.bool_
    assert not info["is_reset"].any()


def test_action_repeat_sums_the_rewards_of_its_frames():
    single, double = (make_native("hopper-stand", 2, repeat) for repeat in (1, 2))
    single.reset(seed=1)
    double.reset(seed=1)
    for action in actions_for(single, steps=20):
        _, first, *_ = single.step(action)
        obs, second, *_ = single.step(action)
        same, total, *_ = double.step(action)
        np.testing.assert_array_equal(obs, same)
        np.testing.assert_array_equal(first + second, total)


def test_time_limit_truncates_then_the_next_step_resets():
    env = make_native("cartpole-swingup", 2, seed=0)
    env.reset()
    near_end(env, 4)
    one = actions_for(env, steps=4)
    _, _, _, truncated, _ = env.step(one[0])
    assert not truncated.any()
    last, reward, terminated, truncated, info = env.step(one[1])
    assert truncated.all() and not terminated.any() and not info["is_reset"].any()
    obs, reward, _, truncated, info = env.step(one[2])
    assert info["is_reset"].all() and not truncated.any()
    np.testing.assert_array_equal(reward, 0.0)
    assert abs(obs - last).max() > 1e-3
    _, _, _, truncated, info = env.step(one[3])
    assert not info["is_reset"].any() and not truncated.any()
    np.testing.assert_array_equal(env.get_state()["frames"], 2)


def test_repeat_stops_at_the_time_limit():
    env = make_native("pendulum-swingup", 2, action_repeat=3, seed=0)
    assert env.env_spec.episode_steps == 334
    env.reset()
    near_end(env, 1)
    _, _, _, truncated, _ = env.step(actions_for(env)[0])
    assert truncated.all()
    np.testing.assert_array_equal(env.get_state()["frames"], 1000)


def test_one_simulator_resets_while_the_others_go_on():
    env, alone = make_native("cheetah-run", 3, seed=5), make_native("cheetah-run", 3, seed=5)
    env.reset()
    alone.reset()
    state = env.get_state()
    state["pending"][1] = True
    env.set_state(state)
    action = actions_for(env)[0]
    obs, reward, _, _, info = env.step(action)
    undisturbed, kept, *_ = alone.step(action)
    np.testing.assert_array_equal(info["is_reset"], [False, True, False])
    np.testing.assert_array_equal(obs[[0, 2]], undisturbed[[0, 2]])
    np.testing.assert_array_equal(reward, kept * [1, 0, 1])
    assert abs(obs[1] - undisturbed[1]).max() > 1e-3


def test_reset_mask_resets_only_those():
    env = make_native("walker-walk", 3, seed=0)
    before, _ = env.reset()
    after, info = env.reset(options={"reset_mask": np.array([True, False, False])})
    np.testing.assert_array_equal(before[1:], after[1:])
    assert abs(before[0] - after[0]).max() > 1e-3
    np.testing.assert_array_equal(info["is_reset"], [True, False, False])
    with pytest.raises(EnvError, match="reset_mask"):
        env.reset(options={"reset_mask": np.array([True])})


def test_invalid_physics_truncates_and_keeps_the_last_valid_obs():
    env = make_native("walker-walk", 3, seed=0)
    valid, _ = env.reset()
    env.simulators.data.qvel[1, 4] = np.nan
    obs, reward, terminated, truncated, info = env.step(actions_for(env)[0])
    np.testing.assert_array_equal(info["invalid"], [False, True, False])
    np.testing.assert_array_equal(truncated, [False, True, False])
    assert not terminated.any() and reward[1] == 0 and reward[0] > 0
    np.testing.assert_array_equal(obs[1], valid[1])
    assert np.isfinite(obs).all()
    obs, _, _, truncated, info = env.step(actions_for(env)[0])
    np.testing.assert_array_equal(info["is_reset"], [False, True, False])
    assert not info["invalid"].any() and not truncated.any() and np.isfinite(obs).all()
    *_, info = env.step(actions_for(env)[0])
    assert not info["invalid"].any()


def test_simulation_errors_are_invalid_for_the_named_simulators(monkeypatch):
    from mujoco.batch import SimulationError

    env = make_native("pendulum-swingup", 3, action_repeat=1, seed=0)
    env.reset()
    step = env.simulators.batch.step

    def fail_second(*args):
        step(*args)
        raise SimulationError(np.array([1]), "out of memory")

    monkeypatch.setattr(env.simulators.batch, "step", fail_second)
    _, _, _, truncated, info = env.step(actions_for(env)[0])
    np.testing.assert_array_equal(info["invalid"], [False, True, False])
    np.testing.assert_array_equal(truncated, [False, True, False])


@pytest.mark.parametrize("env_id", ["finger-turn_hard", "reacher-easy", "ball_in_cup-catch"])
def test_a_simulator_does_not_depend_on_its_neighbours(env_id):
    many, one = make_native(env_id, 4, num_threads=2), make_native(env_id, 1)
    obs, _ = many.reset(seed=[7, 8, 9, 10])
    alone, _ = one.reset(seed=9)
    np.testing.assert_array_equal(obs[2], alone[0])
    near_end(many, 20)
    near_end(one, 20)
    for action in actions_for(many, steps=25):
        obs, reward, *_ = many.step(action)
        alone, single_reward, *_ = one.step(action[2:3])
        np.testing.assert_array_equal(obs[2], alone[0])
        assert reward[2] == single_reward[0]


def test_seeds():
    env, larger = make_native("reacher-easy", 2), make_native("reacher-easy", 4)
    first, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    further, _ = env.reset()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, larger.reset(seed=3)[0][:2])
    np.testing.assert_array_equal(first, make_native("reacher-easy", 2, seed=3).reset()[0])
    assert abs(first - further).max() > 1e-3
    assert abs(first[0] - first[1]).max() > 1e-3
    with pytest.raises(EnvError, match="must not be negative"):
        env.reset(seed=-1)
    with pytest.raises(EnvError, match="3 seeds for 2 simulators"):
        env.reset(seed=[1, 2, 3])


@pytest.mark.parametrize("env_id", ["cheetah-run", "finger-turn_easy", "cartpole-swingup"])
def test_state_goes_on_bit_for_bit_across_an_autoreset(env_id):
    env = make_native(env_id, 3)
    env.reset(seed=0)
    record(env, actions_for(env, 1, 10))
    near_end(env, 24)
    actions = actions_for(env, 2, 30)
    record(env, actions[:5])
    state = env.get_state()
    assert all(array.dtype.kind in "fiub" for array in state.values())
    expected = record(env, actions[5:])
    assert any(part.any() for part in expected[5::6]), "no autoreset was crossed"
    fresh = make_native(env_id, 3)
    fresh.set_state(state)
    assert_equal(record(fresh, actions[5:]), expected)
    env.set_state(state)
    assert_equal(record(env, actions[5:]), expected)


def test_state_of_another_shape_is_named():
    env = make_native("cartpole-swingup", 2)
    with pytest.raises(EnvError, match=r"before reset"):
        env.get_state()
    env.reset()
    other = make_native("cartpole-swingup", 3)
    other.reset()
    with pytest.raises(EnvError, match=r"'physics' is float64\[3, .*expected float64\[2, "):
        env.set_state(other.get_state())
    with pytest.raises(EnvError, match="'physics' is nothing"):
        env.set_state({})


def test_actions_are_clipped():
    env, clipped = make_native("cheetah-run", 1, seed=0), make_native("cheetah-run", 1, seed=0)
    env.reset()
    clipped.reset()
    action = 4 * actions_for(env)[0]
    assert_equal(record(env, [action]), record(clipped, [np.clip(action, -1, 1)]))


def test_a_seeded_reset_of_some_leaves_the_others_their_streams():
    env, twin = make_native("reacher-easy", 2), make_native("reacher-easy", 2)
    env.reset(seed=3)
    twin.reset(seed=3)
    env.reset(seed=[5, None], options={"reset_mask": [True, False]})
    np.testing.assert_array_equal(env.reset()[0][1], twin.reset()[0][1])
