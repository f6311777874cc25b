"""Ids: names, listing, Gymnasium registration, refusals."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs.native.env import NativeVectorEnv
from envs.registry import GYM_IDS, list_tasks, make_spec, make_vec, resolve
from envs.spec import EnvError, UnknownTaskError
from envs.tasks import TASKS


@pytest.fixture(autouse=True, scope="module")
def registered():
    envs.register()
    envs.register()  # twice does no harm


@pytest.mark.filterwarnings("ignore:.*Box observation space")
@pytest.mark.parametrize("name", sorted(TASKS))
def test_gymnasiums_checker_passes(name):
    env = gymnasium.make(f"latentmpc/{name}-v0", action_repeat=4)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_make_vec_gives_the_native_batch():
    env = gymnasium.make_vec("latentmpc/cartpole-swingup-v0", num_envs=8)
    assert isinstance(env.unwrapped, NativeVectorEnv)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (8, 5)
    env.close()


def test_single_environment_equals_a_simulator_of_the_batch():
    env = gymnasium.make("latentmpc/walker-walk-v0")
    batch = make_vec("walker-walk", 2)
    obs, _ = env.reset(seed=7)
    many, _ = batch.reset(seed=[3, 7])
    np.testing.assert_array_equal(obs, many[1])
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 6))
    for action in actions:
        one = env.step(action.astype(np.float32))
        two = batch.step(np.stack([action, action]).astype(np.float32))
        np.testing.assert_array_equal(one[0], two[0][1])
        assert one[1] == two[1][1]


def test_every_kind_of_id_resolves():
    assert resolve("cartpole-swingup") == ("native", "cartpole-swingup")
    assert resolve("latentmpc/cartpole-swingup-v0") == ("native", "cartpole-swingup")
    assert resolve("dmc/cartpole-swingup") == ("dmc", "cartpole-swingup")
    assert resolve("humanoid-run") == ("dmc", "humanoid-run")
    assert resolve("HalfCheetah-v5") == ("gym", "HalfCheetah-v5")
    assert make_spec("HalfCheetah-v5").action_repeat == 1
    assert make_spec("cartpole-swingup").action_repeat == 2


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("cartpole-swingupp", "cartpole-swingup"), ("HalfChetah-v5", "HalfCheetah-v5")],
)
def test_unknown_ids_name_the_nearest(wrong, right):
    with pytest.raises(UnknownTaskError, match=f"did you mean {right}") as caught:
        make_vec(wrong, 1)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1"])
def test_discrete_tasks_are_refused(name):
    with pytest.raises(EnvError, match="expected continuous") as caught:
        make_vec(name, 1)
    assert caught.value.exit_code == 2


def test_the_list_is_complete_and_unique():
    ids = [task.env_id for task in list_tasks()]
    assert len(ids) == len(set(ids))
    assert {"humanoid-run", "dog-walk", "Pendulum-v1", *TASKS, *GYM_IDS} <= set(ids)


def test_registering_loads_neither_jax_nor_opengl():
    code = (
        "import sys, envs; envs.register(); "
        "bad = [m for m in sys.modules if m.split('.')[0] in ('jax', 'OpenGL', 'glfw')]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
