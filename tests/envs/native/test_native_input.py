"""Bad input to native simulators, and their plain facts."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from envs.native.env import make_native, native_spec
from envs.native.recorded import EditedSimulator
from envs.registry import make_spec
from envs.spec import EnvError, EnvSpec, UnknownTaskError


def test_bad_actions_are_named():
    env = make_native("cheetah-run", 3)
    with pytest.raises(EnvError, match="before reset"):
        env.step(np.zeros((3, 6)))
    env.reset(seed=0)
    bad = np.zeros((3, 6))
    bad[[0, 2], 1] = np.nan, np.inf
    with pytest.raises(EnvError, match=r"simulators \[0, 2\] are not finite"):
        env.step(bad)
    with pytest.raises(EnvError, match=r"shape \(6,\); expected \(3, 6\)"):
        env.step(np.zeros(6))


def test_bad_settings_are_named():
    with pytest.raises(UnknownTaskError, match="nearest is 'cartpole-swingup'") as caught:
        make_native("cartpole-swingupp", 1)
    assert caught.value.exit_code == 2
    with pytest.raises(EnvError, match="num_envs must be at least 1"):
        make_native("cartpole-swingup", 0)
    with pytest.raises(EnvError, match="action_repeat must be at least 1"):
        native_spec("cartpole-swingup", 0)


def test_spec_survives_json_and_names_differences():
    spec = native_spec("walker-walk")
    again = EnvSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec and spec.difference(again) == []
    assert spec.episode_steps == 500
    lines = spec.difference(native_spec("walker-run", 4))
    assert [line.split(":")[0] for line in lines] == ["action_repeat"]
    broken = spec.to_json()
    del broken["obs_dim"]
    with pytest.raises(EnvError, match="obs_dim"):
        EnvSpec.from_json(broken)
    with pytest.raises(EnvError, match="wrong kind"):
        EnvSpec.from_json(spec.to_json() | {"obs_names": 3})


def test_native_simulators_need_neither_jax_nor_opengl():
    code = (
        "import sys; from envs.native.env import make_native as f; f('reacher-easy', 2).reset();"
        "names = ('jax', 'OpenGL', 'mujoco.egl', 'dm_control.suite');"
        "print([m for m in names if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_one_task_on_two_backends_is_one_spec():
    native, adapted = make_spec("cartpole-swingup", 2), make_spec("dmc/cartpole-swingup", 2)
    assert native.difference(adapted) == []
    assert native.difference(make_spec("dmc/cartpole-swingup", 4)) == [
        "action_repeat: 2 here, 4 there"
    ]
    assert native.difference(make_spec("cheetah-run", 2))[0] == "obs_dim: 5 here, 17 there"


def test_a_recorded_moment_is_of_the_task_it_is_put_into():
    """Task, actions and rows of physics come from the file of a dataset."""
    spec = native_spec("cartpole-swingup")
    world = EditedSimulator(spec)
    world.put(world.moment())
    with pytest.raises(EnvError, match="of another task"):
        world.put(world.moment()[:-1])
    for changes, words in (({"env_id": "B-v0"}, "no native"), ({"action_dim": 2}, "1 actions")):
        with pytest.raises(EnvError, match=words):
            EditedSimulator(replace(spec, **changes))
