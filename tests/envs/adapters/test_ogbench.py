"""OGBench behind the vector contract: goals, published success, seeds, saving; no downloads."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from envs.registry import list_tasks, make_spec, make_vec, resolve
from envs.spec import EnvError, UnknownTaskError

MAZE, CUBE = "ogbench:pointmaze-medium-v0", "ogbench:cube-single-v0"

needs_ogbench = pytest.mark.skipif(
    find_spec("ogbench") is None, reason="pip install 'latentmpc[ogbench]' to test its adapter"
)


def record(env, actions):
    """Everything numeric that steps give."""
    out = []
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        out += [obs, reward, terminated, truncated, info["achieved"], info["goal"]]
    return out


def check_contract(env_id, goal_dim):
    """Shapes, seeds, exact saving, and goal observations that are not of the start."""
    env = make_vec(env_id, 2)
    obs, info = env.reset(seed=3)
    spec = env.env_spec
    assert obs.shape == (2, spec.obs_dim) and env.observation_space.contains(obs)
    assert info["achieved"].shape == info["goal"].shape == (2, goal_dim)
    assert not info["success"].any()
    view = env.goal_view()
    assert view.obs.shape == obs.shape and np.abs(view.obs - obs).max() > 0.1
    np.testing.assert_array_equal(view.achieved, info["goal"])
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 2, spec.action_dim))
    state = env.get_state()
    first = record(env, actions)
    env.set_state(state)
    for left, right in zip(first, record(env, actions), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(env.reset(seed=3)[0], obs)
    np.testing.assert_array_equal(env.goal_view().obs, view.obs)
    other = env.reset()[0]
    assert not np.array_equal(other, obs)
    return env


@needs_ogbench
def test_point_maze():
    env = check_contract(MAZE, 2)
    core = env.simulators[0].env.unwrapped
    core.set_xy(np.add(core.cur_goal_xy, (0.9, 0.0)))
    _, reward, terminated, _, info = env.step(np.zeros((2, 2)))
    assert info["success"].tolist() == [True, False] and reward.tolist() == [1.0, 0.0]
    assert not terminated.any(), "an episode goes on at its goal"
    assert make_spec(MAZE) == env.env_spec
    env.close()


@needs_ogbench
def test_adapting_leaves_numpys_global_stream_alone():
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    env = make_vec(MAZE, 1, seed=0)
    env.step(np.zeros((1, 2)))
    np.testing.assert_array_equal(np.random.random(3), expected)


@needs_ogbench
def test_pictures_show_no_goal():
    env = make_vec(MAZE, 1, seed=0)
    try:
        first = env.render(0, 96, 96)
    except EnvError as error:
        pytest.skip(f"no OpenGL here: {error}")
    before = env.get_state()
    goal = env.goal_view(picture=(96, 96)).pictures[0]
    np.testing.assert_array_equal(env.render(0, 96, 96), first)
    for name, value in env.get_state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    red = (first[..., 0] > 150) & (first[..., 1] < 90)
    assert not red.any(), "OGBench's red target is hidden"
    assert abs(first.astype(int) - goal).max() > 50
    env.close()


@needs_ogbench
@pytest.mark.slow
def test_cube_single():
    env = check_contract(CUBE, 3)
    core = env.simulators[0].env.unwrapped
    goal = env.goal_view().achieved[0]
    for away, expected in ((0.039, True), (0.041, False)):
        core.data.joint("object_joint_0").qpos[:3] = np.add(goal, (away, 0.0, 0.0))
        assert env.simulators[0].goal_info()[2] is expected
    env.close()


def test_ids_are_listed_and_misspellings_named():
    assert resolve(CUBE) == ("ogbench", "cube-single-v0")
    assert {MAZE, CUBE} <= {task.env_id for task in list_tasks()}
    with pytest.raises(UnknownTaskError, match="did you mean ogbench:cube-single-v0") as caught:
        make_vec("ogbench:cube-singel-v0", 1)
    assert caught.value.exit_code == 2


def test_without_the_package_it_says_what_to_install(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "ogbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(EnvError, match=r"pip install 'latentmpc\[ogbench\]'") as caught:
        make_vec("ogbench:pointmaze-large-v0", 1)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
