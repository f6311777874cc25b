"""One program for the whole cycle: the same learning as the host loop, and everything around it."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.runs import compile as compiling
from agents.runs.config import ConfigError, TrainConfig, digest
from agents.runs.directory import RunDir
from agents.storage import checkpoint
from agents.training import setup
from agents.training.checkpoint import Saver
from agents.training.train import train
from agents.training.trainer import Trainer
from envs.spec import EnvError
from planning.config import PlannerConfig
from wm.tdmpc.config import LearnerConfig, ModelConfig

pytestmark = pytest.mark.usefixtures("traced_once")

SMALL = {
    "env_id": "cartpole-swingup",
    "action_repeat": 20,  # episodes of 50 decisions
    "env_steps": 240,
    "seed_steps": 80,
    "eval_every": 120,
    "eval_episodes": 2,
    "save_every": 100,
    "replay_capacity": 180,  # so that the ring wraps around
    "video": False,
    "model": ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21),
    "learner": LearnerConfig(batch_size=8),
    "planner": PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
}
FLAGS = (
    "--action-repeat 20 --env-steps 240 --seed-steps 80 --eval-every 120 --eval-episodes 2 "
    "--save-every 100 --replay-capacity 180 --no-video "
    "--model.encoder-width 16 --model.mlp-width 16 --model.latent-dim 16 --model.num-bins 21 "
    "--learner.batch-size 8 --planner.num-samples 16 --planner.num-prior-samples 4 "
    "--planner.num-elites 4 --planner.num-iterations 2"
).split()
PAIR = {"eval_every": 0, "action_repeat": 8}  # episodes of 125 decisions, less chaotic
TIMES = ("wall_s", "updates_per_s")


def config(run_dir, **changes) -> TrainConfig:
    return TrainConfig(**{**SMALL, "run_dir": str(run_dir), **changes})


def newest(run_dir):
    path = checkpoint.latest(RunDir(run_dir).checkpoints)
    assert path is not None
    return checkpoint.restore(path)


def rows(run_dir):
    found = RunDir(run_dir).read_metrics()
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


def numbers(tree):
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in leaves])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A trainer whose model tells actions apart, and its twin with the fused loop.

    (An untrained one gives all sequences the same value but for rounding, which then decides.)
    """
    host = Trainer(config("", **PAIR))
    while host.counters.updates < 240:
        host.cycle()
    run = RunDir.create(tmp_path_factory.mktemp("runs") / "pair")
    saver = Saver(run)
    saver.save(host, {"train_s": 0.0})
    fused = Trainer(config("", **PAIR, loop="fused"))
    saver.restore(fused)
    return host, fused


@pytest.mark.exact
@pytest.mark.parametrize("decisions", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_both_loops_learn_the_same(pair, decisions):
    """Two hundred have ends of episodes and resets among them.

    Lightly optimised programs round differently, which by then has grown past the tolerance.
    """
    host, fused = pair
    goal, expected, found = host.counters.env_steps + decisions, [], []
    while host.counters.env_steps < goal:
        expected += host.advance(goal)
    calls = 0
    while fused.counters.env_steps < goal:
        found += fused.advance(goal)
        calls += 1
    assert calls < 10
    assert fused.counters == host.counters
    assert [(steps, e.length, e.invalid) for steps, e in found] == [
        (steps, e.length, e.invalid) for steps, e in expected
    ]
    assert len(found) >= (4 if decisions == 200 else 0)
    np.testing.assert_allclose(
        [e.ret for _, e in found], [e.ret for _, e in expected], rtol=1e-3, atol=1e-3
    )
    for part in ("replay", "train", "carry"):
        one, other = numbers(getattr(host.loop, part)), numbers(getattr(fused.loop, part))
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3, err_msg=part)
    one, other = host.read_metrics(), fused.read_metrics()
    assert one.keys() == other.keys()
    np.testing.assert_allclose(list(other.values()), list(one.values()), rtol=1e-2, atol=1e-2)


@pytest.mark.exact
def test_the_loop_stops_where_something_is_due_and_compiles_once(pair):
    _, fused = pair
    fused.advance(fused.counters.env_steps + 4)
    with compiling.counted() as totals:
        for step in (1, 4, 5, 17):
            goal = fused.counters.env_steps + step
            while fused.counters.env_steps < goal:
                fused.advance(goal)
            assert goal <= fused.counters.env_steps < goal + 4
    assert totals.count == 0


