"""What all our vector environments share, on a native and an adapted one."""

import numpy as np
import pytest

from envs.registry import make_vec
from envs.spec import EnvError


@pytest.fixture(params=["cartpole-swingup", "dmc/cartpole-swingup", "InvertedPendulum-v5"])
def env(request):
    env = make_vec(request.param, 2, action_repeat=1)
    yield env
    env.close()


def test_bad_actions_and_masks_are_refused_in_one_line(env):
    with pytest.raises(EnvError, match="before reset"):
        env.step(np.zeros((2, 1)))
    with pytest.raises(EnvError, match="first reset be of all"):
        env.reset(options={"reset_mask": [True, False]})
    env.reset(seed=0)
    with pytest.raises(EnvError, match="expected \\(2, 1\\)"):
        env.step(np.zeros((3, 1)))
    with pytest.raises(EnvError, match="simulators \\[1\\] are not finite"):
        env.step(np.array([[0.0], [np.nan]]))


def test_an_unstable_simulation_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = make_vec("cheetah-run", 2)
    env.reset(seed=0)
    state = env.get_state()
    state["physics"][0, 5:20] = 1e12
    env.set_state(state)
    *_, info = env.step(np.zeros((2, 6)))
    assert info["invalid"].tolist() == [True, False]
    assert list(tmp_path.iterdir()) == []
