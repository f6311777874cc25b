"""Evaluation on held-out goals: settings, summaries, the oracle; from data to success."""

import json
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.data.dataset import Dataset
from agents.goals import evaluate as goal_eval
from agents.goals import oracle as goal_oracle
from agents.goals.agent import GoalModel, cost_model
from agents.goals.config import (
    GUIDED,
    HELD_OUT,
    LEARNED,
    PLAIN,
    PLANNER,
    PRIOR_SAMPLES,
    GoalEvalConfig,
    GoalHeadsConfig,
    ObjectiveConfig,
    ObjectiveOverrides,
    goal_planner,
)
from agents.goals.critic import cost_to_go
from agents.goals.held_out import held_out, recorded_seeds
from agents.goals.model import (
    GoalHeads,
    goal_params,
    load_goal_heads,
    save_goal_heads,
    spread,
    table_of,
    weights_of,
)
from agents.goals.rollout import GoalOutcome, plan_milliseconds, run_goals
from agents.runs import load_pretrained as jepa_load
from agents.runs.config import ConfigError, PlannerOverrides
from agents.runs.load_pretrained import JepaTrained
from envs.registry import make_spec, make_vec
from envs.tasks.goals.two_room import DOOR_Y
from planning.config import METHODS, PlannerConfig

HEADS = GoalHeads(GoalHeadsConfig(), {"critic": 1, "policy": 2})


def test_every_weight_is_that_of_a_term():
    model = cast(Any, GoalModel)(*[None] * 3, 1, (1,), critic=1.0)
    assert set(cost_model(model).terms) == set(weights_of(GUIDED))
    plain = set(cost_model(model._replace(critic=None)).terms)
    assert plain == set(weights_of(PLAIN)) - set(LEARNED)
    assert weights_of(ObjectiveConfig(goal=2.0))["goal"] == 2.0


def test_learned_terms_count_only_where_they_were_learned():
    config = GoalEvalConfig(planner=PlannerOverrides(horizon=7), path="runs/x")
    planner, objective = goal_eval.settings(config, None)
    assert objective == PLAIN and planner.horizon == 7 and planner.num_prior_samples == 0
    planner, objective = goal_eval.settings(config, HEADS)
    assert objective == GUIDED and planner.num_prior_samples == PRIOR_SAMPLES
    assert planner.num_samples == PLANNER.num_samples
    refusal = "no critic: learn one with `latentmpc distill runs/x`"
    for name in LEARNED:
        given = ObjectiveOverrides(**{name: 1.0})
        wanting = GoalEvalConfig(path="runs/x", objective=given)
        with pytest.raises(ConfigError, match=refusal):
            goal_eval.settings(wanting, None)
        assert getattr(goal_eval.settings(wanting, HEADS)[1], name) == 1.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"goal": -1.0}, r"objective.goal must lie in \[0, 1e\+06\]"),
        ({"path": float("nan")}, r"objective.path must lie in .*, got nan"),
        ({"goal": 0.0}, "at least one weight must be positive"),
    ],
)
def test_weights_that_make_no_sense_are_refused(bad, message):
    with pytest.raises(ConfigError, match=message):
        ObjectiveConfig(**bad)


@pytest.mark.parametrize("method", METHODS)
def test_every_planner_can_be_asked_for(method):
    planner = goal_planner(PlannerOverrides(method=method, num_samples=64), with_policy=True)
    assert (planner.method, planner.num_samples, planner.horizon) == (method, 64, PLANNER.horizon)
    assert planner.target_ess == (PLANNER.target_ess if method == "mppi" else 0)


def test_successes_have_intervals():
    outcomes = [
        GoalOutcome(1, True, 10),
        GoalOutcome(2, True, 20),
        GoalOutcome(3, False, 100, fallbacks=2),
    ]
    outcomes.append(GoalOutcome(4, False, 7, valid=False))
    found = goal_eval.success_summary(outcomes, make_spec("two-room"))
    assert (found["successes"], found["goals"], found["invalid"]) == (2, 4, 1)
    assert found["success"] == 0.5 and found["fallbacks"] == 2
    assert found["success_interval"] == pytest.approx([0.1500, 0.8500], abs=1e-3)  # Wilson
    assert found["steps_to_success"]["p50"] == 15
    assert found["seconds_to_success"] == pytest.approx(15 * 0.1)
    assert found["steps_limit"] == 100


