"""Simulators of others behind the same contract."""

import numpy as np
import pytest

from envs import imports
from envs.registry import list_tasks, make_spec, make_vec
from envs.spec import EnvError, UnknownTaskError

QUICK = [
    "dmc/cartpole-swingup",
    "humanoid-run",
    "quadruped-run",
    "fish-swim",
    "manipulator-bring_ball",
    "swimmer-swimmer6",
    "lqr-lqr_2_1",
    "HalfCheetah-v5",
    "InvertedPendulum-v5",
    "Humanoid-v5",
    "Ant-v5",
    "Pendulum-v1",
    "MountainCarContinuous-v0",
]
OTHERS = sorted({t.env_id for t in list_tasks() if t.backend != "native"} - set(QUICK))


def check_contract(env_id, steps=4):
    env = make_vec(env_id, 2)
    spec = env.env_spec
    obs, info = env.reset(seed=0)
    assert obs.shape == (2, spec.obs_dim) and obs.dtype == np.float64
    assert sum(size for _, size in spec.obs_names) == spec.obs_dim
    assert not np.array_equal(obs[0], obs[1])
    rng = np.random.default_rng(0)
    for _ in range(steps):
        out = env.step(rng.uniform(-1, 1, (2, spec.action_dim)))
        obs, reward, terminated, truncated, info = out
        assert obs.shape == (2, spec.obs_dim) and np.isfinite(obs).all()
        assert reward.shape == (2,) and reward.dtype == np.float64
        assert terminated.dtype == truncated.dtype == bool
        assert info["invalid"].shape == info["is_reset"].shape == (2,)
    env.close()


@pytest.mark.parametrize("env_id", QUICK)
def test_contract(env_id):
    check_contract(env_id)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", OTHERS)
def test_contract_of_every_other_id(env_id):
    check_contract(env_id)


@pytest.mark.parametrize("env_id", QUICK)
def test_state_is_restored_bit_for_bit(env_id):
    """In another process's place: a fresh environment goes on exactly, resets included."""
    env, other = make_vec(env_id, 2, action_repeat=3), make_vec(env_id, 2, action_repeat=3)
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (30, 2, env.env_spec.action_dim))
    for action in actions[:10]:
        env.step(action)
    state = {name: value.copy() for name, value in env.get_state().items()}
    assert all(value.dtype.kind in "biuf" for value in state.values())
    other.reset(seed=5)
    other.set_state(state)
    for t, action in enumerate(actions[10:]):
        if t == 10:  # a reset in the middle draws from the same streams
            np.testing.assert_array_equal(env.reset()[0], other.reset()[0])
        for one, two in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, two)


def test_dm_control_adapter_equals_the_native_batch():
    native, adapter = make_vec("cartpole-swingup", 1), make_vec("dmc/cartpole-swingup", 1)
    native.reset(seed=0)
    adapter.reset(seed=0)
    state = adapter.get_state()
    kind = native.get_state()
    kind["physics"][0] = state["0/physics"]
    native.set_state(kind)
    for action in np.random.default_rng(1).uniform(-1, 1, (200, 1, 1)):
        one, two = native.step(action), adapter.step(action)
        np.testing.assert_allclose(one[0], two[0], atol=1e-9)
        np.testing.assert_allclose(one[1], two[1], atol=1e-9)


def test_termination_is_not_truncation():
    env = make_vec("InvertedPendulum-v5", 2)
    env.reset(seed=0)
    ended = False
    for _ in range(200):
        obs, reward, terminated, truncated, info = env.step(np.ones((2, 1)))
        assert not truncated.any()
        if terminated.any():
            ended = True
            break
    assert ended
    before = obs[terminated]
    obs, reward, again, _, info = env.step(np.ones((2, 1)))
    assert info["is_reset"][terminated].all()
    assert not again[terminated].any() and (reward[terminated] == 0).all()
    assert not np.array_equal(obs[terminated], before)


