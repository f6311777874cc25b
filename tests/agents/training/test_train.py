"""The whole cycle on a miniature: learn, stop, kill, resume, evaluate."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from agents.evaluation.evaluate import evaluate_path
from agents.runs import compile as compiling
from agents.runs.config import ConfigError, EvalConfig, TrainConfig
from agents.runs.directory import RunDir
from agents.storage import checkpoint
from agents.storage.checkpoint import CheckpointError
from agents.training.loop import stream
from agents.training.train import train
from agents.training.trainer import Trainer
from planning.config import PlannerConfig
from scripts.cli import main
from wm.tdmpc.config import LearnerConfig, ModelConfig

pytestmark = pytest.mark.usefixtures("traced_once")

SMALL = {
    "env_id": "cartpole-swingup",
    "action_repeat": 20,  # episodes of 50 decisions
    "env_steps": 240,
    "seed_steps": 80,
    "num_envs": 4,
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
    "--action-repeat 20 --env-steps 240 --seed-steps 80 --num-envs 4 --eval-every 120 "
    "--eval-episodes 2 --save-every 100 --replay-capacity 180 --no-video "
    "--model.encoder-width 16 --model.mlp-width 16 --model.latent-dim 16 --model.num-bins 21 "
    "--learner.batch-size 8 --planner.num-samples 16 --planner.num-prior-samples 4 "
    "--planner.num-elites 4 --planner.num-iterations 2"
).split()
TIMES = ("wall_s", "updates_per_s")
# What is killed reads the programs that the tests share, and writes none.
NO_HALF_PROGRAMS = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}


def config(run_dir, **changes) -> TrainConfig:
    return TrainConfig(**{**SMALL, "run_dir": str(run_dir), **changes})


def words(run_dir, *flags) -> list[str]:
    return ["train", "cartpole-swingup", "--run-dir", str(run_dir), *FLAGS, *flags]


def command(run_dir, *flags) -> list[str]:
    code = "import sys; from scripts.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *words(run_dir, *flags)]


def arrays(run_dir):
    newest = checkpoint.latest(RunDir(run_dir).checkpoints)
    assert newest is not None
    return newest.name, checkpoint.restore(newest)


def rows(run_dir):
    """Metrics without times."""
    return [
        {k: v for k, v in row.items() if k not in TIMES} for row in RunDir(run_dir).read_metrics()
    ]


def assert_same_run(one, other):
    (name_one, tree_one), (name_other, tree_other) = arrays(one), arrays(other)
    assert name_one == name_other
    jax.tree.map(np.testing.assert_array_equal, tree_one, tree_other)
    assert rows(one) == rows(other)
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    for key in ("episode_returns", "prior_return_mean", "random_return_mean", "updates"):
        assert results[0][key] == results[1][key]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed, and its result."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    return run_dir, train(config(run_dir), json_mode=True)


def test_result_and_run_directory_are_complete(finished):
    run_dir, result = finished
    promised = (
        "env_id return_mean return_ci95 episode_returns episodes_valid episodes_asked "
        "prior_return_mean random_return_mean env_steps frames updates train_wall_s total_wall_s "
        "plan_ms compile_s params config_digest versions"
    ).split()
    assert set(promised) <= result.keys()
    assert result["plan_ms"].keys() == {"p50", "p95", "p99"}
    assert result["env_steps"] == 240
    assert result["resume"] == "exact"
    assert result["frames"] == 4800
    assert result["updates"] == 236  # the last decisions of the four simulators teach no more
    assert result["episodes_valid"] == result["episodes_asked"] == 2
    assert json.loads((run_dir / "result.json").read_text())["env_id"] == "cartpole-swingup"
    assert (run_dir / "report.html").stat().st_size > 10_000
    kinds = {row["kind"] for row in rows(run_dir)}
    assert kinds == {"train", "episode", "eval"} or kinds == {"episode", "eval"}


def test_finished_run_is_evaluated_again_to_the_same_numbers(finished):
    run_dir, result = finished
    again = train(config(run_dir), json_mode=True)
    assert again["episode_returns"] == result["episode_returns"]
    assert again["env_steps"] == result["env_steps"]


@pytest.mark.exact
def test_stopped_and_resumed_equals_undisturbed(finished, tmp_path):
    """In pieces, through checkpoints on disk: bit-identical to one piece."""
    for steps in (150, 240):
        train(config(tmp_path / "pieces", env_steps=steps), json_mode=True)
    _, whole = arrays(finished[0])
    _, pieces = arrays(tmp_path / "pieces")
    jax.tree.map(np.testing.assert_array_equal, whole, pieces)


@pytest.mark.exact
def test_a_ring_that_wrapped_many_times_resumes_from_either_checkpoint(tmp_path):
    """Rows that the ring has overwritten are in no checkpoint; those both need stay on disk."""
    small = {"replay_capacity": 60, "save_every": 40, "eval_every": 0, "env_steps": 240}
    run_dir = tmp_path / "whole"
    train(config(run_dir, **small), json_mode=True)
    _, whole = arrays(run_dir)
    train(config(tmp_path / "newest", **{**small, "env_steps": 200}), json_mode=True)
    shutil.copytree(tmp_path / "newest", tmp_path / "older")
    shutil.rmtree(checkpoint.latest(RunDir(tmp_path / "older").checkpoints))
    for name in ("newest", "older"):
        train(config(tmp_path / name, **small), json_mode=True)
        jax.tree.map(np.testing.assert_array_equal, whole, arrays(tmp_path / name)[1])


@pytest.mark.exact
def test_killed_at_random_resumes_bit_identically(finished, tmp_path):
    run_dir = tmp_path / "killed"
    process = subprocess.Popen(command(run_dir), stderr=subprocess.DEVNULL, env=NO_HALF_PROGRAMS)
    deadline = time.monotonic() + 200
    while not list((run_dir / "checkpoints").glob("0*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run_dir / "result.json").exists()
    assert main(words(run_dir)) == 0
    assert_same_run(finished[0], run_dir)


def test_sigterm_saves_and_the_same_command_resumes(finished, tmp_path):
    run_dir = tmp_path / "asked"
    flags = ["--save-every", "100000"]
    process = subprocess.Popen(
        command(run_dir, *flags), stderr=subprocess.PIPE, text=True, env=NO_HALF_PROGRAMS
    )
    deadline = time.monotonic() + 200
    metrics = run_dir / "metrics.jsonl"
    while time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "the same command resumes" in stderr
    assert "Traceback" not in stderr
    assert list((run_dir / "checkpoints").glob("0*"))
    train(config(run_dir), json_mode=True)
    assert_same_run(finished[0], run_dir)


def test_second_process_is_locked_out(finished):
    run_dir = finished[0]
    with RunDir(run_dir):
        done = subprocess.run(command(run_dir), capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert str(os.getpid()) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_other_settings_in_the_same_run_are_refused_before_networks_are_built(
    finished, monkeypatch
):
    monkeypatch.setattr("agents.runs.networks.build_networks", None)
    with pytest.raises(ConfigError, match=r"learner\.batch_size"):
        train(config(finished[0], learner=LearnerConfig(batch_size=16)), json_mode=True)


def test_corrupt_checkpoint_is_named_with_the_last_good_one(finished, tmp_path, capsys):
    run_dir = tmp_path / "corrupt"
    shutil.copytree(finished[0], run_dir)
    good, bad = sorted((run_dir / "checkpoints").glob("0*"))
    target = max((p for p in (bad / "arrays").rglob("*") if p.is_file()), key=os.path.getsize)
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    assert main(words(run_dir)) == 3
    said = capsys.readouterr().err
    assert target.name in said and good.name in said
    assert len(said.strip().splitlines()) == 1


def test_a_damaged_replay_names_the_checkpoint_that_can_be_resumed(finished, tmp_path):
    run_dir = tmp_path / "torn"
    shutil.copytree(finished[0], run_dir)
    good, newest = sorted((run_dir / "checkpoints").glob("0*"))
    torn = max((run_dir / "replay").glob("*.npz"))
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as caught:
        train(config(run_dir, env_steps=500), json_mode=True)
    assert torn.name in str(caught.value) and f"last good checkpoint: {good}" in str(caught.value)
    shutil.rmtree(newest)  # as the message says
    train(config(run_dir), json_mode=True)
    assert_same_run(finished[0], run_dir)


def test_another_evaluation_of_a_run_writes_where_it_is_told(finished, tmp_path):
    run_dir, out = finished[0], tmp_path / "eval"
    copied = tmp_path / "best"  # a checkpoint under a name of the user's own
    newest = checkpoint.latest(RunDir(run_dir).checkpoints)
    shutil.copytree(newest, copied)
    result = evaluate_path(EvalConfig(path=str(copied), episodes=2, out=str(out)))
    assert sorted(p.name for p in out.iterdir()) == ["eval.json", "result.json"]
    assert json.loads((out / "result.json").read_text())["seed"] == result["seed"]
    with pytest.raises(ConfigError, match="directory of a training"):
        evaluate_path(EvalConfig(path=str(copied), out=str(run_dir)))
    with pytest.raises(ConfigError, match=r"obs_dim: 5 here, 17 there; action_dim"):
        evaluate_path(EvalConfig(path=str(copied), env_id="cheetah-run"))
    same = EvalConfig(path=str(copied), env_id="cartpole-balance", episodes=1)
    assert evaluate_path(same)["env_id"] == "cartpole-balance"


@pytest.mark.exact
def test_adapted_simulators_resume_too(tmp_path):
    """Simulators whose saved arrays differ in shape before and after their first step."""
    small = {"env_id": "Pendulum-v1", "action_repeat": 4, "eval_every": 0, "eval_episodes": 1}
    train(config(tmp_path / "whole", **small), json_mode=True)
    for steps in (120, 240):
        train(config(tmp_path / "pieces", **small, env_steps=steps), json_mode=True)
    jax.tree.map(
        np.testing.assert_array_equal,
        arrays(tmp_path / "whole")[1]["train"],
        arrays(tmp_path / "pieces")[1]["train"],
    )


@pytest.mark.exact
def test_nothing_compiles_after_the_first_cycles(tmp_path):
    jax.clear_caches()  # of other tests: what is compiled late has to be seen
    trainer = Trainer(config(tmp_path, eval_every=0))
    while trainer.counters.updates < 120:
        trainer.cycle()
    with compiling.counted() as totals:
        for _ in range(60):  # across episode ends and resets
            trainer.cycle()
    assert totals.count == 0


@pytest.mark.exact
def test_planning_and_learning_do_not_wait_for_each_other(tmp_path):
    """The action of a cycle comes from the parameters before its updates."""
    trainer = Trainer(config(tmp_path))
    while trainer.counters.updates < 100:
        trainer.cycle()
    before, carry = trainer.loop.train.params, trainer.loop.carry
    obs, first = trainer.driver.obs.copy(), trainer.driver.is_first.copy()
    key = stream(trainer.key, 0, trainer.counters.cycles)
    expected, _, _ = trainer.agent.act(before, carry, np.float32(obs), first, key)
    trainer.cycle()
    row = np.asarray(trainer.loop.replay.rows)[(trainer.counters.rows - 1) % 75]
    np.testing.assert_array_equal(row[:, 5:6], np.asarray(expected))