def test_no_held_out_seed_was_recorded(tmp_path):
    """Neither in the data of the model nor in that of its heads."""
    config = GoalEvalConfig(goals=3, seed=5)
    assert held_out(config, frozenset()) == [HELD_OUT + i for i in (5, 6, 7)]
    for folder, seed in (("model", HELD_OUT + 6), ("guides", HELD_OUT + 8)):
        (tmp_path / folder).mkdir()
        text = json.dumps({"episodes": [{"seed": seed}, {"seed": 1}]})
        (tmp_path / folder / "data.json").write_text(text)
    path = tmp_path / "run" / "checkpoints" / "000000001"
    path.mkdir(parents=True)
    (path / "MANIFEST.json").write_text("{}")
    run: Any = SimpleNamespace(data_info={"path": str(tmp_path / "model")}, path=path, spec=None)
    recorded = recorded_seeds(run)
    assert held_out(config, recorded) == [HELD_OUT + i for i in (5, 7, 8)]
    arrays = {"critic": {"w": jnp.ones(2)}}
    save_goal_heads(run, GoalHeads(GoalHeadsConfig(), arrays, str(tmp_path / "guides")))
    recorded = recorded_seeds(run)
    assert held_out(config, recorded) == [HELD_OUT + i for i in (5, 7, 9)]
    run.data_info, run.path = {"path": str(tmp_path / "gone")}, tmp_path / "x" / "y" / "000000001"
    assert recorded_seeds(run) == frozenset()


def test_distances_are_shares_of_that_of_two_random_embeddings():
    places = np.random.default_rng(0).normal(0, 3, (4000, 5)).astype(np.float32)
    stats = spread(places)
    pairs = np.mean((places[:2000] - places[2000:]) ** 2)
    assert stats["scale"] == pytest.approx(pairs, rel=0.05)
    made = goal_params(None, GUIDED, stats, HEADS)
    assert float(made.radius) == pytest.approx(GUIDED.radius) and made.critic == 1
    assert np.isinf(goal_params(None, PLAIN, stats).radius)


def test_the_oracle_needs_no_sequences_of_a_policy():
    """Few samples are too few beside the policy's proposals; the oracle has none."""
    few, heads = PlannerOverrides(num_samples=16, num_elites=8), GoalHeads(GoalHeadsConfig(), {})
    oracle, no_run = GoalEvalConfig("run", mode="oracle", planner=few), cast(JepaTrained, None)
    planner = goal_eval.actor_for(oracle, no_run, make_spec("two-room")).planner
    assert planner is not None
    assert (planner.num_samples, planner.num_prior_samples) == (16, 0)
    with pytest.raises(ConfigError, match="num_prior_samples must lie in"):
        goal_eval.settings(GoalEvalConfig("run", planner=few), heads)


def test_the_oracle_has_the_terms_of_the_true_world_alone():
    """Others are left out where they were given, and what is left has to be something."""
    spec, few = make_spec("two-room"), PlannerOverrides(num_samples=16, num_elites=8)
    given = ObjectiveOverrides(progress=1.0, reachability=5.0, limits=1.0, path=2.0)
    found = goal_eval._oracle(GoalEvalConfig("run", planner=few, objective=given), spec)
    assert found.objective is not None
    assert found.objective.terms == ("goal", "path")
    nothing = ObjectiveOverrides(progress=1.0, goal=0.0)
    with pytest.raises(ConfigError, match="at least one weight must be positive"):
        goal_eval._oracle(GoalEvalConfig("run", planner=few, objective=nothing), spec)


def test_the_oracle_measures_angles_by_the_shorter_way():
    periods, spreads = goal_oracle._geometry(make_spec("reacher-goal"))
    np.testing.assert_allclose(periods, 2 * np.pi)
    at = goal_oracle.Moment(jnp.zeros(2, jnp.int32), jnp.array([3.1, 0.0], jnp.float32))
    around = goal_oracle._distance(periods, spreads, at, jnp.array([-3.1, 0.0]))
    assert around < 0.01
    periods, spreads = goal_oracle._geometry(make_spec("two-room"))
    np.testing.assert_array_equal(periods, 0)
    at = at._replace(achieved=jnp.zeros(2))
    goal = jnp.array([spreads[0], 0.0], jnp.float32)
    assert goal_oracle._distance(periods, spreads, at, goal) == pytest.approx(0.25)


