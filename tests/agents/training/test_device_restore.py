"""Checkpoints know nothing of devices: a run goes on to the same numbers on any number of them."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, sys
import jax, numpy as np
from agents.runs.config import TrainConfig
from agents.training.checkpoint import Saver
from agents.runs.directory import RunDir
from agents.training.trainer import Trainer
from planning.config import PlannerConfig
from wm.tdmpc.config import LearnerConfig, ModelConfig

folder, first, then = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SMALL = dict(
    env_id="cartpole-swingup", action_repeat=20, num_envs=4, seed_steps=20, replay_capacity=300,
    model=ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21),
    learner=LearnerConfig(batch_size=8),
    planner=PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
)

def noisy(params):
    "Heads begin at zero, where no action is better than another and rounding would choose."
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    noise = [0.2 * rng.standard_normal(x.shape).astype(x.dtype) for x in leaves]
    return tree.unflatten([np.asarray(x) + n for x, n in zip(leaves, noise, strict=True)])

def trainer(devices):
    made = Trainer(TrainConfig(**SMALL, devices=devices))
    train = made.loop.train
    made.loop = made.loop._replace(train=train._replace(params=noisy(train.params)))
    return made

def to(trainer, updates):
    while trainer.counters.updates < updates:
        trainer.cycle()
    return trainer

def apart(a, b):
    "Largest differences of what is learned and plans, and of observations and rewards (seen)."
    assert a.counters == b.counters
    learned = [jax.tree.leaves((t.loop.train, t.loop.carry)) for t in (a, b)]
    seen = [(t.loop.replay.rows, t.driver.obs) for t in (a, b)]
    return [max(float(np.abs(np.asarray(x, float) - np.asarray(y, float)).max())
                for x, y in zip(*pair, strict=True)) for pair in (learned, seen)]

def on(trainer):
    return len(jax.tree.leaves(trainer.loop.train.params)[0].devices())

told = {}
whole, other = to(trainer(first), 20), to(trainer(then), 20)
told["equal"] = apart(whole, other)
Saver(RunDir.create(folder)).save(whole, {})
Saver(RunDir(folder)).restore(other)
told["restored"] = apart(whole, other)
to(whole, 20 + int(sys.argv[4])), to(other, 20 + int(sys.argv[4]))
told["continued"] = apart(whole, other)
told["updates"], told["devices"] = other.counters.updates, [on(whole), on(other)]
print(json.dumps(told))
"""


def forced(count: int, code: str, *args: object) -> dict:
    """What a process prints, as JSON, whose CPU counts as `count` devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


LEARN = """
import json
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
sizes = {"model": model, "learner": LearnerConfig(batch_size=8), "num_envs": 4}
spec = make_spec("cartpole-swingup", 20)
net, rng = build_networks(TrainConfig(**sizes), spec), np.random.default_rng(0)
rows = rng.standard_normal((75, 4, spec.obs_dim + spec.action_dim + 3)).astype(np.float32)
rows[..., -2:] = 0
held = replay.Replay(jnp.asarray(rows), jnp.asarray(75, jnp.int32))
fresh = jax.jit(lambda key: learner.init(net, key))

def learned(devices):
    mesh = sharding.make_mesh(TrainConfig(**sizes, devices=devices))
    learning, state = make_learning(net, 4, mesh), fresh(jax.random.key(0))
    for call in range(5):
        state, _ = learning.learn(state, held, jax.random.key(call))
    return jax.tree.leaves(state)

one, two = learned(1), learned(2)
told = [float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(one, two, strict=True)]
print(json.dumps({"apart": max(told), "devices": len(two[0].devices())}))
"""


def test_two_devices_learn_what_one_does():
    """Twenty updates; a hundred, and four devices, in test_sharding."""
    told = forced(2, LEARN)
    assert told["apart"] < 1e-5 and told["devices"] == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 4)])
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, first, then):
    """Equal before it is saved, the same when it is restored, equal a hundred updates later.

    So are its observations, on which physics amplifies rounding.
    """
    told = forced(max(first, then), CODE, tmp_path, first, then, 100)
    assert told["equal"][0] < 1e-5 and told["equal"][1] < 1e-3
    assert told["restored"] == [0, 0]
    assert told["continued"][0] < 1e-5 and told["continued"][1] < 1e-3
    assert told["devices"] == [first, then] and told["updates"] >= 120
