"""Native tasks against dm_control itself: same state and actions, same observations and rewards."""

import mujoco
import numpy as np
import pytest
from dm_control import suite
from dm_control.utils import rewards
from scipy.stats import ks_2samp

from envs.native.env import make_native, native_spec
from envs.tasks import TASKS
from envs.tasks.helpers import tolerance

EXACT = {"rtol": 0, "atol": 1e-9}
THEIRS = [env_id for env_id, task in TASKS.items() if task.domain and not task.model_file]
ONE_PER_DOMAIN = list({TASKS[env_id].domain: env_id for env_id in THEIRS}.values())
STATE = mujoco.mjtState.mjSTATE_INTEGRATION.value


def load_reference(env_id, seed=0):
    """The dm_control environment of an id, after a reset."""
    domain, task = env_id.split("-")
    env = suite.load(domain, task, task_kwargs={"random": seed})
    env.reset()
    return env


def flat(observation):
    """A dm_control observation as one vector, parts in order."""
    return np.concatenate([np.ravel(part) for part in observation.values()])


def copy_state(native, reference):
    """Put the state and per-episode model of the one native simulator into dm_control's."""
    physics = reference.physics
    state = native.get_state()
    for name, value in state.items():
        if name.startswith("model/"):
            getattr(physics.model, name.removeprefix("model/"))[:] = value[0]
    model, data = physics.model.ptr, physics.data.ptr
    mujoco.mj_setState(model, data, state["physics"][0], STATE)
    mujoco.mj_forward(model, data)
    mujoco.mj_setState(model, data, state["physics"][0], STATE)  # forward moved the warm start
    mujoco.mj_step1(model, data)


WHOLE, PART = 10**6, 150
EPISODES = [
    *((env_id, WHOLE) for env_id in ONE_PER_DOMAIN),
    *((env_id, PART) for env_id in THEIRS if env_id not in ONE_PER_DOMAIN),
    *(
        pytest.param(env_id, WHOLE, marks=pytest.mark.slow)
        for env_id in THEIRS
        if env_id not in ONE_PER_DOMAIN
    ),
]


@pytest.mark.parametrize(("env_id", "most"), EPISODES)
def test_an_episode_equals_dm_controls(env_id, most):
    """Whole in every domain; of its other tasks 150 frames here, and whole in `make test-slow`."""
    native = make_native(env_id, 1, action_repeat=1)
    obs, _ = native.reset(seed=3)
    reference = load_reference(env_id)
    copy_state(native, reference)
    first = flat(reference.task.get_observation(reference.physics))
    np.testing.assert_allclose(obs[0], first, **EXACT)
    rng = np.random.default_rng(4)
    steps, over = 0, False
    while not over and steps < most:
        action = rng.uniform(-1, 1, (1, native.env_spec.action_dim))
        obs, reward, terminated, truncated, info = native.step(action)
        expected = reference.step(action[0])
        np.testing.assert_allclose(obs[0], flat(expected.observation), **EXACT)
        np.testing.assert_allclose(reward[0], expected.reward, **EXACT)
        over = bool(truncated[0])
        assert over == expected.last()
        assert not terminated[0] and not info["invalid"][0]
        steps += 1
    assert steps == min(most, native.env_spec.episode_frames)


@pytest.mark.parametrize("env_id", THEIRS)
def test_spec_equals_dm_control(env_id):
    reference = load_reference(env_id)
    spec = native_spec(env_id)
    parts = reference.task.get_observation(reference.physics)
    assert spec.obs_names == tuple((name, np.size(part)) for name, part in parts.items())
    assert spec.action_dim == reference.action_spec().shape[0]
    assert spec.control_dt == pytest.approx(reference.control_timestep(), rel=1e-12)
    assert spec.obs_dim == sum(size for _, size in spec.obs_names)


@pytest.mark.parametrize("env_id", ["finger-spin", "finger-turn_hard", "reacher-hard"])
def test_model_constants_equal_dm_control(env_id):
    native = make_native(env_id, 1)
    mine, theirs = native.simulators.task.model, load_reference(env_id).physics.model
    for name in ("geom_size", "site_size", "site_rgba", "dof_damping", "jnt_range", "body_mass"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("env_id", ONE_PER_DOMAIN)
def test_starts_are_distributed_as_dm_controls(env_id):
    mine, _ = make_native(env_id, 300).reset(seed=0)
    reference = load_reference(env_id)
    theirs = np.stack([flat(reference.reset().observation) for _ in range(150)])
    for column in range(mine.shape[1]):
        assert ks_2samp(mine[:, column], theirs[:, column]).pvalue > 1e-4, f"column {column}"


@pytest.mark.parametrize("env_id", ONE_PER_DOMAIN)
def test_first_observation_of_a_start_equals_dm_controls(env_id):
    native = make_native(env_id, 40)
    obs, _ = native.reset(seed=1)
    reference = load_reference(env_id)
    physics, data = reference.physics, native.simulators.data
    changes = {n: v for n, v in native.get_state().items() if n.startswith("model/")}
    for index in range(40):
        with physics.reset_context():
            physics.data.qpos[:], physics.data.qvel[:] = data.qpos[index], data.qvel[index]
            for name, value in changes.items():
                getattr(physics.model, name.removeprefix("model/"))[:] = value[index]
        expected = flat(reference.task.get_observation(physics))
        np.testing.assert_allclose(obs[index], expected, **EXACT)


def test_cheetah_settles_exactly_as_dm_controls():
    class Fixed(np.random.RandomState):
        def uniform(self, low, high):
            return np.asarray(low) + 0.3 * (np.asarray(high) - low)

    reference = suite.load("cheetah", "run", task_kwargs={"random": Fixed(0)})
    expected = flat(reference.reset().observation)
    native = make_native("cheetah-run", 1)
    native.simulators.streams = [Fixed(0)]
    np.testing.assert_allclose(native.reset()[0][0], expected, **EXACT)


@pytest.mark.parametrize(
    "sigmoid",
    "gaussian hyperbolic long_tail reciprocal tanh_squared cosine linear quadratic".split(),
)
@pytest.mark.parametrize("bounds", [(0.0, 0.0), (-0.5, 1.0), (1.0, float("inf"))])
def test_tolerance_equals_dm_controls(sigmoid, bounds):
    x = np.linspace(-6, 6, 401)
    for margin, value in ((0.0, 0.1), (0.7, 0.1), (2.0, 0.5)):
        expected = rewards.tolerance(x, bounds, margin, sigmoid, value)
        got = tolerance(np, x, bounds, margin, sigmoid, value)
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"bounds": (1.0, 0.0)}, "in order"),
        ({"margin": -1.0}, "negative"),
        ({"margin": 1.0, "sigmoid": "round"}, "unknown sigmoid"),
        ({"margin": 1.0, "value_at_margin": 0.0}, "out of range"),
        ({"margin": 1.0, "value_at_margin": 1.0, "sigmoid": "linear"}, "out of range"),
    ],
)
def test_tolerance_names_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        tolerance(np, np.zeros(3), **kwargs)