def test_the_oracle_reaches_goals_in_its_room():
    """Straight distance is enough there; everything but the cost is MuJoCo's own."""
    spec = make_spec("two-room")
    planner = PlannerConfig(
        horizon=6,
        num_samples=32,
        num_prior_samples=0,
        num_elites=6,
        num_iterations=2,
        init_std=1.0,
        target_ess=4.0,
    )
    actor = goal_oracle.goal_oracle(spec, planner, ObjectiveConfig(path=1.0, goal=0.0))
    env = make_vec("two-room", 1, action_repeat=spec.action_repeat)
    seeds = [HELD_OUT + i for i in range(40)]
    same = []
    for seed in seeds:
        env.reset(seed=[seed])
        data = env.simulators.data
        if data.qpos[0, 0] * data.userdata[0, 0] > 0:
            same.append(seed)
    outcomes = run_goals(actor, make_vec("two-room", 2), same[:4], 0)
    assert all(o.success for o in outcomes)
    assert len(plan_milliseconds(actor, env, same[0], most=2)) == 2


def rank_of_ways(run, data):
    """Rank correlation of the critic with the shortest ways, between unseen places of two-room."""
    from scipy.stats import rankdata

    trained, held = jepa_load.load(run), Dataset.open(data)
    heads, table = load_goal_heads(trained), table_of(trained, held, "validation")
    chosen = [held.episodes[i] for i in held.split("validation")]
    rows = np.concatenate([e.start + np.arange(e.length + 1) for e in chosen])
    at, goal = np.random.default_rng(0).integers(0, len(rows), (2, 2000))
    here, there = (np.asarray(held.arrays["obs"])[rows[i], :2] for i in (at, goal))
    through = sum(np.linalg.norm(x - np.array([0.0, DOOR_Y]), axis=1) for x in (here, there))
    apart = np.linalg.norm(here - there, axis=1)
    ways = np.where(here[:, 0] * there[:, 0] < 0, through, apart)
    cost = cost_to_go(heads.arrays["critic"], heads.config, table.embedding[at], table.goal[goal])
    return float(np.corrcoef(rankdata(cost), rankdata(ways))[0, 1])


@pytest.mark.slow
def test_from_data_to_success(tmp_path, capfd):
    """collect, pretrain, distill, eval, bench --shift: the guided planner beats the floor."""
    from scripts.cli import main

    walls, data, run = (str(tmp_path / name) for name in ("walls", "data", "run"))
    record = "collect two-room --episodes 160 --no-pixels"
    noise = "--policy noise --noise-exponent 2 --noise-scale 1 --out"
    assert main([*record.split(), *noise.split(), walls]) == 0
    assert main([*record.split(), "--policy", "scripted", "--out", data]) == 0
    small = "--updates 1500 --model.latent-dim 16 --model.action-block 4 --model.history 1"
    assert main(["pretrain", walls, "--run-dir", run, *small.split()]) == 0
    assert main(["eval", run, "--mode", "prior"]) == 2
    assert "latentmpc distill" in capfd.readouterr().err
    learn = "--goal-heads.updates 1500 --goal-heads.width 64 --json"
    assert main(["distill", run, "--data", data, *learn.split()]) == 0
    assert json.loads(capfd.readouterr().out)["critic_bound"] > 0.95
    assert rank_of_ways(run, data) > 0.9
    out = str(tmp_path / "out")
    assert main(["eval", run, "--goals", "40", "--out", out, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["success"] > 0.6 > 0.3 > result["floor"]["success"]
    assert result["plan_ms"]["p50"] > 0 and result["goals"] == 40
    assert len((tmp_path / "out/goals.jsonl").read_text().splitlines()) == 40
    shifted = ["bench", "--shift", run, "--kinds", "gain", "--goals", "10", "--mode", "prior"]
    assert main([*shifted, "--out", str(tmp_path / "shift"), "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert [row["kind"] for row in summary["worlds"]] == ["", "gain", "gain", "gain"]
    assert (tmp_path / "shift/shift.html").exists()
    jax.clear_caches()