def test_broken_simulators_are_reported_as_by_the_host_loop(pair, monkeypatch):
    _, fused = pair
    step = fused.driver.env.step

    def broken(actions):
        obs, *rest = step(actions)
        obs[1, 2] = np.nan
        return obs, *rest

    monkeypatch.setattr(fused.driver.env, "step", broken)
    before = fused.counters.env_steps
    with pytest.raises(EnvError, match="simulator 1 of cartpole-swingup") as caught:
        fused.advance(before + 100)
    assert caught.value.exit_code == 4
    assert fused.counters.env_steps == before
    monkeypatch.undo()
    fused.advance(before + 8)  # the program itself is none the worse
    assert np.isfinite(numbers(fused.loop.train)).all()


def test_a_fused_run_is_complete_and_either_loop_goes_on(tmp_path):
    run_dir = tmp_path / "run"
    train(config(run_dir, loop="fused", env_steps=180), json_mode=True)
    train(config(run_dir, loop="host"), json_mode=True)
    kinds = {row["kind"] for row in rows(run_dir)}
    assert kinds >= {"episode", "eval"}
    steps = [row["env_steps"] for row in rows(run_dir) if row["kind"] == "episode"]
    assert steps == sorted(steps) and len(steps) >= 4
    result = json.loads((run_dir / "result.json").read_text())
    assert result["env_steps"] == 240 and result["updates"] == 236


@pytest.mark.slow
def test_fused_runs_in_pieces_and_killed_equal_undisturbed_ones(tmp_path):
    whole, pieces, killed = tmp_path / "whole", tmp_path / "pieces", tmp_path / "killed"
    train(config(whole, loop="fused"), json_mode=True)
    for steps in (110, 170, 240):
        train(config(pieces, loop="fused", env_steps=steps), json_mode=True)
    jax.tree.map(np.testing.assert_array_equal, newest(whole), newest(pieces))
    code = "import sys; from scripts.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "train", "cartpole-swingup", "--run-dir", str(killed)]
    command += [*FLAGS, "--loop", "fused"]
    reader = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}  # of programs
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=reader)
    deadline = time.monotonic() + 250
    while not list((killed / "checkpoints").glob("0*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    jax.tree.map(np.testing.assert_array_equal, newest(whole), newest(killed))
    assert rows(whole) == rows(killed)


@pytest.mark.parametrize("utd", [1.0, 0.5, 0.25, 2.0, 0.1, 0.3, 1e-4, 0.0])
def test_updates_that_are_due_are_the_same_number_on_both_sides(utd):
    steps = np.array([0, 1, 3, 10, 999, 1_000_003, 20_000_000])
    on_host = [setup.updates_due(int(s), utd) for s in steps]
    in_program = jax.jit(lambda s: setup.updates_due(s, utd))(jnp.asarray(steps, jnp.int32))
    np.testing.assert_array_equal(np.asarray(in_program), on_host)
    np.testing.assert_allclose(on_host, steps * utd, rtol=1e-6, atol=1)


def test_a_run_of_an_earlier_version_resumes_and_the_loop_is_free_to_change(tmp_path):
    run = RunDir.create(tmp_path / "old")
    record = {"env_id": "cartpole-swingup", "seed": 0}
    run.write_json("config.json", record)
    new = record | {"backend": "auto"}
    defaults = {"backend": "auto", "seed": 0}
    assert run.ensure_config(new, defaults=defaults)
    with pytest.raises(ConfigError, match=r"backend is mjx, but .* was made with auto"):
        run.ensure_config(record | {"backend": "mjx"}, defaults=defaults)
    assert digest(TrainConfig(loop="host")) == digest(TrainConfig(loop="fused"))
    assert digest(TrainConfig(backend="mjx")) != digest(TrainConfig())


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"loop must be one of auto, host, fused, got 'fast'"):
        TrainConfig(loop="fast")
    with pytest.raises(ConfigError, match=r"backend must be one of"):
        TrainConfig(backend="gpu")
    for env_id, origin in (("Pendulum-v1", "Gymnasium"), ("dmc/cartpole-swingup", "dm_control")):
        with pytest.raises(ConfigError, match=f"comes from {origin}: use --backend native"):
            setup.make_simulators(TrainConfig(env_id=env_id, backend="mjx"))
