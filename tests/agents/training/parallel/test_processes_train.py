"""`latentmpc train --processes 2` on one machine: stopped, resumed, and equal to one process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from agents.runs.config import TrainConfig
from agents.runs.directory import RunDir
from agents.storage import checkpoint
from agents.training.train import train
from planning.config import PlannerConfig
from wm.tdmpc.config import LearnerConfig, ModelConfig

SETTINGS = {
    "env_id": "cartpole-swingup",
    "action_repeat": 20,
    "seed_steps": 80,
    "num_envs": 4,
    "eval_every": 0,
    "eval_episodes": 2,
    "replay_capacity": 300,
    "video": False,
    "model": ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21),
    # quick to tell actions apart: between equal ones rounding would choose
    "learner": LearnerConfig(batch_size=8, learning_rate=0.01),
    "planner": PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
}
FLAGS = (
    "cartpole-swingup --action-repeat 20 --seed-steps 80 --num-envs 4 --eval-every 0 "
    "--eval-episodes 2 --replay-capacity 300 --no-video --json "
    "--model.encoder-width 16 --model.mlp-width 16 --model.latent-dim 16 --model.num-bins 21 "
    "--learner.batch-size 8 --learner.learning-rate 0.01 --planner.num-samples 16 "
    "--planner.num-prior-samples 4 --planner.num-elites 4 --planner.num-iterations 2"
).split()
PROGRAM = "import sys; from scripts.cli import main; sys.exit(main())"


def start(run_dir, *flags) -> list[subprocess.Popen]:
    """Both processes of a training."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"localhost:{probe.getsockname()[1]}"
    together = ["--processes", "2", "--coordinator", place, "--run-dir", str(run_dir)]
    command = [sys.executable, "-c", PROGRAM, "train", *FLAGS, *together, *flags]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return [
        subprocess.Popen(
            [*command, "--process-id", str(i)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def ended(processes) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of each, killed if they do not end."""
    try:
        told = [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *outputs) for p, outputs in zip(processes, told, strict=True)]


def newest(run_dir):
    path = checkpoint.latest(RunDir(run_dir).checkpoints)
    assert path is not None
    return path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_stop_resume_and_learn_what_one_does(tmp_path):
    """SIGTERM to the process that does not write; a run directory like that of one process."""
    run_dir = tmp_path / "two"
    processes = start(run_dir, "--env-steps", "100000", "--save-every", "84")
    deadline = time.monotonic() + 600
    while not list((run_dir / "checkpoints").glob("0*")) and time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes), ended(processes)
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)
    for code, out, err in ended(processes):
        assert (code, out) == (130, ""), err
        assert "stopped by SIGTERM" in err and "the same command resumes" in err
        assert "Traceback" not in err
    stopped = int(newest(run_dir).name)

    steps = ["--env-steps", str(stopped + 20)]
    (code, out, err), (other, nothing, also) = ended(start(run_dir, *steps))
    assert (code, other, nothing) == (0, 0, ""), err + also
    assert json.loads(out)["env_steps"] == stopped + 20
    one = tmp_path / "one"
    config = TrainConfig(**SETTINGS, run_dir=str(one), env_steps=stopped + 20, devices=1)
    train(config, json_mode=True)
    assert newest(run_dir).name == newest(one).name
    assert sorted(p.name for p in run_dir.iterdir()) == sorted(p.name for p in one.iterdir())
    mine, theirs = (checkpoint.restore(newest(path)) for path in (run_dir, one))
    assert int(mine["train"]["updates"]) == stopped + 20 - 4
    for name in ("params", "average", "target_value"):
        pairs = zip(*(jax.tree.leaves(x["train"][name]) for x in (mine, theirs)), strict=True)
        assert max(float(np.abs(a - b).max()) for a, b in pairs) < 1e-5, name
    rows = [RunDir(path).read_metrics() for path in (run_dir, one)]
    kept = [[(r["kind"], r["env_steps"], r.get("length")) for r in run] for run in rows]
    assert kept[0] == kept[1]
