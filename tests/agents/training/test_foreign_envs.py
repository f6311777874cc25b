"""Trainings on strangers' environments: what fails costs no decision, what restarts is said."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from agents.runs.config import TrainConfig
from agents.runs.directory import RunDir
from agents.storage import checkpoint
from agents.training import train as train_module
from agents.training.train import train
from envs import imports
from envs.spec import EnvError
from planning.config import PlannerConfig
from wm.tdmpc.config import LearnerConfig, ModelConfig


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "envs"))
    imports.permit([imports.ANY])
    yield
    imports.permit(())


def config(env_id, run_dir, **changes) -> TrainConfig:
    return TrainConfig(
        env_id=f"toys:{env_id}",
        run_dir=str(run_dir),
        seed_steps=1000,  # random decisions: nothing is learned, and hardly anything compiled
        num_envs=2,
        eval_every=0,
        eval_episodes=2,
        video=False,
        model=ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21),
        learner=LearnerConfig(batch_size=8),
        planner=PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
        **{"env_steps": 60, **changes},
    )


def saved(run_dir):
    newest = checkpoint.latest(RunDir(run_dir).checkpoints)
    assert newest is not None
    return newest


def test_a_failure_in_the_middle_loses_no_decision(tmp_path):
    run_dir = tmp_path / "run"
    env_id = "Failing-v0?after=20&way=step#episode_steps=30"
    with pytest.raises(EnvError, match=r"motor 3 is hot \(.*saved at 40 decisions in .*resumes"):
        train(config(env_id, run_dir, env_steps=70), json_mode=True)
    assert saved(run_dir).name == "000000040"
    with pytest.raises(EnvError, match="saved at 80 decisions"):  # goes on, with new episodes
        train(config(env_id, run_dir, env_steps=200), json_mode=True)
    episodes = [row for row in RunDir(run_dir).read_metrics() if row["kind"] == "episode"]
    assert all(row["length"] <= 20 for row in episodes)
    stored = checkpoint.restore(saved(run_dir))["driver"]
    assert stored["env"]["pending"].all() and not stored["driver"]["lengths"].any()


def test_episodes_that_are_all_invalid_say_why(tmp_path):
    with pytest.raises(EnvError) as caught:
        train(config("Huge-v0", tmp_path / "run"), json_mode=True)
    assert "episodes so far are invalid" in str(caught.value)
    assert "obs[1] is too large for float32 (" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_run_says_at_its_start_how_it_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "finish", lambda trainer, *_: trainer)
    said = Console(record=True, width=400, file=io.StringIO())
    trainer = train(config("GlobalRandom-v0", tmp_path / "run", env_steps=50), console=said)
    assert "another reward or end" in (told := said.export_text()) and "new episodes" in told
    assert trainer.driver.env.restarts.all()  # result.json: "resume": "episode"
