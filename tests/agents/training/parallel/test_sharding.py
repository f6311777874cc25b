"""Many devices learn what one does; shares that do not come out even are told in one line."""

import os
import subprocess
import sys

import pytest

from agents.runs.config import ConfigError, TrainConfig, digest
from agents.training.parallel import sharding
from wm.tdmpc.config import LearnerConfig

LEARN = """
import sys
import jax, jax.numpy as jnp, numpy as np
from agents.training import replay
from agents.training.parallel import sharding
from agents.runs.config import TrainConfig
from agents.training.learner import make_learning
from agents.runs.networks import build_networks
from envs.registry import make_spec
from wm.tdmpc import learner
from wm.tdmpc.config import LearnerConfig, ModelConfig

model = ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21)
sizes = {"model": model, "learner": LearnerConfig(batch_size=16), "num_envs": 4}
spec = make_spec("cartpole-swingup", 20)
net = build_networks(TrainConfig(**sizes), spec)
rng = np.random.default_rng(0)
rows = rng.standard_normal((100, 4, spec.obs_dim + spec.action_dim + 3)).astype(np.float32)
rows[..., -3], rows[..., -2] = rng.random((100, 4)), 0
rows[..., -1] = rng.random((100, 4)) < 0.02
fresh = jax.jit(lambda key: learner.init(net, key))

def learned(devices):
    mesh = sharding.make_mesh(TrainConfig(**sizes, devices=devices))
    learning, state = make_learning(net, 10, mesh), fresh(jax.random.key(0))
    held = replay.Replay(jnp.asarray(rows), jnp.asarray(100, jnp.int32))
    for call in range(10):
        state, _ = learning.learn(state, held, jax.random.key(call))
    assert len(jax.tree.leaves(state.params)[0].devices()) == devices
    return [np.asarray(x) for x in jax.tree.leaves((state.params, state.target_value))]

pairs = zip(learned(1), learned(int(sys.argv[1])), strict=True)
print(max(float(np.abs(a - b).max()) for a, b in pairs))
"""


def forced(code: str, devices: int, *args: str) -> str:
    """What a process prints whose CPU counts as `devices` devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_devices_learn_together_what_one_learns(devices):
    """A hundred updates of a miniature."""
    assert float(forced(LEARN, devices, str(devices))) <= 1e-5


def test_shares_must_come_out_even():
    with pytest.raises(ConfigError, match="--devices 3 does not divide --num-envs 4") as caught:
        TrainConfig(devices=3)
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match=r"--devices 3 does not divide --learner.batch-size 8"):
        TrainConfig(devices=3, num_envs=6, learner=LearnerConfig(batch_size=8))
    with pytest.raises(ConfigError, match=r"devices must lie in \[1, 1000\]"):
        TrainConfig(devices=0)


def test_more_devices_than_there_are_is_told_with_a_way_out():
    with pytest.raises(ConfigError, match=r"--devices 4, but jax has 1 .*device_count=4"):
        sharding.make_mesh(TrainConfig(devices=4))


def test_a_fused_loop_on_many_devices_is_refused():
    for asked in ({"loop": "fused"}, {"backend": "mjx"}):
        with pytest.raises(ConfigError, match="--devices 2 needs the host loop"):
            TrainConfig(devices=2, **asked)


def test_the_number_of_devices_decides_no_result():
    assert digest(TrainConfig(devices=2)) == digest(TrainConfig())
