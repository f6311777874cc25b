"""One model over two tasks, end to end in miniature: learn, resume, evaluate each task."""

import json

import jax
import numpy as np
import pytest

from agents.evaluation.evaluate import evaluate_path
from agents.evaluation.result import EvalResult
from agents.evaluation.tasks import eval_tasks, pooled
from agents.runs.config import ConfigError, EvalConfig, TrainConfig
from agents.runs.directory import RunDir
from agents.storage import checkpoint
from agents.training.train import train
from agents.training.trainer import Trainer
from envs.task_list import TaskListError
from planning.config import PlannerConfig
from scripts.command import settings_of
from scripts.train import VERB
from wm.tdmpc.config import LearnerConfig, ModelConfig
from wm.types import discount_for

pytestmark = pytest.mark.usefixtures("traced_once")

TASKS = ("pendulum-swingup", "reacher-easy")
SMALL = {
    "env_id": "multi:pendulum-swingup,reacher-easy",
    "action_repeat": 40,  # episodes of 25 decisions
    "env_steps": 150,
    "seed_steps": 60,
    "num_envs": 4,
    "eval_every": 120,
    "eval_episodes": 2,
    "save_every": 100,
    "replay_capacity": 120,
    "video": False,
    "model": ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21, task_dim=4),
    "learner": LearnerConfig(batch_size=8),
    "planner": PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
}


def config(run_dir, **changes) -> TrainConfig:
    return TrainConfig(**{**SMALL, "run_dir": str(run_dir), **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "multi"
    return run_dir, train(config(run_dir), json_mode=True)


def test_a_run_ends_with_results_of_each_task(finished):
    run_dir, result = finished
    stored = json.loads((run_dir / "result.json").read_text())
    assert tuple(stored["tasks"]) == TASKS
    for own in stored["tasks"].values():
        assert own["episodes_valid"] == own["episodes_asked"] == 2
        assert {"prior_return_mean", "random_return_mean", "return_ci95"} <= own.keys()
    each = [own["episode_returns"] for own in stored["tasks"].values()]
    assert result["episode_returns"] == [*each[0], *each[1]]
    assert result["return_mean"] == pytest.approx(np.mean(each))
    assert result["updates"] > 60
    evals = [row for row in RunDir(run_dir).read_metrics() if row["kind"] == "eval"]
    assert [tuple(row["task_return_means"]) for row in evals] == [TASKS]
    assert (run_dir / "report.html").stat().st_size > 10_000


def test_each_task_is_evaluated_by_its_name_to_the_same_numbers(finished):
    run_dir, result = finished
    for task in TASKS:
        own = evaluate_path(EvalConfig(str(run_dir), 2, 10_000, env_id=task))
        assert own["env_id"] == task
        assert own["episode_returns"] == result["tasks"][task]["episode_returns"]
    both = evaluate_path(EvalConfig(str(run_dir), 2, 10_000))
    assert both["episode_returns"] == result["episode_returns"]
    assert tuple(both["tasks"]) == TASKS
    with pytest.raises(
        ConfigError, match=r"none of the tasks of this run .*mean reacher-easy"
    ) as e:
        evaluate_path(EvalConfig(str(run_dir), 2, env_id="reacher-hard"))
    assert e.value.exit_code == 2


def test_stopped_and_resumed_equals_undisturbed(finished, tmp_path):
    whole, result = finished
    for steps in (90, 150):
        again = train(config(tmp_path / "pieces", env_steps=steps), json_mode=True)
    trees = [
        checkpoint.restore(checkpoint.latest(RunDir(run).checkpoints))
        for run in (whole, tmp_path / "pieces")
    ]
    jax.tree.map(np.testing.assert_array_equal, *trees)
    assert again["episode_returns"] == result["episode_returns"]


def test_the_fused_loop_learns_the_same(tmp_path):
    runs = []
    for loop in ("host", "fused"):
        trainer = Trainer(config(tmp_path / loop, loop=loop))
        while trainer.counters.env_steps < 100:
            trainer.advance(100)
        runs.append(trainer)
    host, fused = runs
    assert host.counters == fused.counters
    assert host.counters.updates > 0
    for a, b in zip(*[jax.tree.leaves(t.loop.train.params) for t in runs], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_views_have_their_own_discounts():
    short, long = eval_tasks("multi:pendulum-swingup,point-maze", 2, 0.5)
    assert short.env_id == "multi:pendulum-swingup,point-maze@pendulum-swingup"
    assert short.discount == discount_for(500)
    assert long.discount != short.discount
    assert eval_tasks("cartpole-swingup", 2, 0.5) == [("cartpole-swingup", "cartpole-swingup", 0.5)]
    assert eval_tasks("cartpole-swingup", 2, 0.5, "walker-walk")[0].env_id == "walker-walk"


def test_pooled_results_hold_every_episode():
    one = EvalResult([1.0], [5], [True], k_step_error=[0.1, 0.2], plan_ms=[1.0])
    two = EvalResult([3.0], [4], [False], k_step_error=[0.3], plan_ms=[2.0])
    both = pooled([one, two])
    assert both.episode_returns == [1.0, 3.0]
    assert both.valid == [True, False]
    assert both.k_step_error == pytest.approx([0.2, 0.2])
    assert pooled([one]) is one


def test_flags_name_the_tasks():
    flags = settings_of(VERB, ["--tasks", "cartpole-swingup,pendulum-swingup,reacher-easy"])
    settings = flags.config_of()
    assert settings.env_id == "multi:cartpole-swingup,pendulum-swingup,reacher-easy"
    assert settings.num_envs == 6  # two for each task
    assert settings.run_dir == "runs/multi:cartpole-swingup+pendulum-swingup+reacher-easy-0"
    assert settings_of(VERB, ["--tasks", "a,b", "--num-envs", "8"]).config_of().num_envs == 8
    assert settings_of(VERB, ["multi:a,b,c"]).config_of().num_envs == 6
    assert settings_of(VERB, ["cartpole-swingup"]).config_of().num_envs == 4


@pytest.mark.parametrize(
    ("argv", "error", "said"),
    [
        (["--tasks", "a,a"], TaskListError, "task a is given twice"),
        (["--tasks", "a"], TaskListError, "two or more ids"),
        (["cartpole-swingup", "--tasks", "a,b"], ConfigError, "both given"),
    ],
)
def test_mistakes_are_one_line(argv, error, said):
    with pytest.raises(error, match=said) as caught:
        settings_of(VERB, argv)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_mjx_says_that_it_runs_one_task(tmp_path):
    with pytest.raises(ConfigError, match="runs one task, not several: use --backend native"):
        Trainer(config(tmp_path, backend="mjx"))