def test_time_limit_is_truncation():
    env = make_vec("Pendulum-v1", 1, action_repeat=50)
    env.reset(seed=0)
    ends = [env.step(np.zeros((1, 1)))[2:4] for _ in range(5)]
    assert [bool(t[0]) for t, _ in ends] == [False] * 5
    assert [bool(t[0]) for _, t in ends] == [False, False, False, True, False]


def test_actions_are_rescaled_to_the_simulators_own_range():
    import gymnasium

    ours, theirs = make_vec("Pendulum-v1", 1), gymnasium.make("Pendulum-v1")
    first, _ = ours.reset(seed=[3])
    other, _ = theirs.reset(seed=3)
    np.testing.assert_array_equal(first[0], np.float64(other))
    one = ours.step(np.array([[0.5]]))
    two = theirs.step(np.array([1.0], np.float32))
    np.testing.assert_array_equal(one[0][0], np.float64(two[0]))


def test_broken_physics_ends_the_episode_as_invalid():
    env = make_vec("HalfCheetah-v5", 2)
    env.reset(seed=0)
    obs, *_ = env.step(np.zeros((2, 6)))
    env.simulators[1].env.unwrapped.data.qvel[:] = np.nan
    with np.errstate(all="ignore"):
        after, reward, terminated, truncated, info = env.step(np.zeros((2, 6)))
    assert info["invalid"].tolist() == [False, True]
    assert truncated.tolist() == [False, True] and not terminated.any()
    assert reward[1] == 0
    np.testing.assert_array_equal(after[1], obs[1])


def test_bad_input_is_named():
    env = make_vec("Pendulum-v1", 2)
    with pytest.raises(EnvError, match="before reset"):
        env.step(np.zeros((2, 1)))
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"expected \(2, 1\)"):
        env.step(np.zeros(2))
    with pytest.raises(EnvError, match=r"simulators \[1\] are not finite"):
        env.step(np.array([[0.0], [np.nan]]))
    with pytest.raises(EnvError, match="at least 1"):
        make_vec("Pendulum-v1", 1, action_repeat=-1)


USER_MODULE = """
import gymnasium, numpy as np
SPACE = gymnasium.spaces.Box(-9, 9, (1,))
class Kept(gymnasium.Env):
    observation_space = action_space = SPACE
    def __init__(self): self.x = 0.0
    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x = float(self.np_random.normal())
        return np.array([self.x], np.float32), {}
    def step(self, action):
        self.x += float(action[0])
        return np.array([self.x], np.float32), -abs(self.x), False, False, {}
gymnasium.register("Kept-v0", Kept, max_episode_steps=20)
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "users_envs.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    imports.permit(["users_envs", "no_such_module"])
    yield
    imports.permit(())


def test_an_environment_of_ones_own_is_named_by_its_module(user_module):
    env = make_vec("users_envs:Kept-v0", 2)
    assert make_spec(env.env_spec.env_id) == env.env_spec  # what is stored finds it again
    obs, _ = env.reset(seed=0)
    after, reward, *_ = env.step(np.full((2, 1), 0.5))
    np.testing.assert_allclose(after, obs + 4.5, rtol=1e-6)  # actions fill the range of the space
    np.testing.assert_allclose(reward, -np.abs(after[:, 0]), rtol=1e-6)
    state = env.get_state()
    once, *_ = env.step(np.zeros((2, 1)))
    env.set_state(state)
    np.testing.assert_array_equal(env.step(np.zeros((2, 1)))[0], once)
    with pytest.raises(UnknownTaskError, match="registers no 'Other-v0'"):
        make_vec("users_envs:Other-v0", 1)
    with pytest.raises(UnknownTaskError, match="cannot import 'no_such_module'"):
        make_vec("no_such_module:X-v0", 1)


def test_unseeded_simulators_differ():
    env = make_vec("fish-swim", 2)
    obs, _ = env.reset()
    assert np.abs(obs[0] - obs[1]).max() > 0
