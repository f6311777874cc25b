"""A whole bench on a miniature model: points, files, resume, failures and bytes."""

import json
import shutil
from dataclasses import replace

import pytest

from agents.benchmarks.bench import bench
from agents.benchmarks.config import SUITES, BenchConfig, suite_base
from agents.runs.config import ConfigError, PlannerOverrides, TrainConfig
from agents.storage.checkpoint import CheckpointError
from agents.training.train import train
from planning.config import PlannerConfig
from wm.tdmpc.config import LearnerConfig, ModelConfig

TINY = TrainConfig(
    env_id="cartpole-swingup",
    action_repeat=20,  # episodes of 50 decisions
    env_steps=120,
    seed_steps=80,
    eval_every=0,
    eval_episodes=1,
    video=False,
    model=ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21),
    learner=LearnerConfig(batch_size=8),
    planner=PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=1),
)
TIMES = ("plan_ms",)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("bench") / "run"
    config = TrainConfig(**{**vars(TINY), "run_dir": str(run_dir)})
    train(config, json_mode=True)
    return run_dir


def config(model, out, **changes):
    settings = {
        "tasks": "cartpole-swingup",
        "runs": str(model),
        "episodes": 3,
        "oracle_episodes": 1,
        "out": str(out),
        "jobs": 0,
    }
    return BenchConfig(**{**settings, **changes})


def rows(out):
    lines = (out / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def timeless(out):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows(out)]


@pytest.fixture(scope="module")
def done(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "out"
    return out, bench(config(model, out, latency="fixed:100", planner=PlannerOverrides(horizon=2)))


def test_every_agent_has_its_episodes_on_the_same_starts(done):
    out, summary = done
    seeds = {}
    for row in rows(out):
        seeds.setdefault((row["agent"], row["clock"]), []).append(row["seed"])
    three = [1000, 1001, 1002]
    assert seeds == {
        ("plan", "free"): three,
        ("plan", "fixed:100"): three,
        ("prior", "free"): three,
        ("random", "free"): three,
        ("zero", "free"): three,
        ("oracle", "free"): [1000],
    }
    assert summary["failures"] == [] and summary["compile_s"] > 0
    assert all(row["length"] == 50 and row["valid"] for row in rows(out))
    assert {row["plan_ms"].keys() == {"p50", "p95", "p99"} for row in rows(out)} == {True}
    (gap,) = [gap for gap in summary["gaps"] if gap["clock"] == "free"]
    assert all(gap["returns"][a] is not None for a in ("random", "zero", "prior", "plan", "oracle"))
    for name in ("summary.json", "summary.md", "report.html"):
        assert (out / name).stat().st_size > 500


def test_the_planner_settings_asked_for_are_used(done):
    stored = [json.loads(p.read_text()) for p in (done[0] / "points").glob("*.json")]
    planned = [s["result"]["planner"] for s in stored if s["point"]["agent"] == "plan"]
    assert [p["horizon"] for p in planned] == [2, 2]


def test_the_same_command_redoes_nothing_and_writes_the_same_bytes(model, done):
    out, _ = done
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "lock"}
    said = []
    settings = config(model, out, latency="fixed:100", planner=PlannerOverrides(horizon=2))
    bench(settings, said.append)
    bench(replace(settings, tasks=""), said.append)  # those of the runs
    assert len(said) == 12 and all("done before" in line for line in said)
    for path, data in before.items():
        assert path.read_bytes() == data, path.name


def test_processes_and_order_change_no_byte_but_times(model, tmp_path):
    few = {"agents": "prior,random,zero", "episodes": 2}
    bench(config(model, tmp_path / "one", **few))
    bench(config(model, tmp_path / "two", **{**few, "agents": "zero,prior,random", "jobs": 2}))
    assert timeless(tmp_path / "one") == timeless(tmp_path / "two")


def test_what_fails_is_reported_and_the_rest_goes_on(tmp_path):
    settings = BenchConfig(
        tasks="Pendulum-v1", agents="oracle,random", episodes=1, out=str(tmp_path), jobs=0
    )
    summary = bench(settings)
    (failure,) = summary["failures"]
    reason = "the oracle needs native simulators, which Pendulum-v1 has not"
    assert failure["agent"] == "oracle" and reason in failure["reason"]
    assert [row["agent"] for row in rows(tmp_path)] == ["random"]
    assert reason in (tmp_path / "report.html").read_text()


def test_a_damaged_checkpoint_is_refused_before_anything_runs(model, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(model, torn)
    arrays = next(torn.glob("checkpoints/*/arrays"))
    largest = max((p for p in arrays.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=largest.name):
        bench(config(torn, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_without_a_checkpoint_it_trains(tmp_path):
    said = []
    settings = BenchConfig(
        tasks="cartpole-balance", agents="prior", episodes=1, out=str(tmp_path), jobs=0, train=TINY
    )
    bench(settings, said.append)
    assert said[0] == "train.cartpole-balance.0: done"
    assert (tmp_path / "train" / "cartpole-balance-0" / "result.json").exists()
    assert rows(tmp_path)[0]["train_seed"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": "plam"}, "unknown agent plam: did you mean plan"),
        ({"agents": " ,"}, "agents must name at least one"),
        ({"suite": "quik"}, "unknown suite quik: did you mean quick"),
        ({"seeds": "0,a"}, "seeds must be integers"),
        ({"seeds": ","}, "seeds must name at least one"),
        ({"latency": "fixed:"}, "latency must be"),
        ({"episodes": 0}, r"episodes must lie in \[1, 10000\], got 0"),
        ({"train": TrainConfig(seed=3)}, "train.seed is not used by a bench: give --seeds"),
        ({"train": TrainConfig("walker-walk")}, "train.env_id .* name the tasks"),
        ({"train": TrainConfig(run_dir="x")}, "train.run_dir .* --out"),
        ({"executor": "locl"}, "unknown executor locl: did you mean local"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        BenchConfig(**changes)


def test_given_runs_must_belong(model, tmp_path):
    with pytest.raises(ConfigError, match="trained on cartpole-swingup, which is none of"):
        bench(config(model, tmp_path, tasks="cheetah-run"))
    with pytest.raises(ConfigError, match="are both cartpole-swingup with seed 0"):
        bench(config(model, tmp_path, runs=f"{model},{model}/."))


def test_suites_bring_their_training_settings():
    assert suite_base({}).train == SUITES["quick"].train
    assert suite_base({"suite": "gym-v5"}).task_list == SUITES["gym-v5"].tasks
    assert BenchConfig(seeds="0, 2").seed_list == (0, 2)
    assert BenchConfig(latency="measured,free").latency_list == ("free", "measured")


def test_a_bench_is_named_after_what_it_benches():
    """So that the next one does not take its place."""
    assert BenchConfig().directory == "runs/bench-quick"
    assert BenchConfig(suite="gym-v5").directory == "runs/bench-gym-v5"
    assert BenchConfig(tasks="cheetah-run,Pendulum-v1").directory == (
        "runs/bench-cheetah-run+Pendulum-v1"
    )
    assert BenchConfig(tasks="a", runs="some/a,some/b").directory == "runs/bench-a+b"
    assert BenchConfig(runs="a", out="here").directory == "here"
