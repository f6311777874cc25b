"""Summaries of benches: by hand, whatever the order of rows, and strict JSON."""

import json
import random

import numpy as np
import pytest
from scipy import stats as scipy_stats

from agents.benchmarks.aggregate import aggregate
from agents.evaluation import stats

CLOSE = {"abs": 1e-9, "rel": 1e-9}


def row(task, agent, episode, value, *, train_seed=None, clock="free", valid=True, **more):
    trained = agent in ("plan", "prior")
    return {
        "key": f"{task}|{agent}|{clock}|{train_seed}|{episode}",
        "task": task,
        "agent": agent,
        "clock": clock,
        "train_seed": (train_seed or 0) if trained else None,
        "episode": episode,
        "seed": 10_000 + episode,
        "return": value,
        "success": None,
        "length": 500,
        "valid": valid,
        "plan_ms": {"p50": 4.0 + episode, "p95": 6.0, "p99": 7.0 + episode} if trained else None,
        "deadline_misses": None,
        **more,
    }


def rows_of(task, agent, values, **more):
    return [row(task, agent, i, v, **more) for i, v in enumerate(values)]


def bench(seed=0, trainings=(0,)):
    """Two tasks, all agents, five episodes, free and under a clock."""
    rng, rows = np.random.default_rng(seed), []
    levels = {"plan": 800, "prior": 700, "oracle": 900, "random": 50, "zero": 5}
    for task in ("walker-walk", "cartpole-swingup"):
        for agent, level in levels.items():
            for train_seed in trainings if agent in ("plan", "prior") else (None,):
                values = rng.normal(level, 20, 5).tolist()
                rows += rows_of(task, agent, values, train_seed=train_seed)
        values = rng.normal(600, 20, 5).tolist()
        late = {"clock": "fixed:50", "deadline_misses": 20, "train_seed": trainings[0]}
        rows += rows_of(task, "plan", values, **late)
    return rows


def find(items, **wanted):
    (found,) = [x for x in items if all(x[k] == v for k, v in wanted.items())]
    return found


def test_a_cell_by_hand():
    rows = rows_of("walker-walk", "plan", [100.0, 200.0, 300.0])
    rows += [row("walker-walk", "plan", 3, 1e9, valid=False), row("walker-walk", "plan", 4, None)]
    (cell,) = aggregate(rows)["cells"]
    assert (cell["episodes_valid"], cell["episodes_asked"]) == (3, 5)
    assert cell["return_mean"] == pytest.approx(200, **CLOSE)
    assert cell["return_iqm"] == pytest.approx(200, **CLOSE)
    assert cell["score_mean"] == pytest.approx(0.2, **CLOSE)
    assert tuple(cell["return_ci95"]) == stats.mean_ci([100, 200, 300])[1:]
    assert cell["plan_ms"] == {"p50": 6.0, "p95": 6.0, "p99": 9.0, "worst_p99": 11.0}
    assert cell["success"] is None and cell["deadline_misses"] is None
    assert (cell["unit"], cell["runs"]) == ("episode", 3)


def test_success_is_counted_over_valid_episodes_that_tell():
    rows = [row("reacher-easy", "plan", i, 900, success=s) for i, s in enumerate([1.0, 0.0, 1.0])]
    rows.append(row("reacher-easy", "plan", 3, 900, success=1.0, valid=False))
    (cell,) = aggregate(rows)["cells"]
    theirs = scipy_stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert cell["success"]["rate"] == pytest.approx(2 / 3)
    assert cell["success"]["ci95"] == pytest.approx([theirs.low, theirs.high], **CLOSE)
    assert (cell["success"]["successes"], cell["success"]["episodes"]) == (2, 3)


def test_over_tasks_agrees_with_scipy():
    rows = bench()
    overall = find(aggregate(rows)["overall"], agent="plan", clock="free")
    plan = [r for r in rows if (r["agent"], r["clock"]) == ("plan", "free")]
    scores = np.array([r["return"] for r in plan]) / 1000
    assert overall["iqm"] == pytest.approx(scipy_stats.trim_mean(scores, 0.25), **CLOSE)
    assert overall["mean"] == pytest.approx(scores.mean(), **CLOSE)
    assert overall["median"] == pytest.approx(np.median(scores), **CLOSE)
    assert overall["optimality_gap"] == pytest.approx(1 - scores.mean(), **CLOSE)
    theirs = scipy_stats.bootstrap(
        [scores[5:], scores[:5]],  # tasks in alphabetical order
        lambda *x, axis: scipy_stats.trim_mean(np.concatenate(x, -1), 0.25, axis=-1),
        n_resamples=stats.REPS,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert overall["iqm_ci95"] == pytest.approx([theirs.low, theirs.high], **CLOSE)
    assert (overall["runs"], overall["tasks"], overall["tasks_missing"]) == (10, 2, [])
    shares = overall["profile"]["share"]
    assert shares[0] == 1 and shares[-1] == 0 and shares == sorted(shares, reverse=True)


def test_improvement_goes_both_ways():
    summary = aggregate(bench())
    one = find(summary["improvement"], a="plan", b="prior", clock="free")
    other = find(summary["improvement"], a="prior", b="plan", clock="free")
    assert one["probability"] + other["probability"] == pytest.approx(1, **CLOSE)
    assert one["ci95"] == pytest.approx([1 - x for x in reversed(other["ci95"])], **CLOSE)
    assert one["probability"] > 0.95 and one["tasks"] == 2
    assert len(summary["improvement"]) == 5 * 4  # under the clock there is one agent only


def test_gaps_by_hand():
    task, rows = "hopper-hop", []
    for agent, values in (("plan", [5, 7, 9]), ("prior", [4, 5, 6]), ("oracle", [10, 9, 8])):
        rows += rows_of(task, agent, values)
    (gap,) = aggregate([*rows, *rows_of(task, "random", [1.0])])["gaps"]
    assert gap["returns"] == {"random": 1, "zero": None, "prior": 5, "plan": 7, "oracle": 9}
    assert gap["planning_adds"]["difference"] == pytest.approx(2, **CLOSE)
    assert gap["planning_adds"]["pairs"] == 3
    expected = scipy_stats.ttest_rel([10, 9, 8], [5, 7, 9]).confidence_interval(0.95)
    assert gap["model_error_costs"]["ci95"] == pytest.approx([expected.low, expected.high], **CLOSE)
    assert gap["model_error_costs"]["resolved"] is False


def test_gaps_pair_seeds_and_not_positions():
    rows = [row("hopper-hop", "plan", i, 10.0 * i) for i in (1, 2, 3)]
    rows += [row("hopper-hop", "prior", i, 10.0 * i - 1) for i in (2, 3, 4)]
    adds = aggregate(rows)["gaps"][0]["planning_adds"]
    assert (adds["pairs"], adds["difference"], adds["resolved"]) == (2, 1.0, True)


def test_clock_stands_beside_free_compute():
    summary = aggregate(bench())
    (cartpole, walker) = summary["clock_costs"]
    assert (cartpole["task"], walker["agent"], walker["clock"]) == (
        "cartpole-swingup",
        "plan",
        "fixed:50",
    )
    cost = walker["return_free"] - walker["return_clock"]
    assert walker["cost"]["difference"] == pytest.approx(cost, **CLOSE)
    cell = find(summary["cells"], task="walker-walk", agent="plan", clock="fixed:50")
    assert (cell["deadline_misses"], cell["decisions"]) == (100, 2500)


def test_gaps_under_a_clock_take_the_floors_from_free_compute():
    late = {"clock": "fixed:50"}
    assert {g["clock"] for g in aggregate(bench())["gaps"]} == {
        "free"
    }  # nothing beside the planner
    summary = aggregate(bench() + rows_of("walker-walk", "prior", [1.0, 2.0], **late))
    returns = find(summary["gaps"], clock="fixed:50")["returns"]
    assert (
        returns["random"]
        == find(summary["gaps"], task="walker-walk", clock="free")["returns"]["random"]
    )
    assert (returns["prior"], returns["oracle"]) == (1.5, None)


def test_runs_are_trainings_where_there_are_several():
    summary = aggregate(bench(trainings=(0, 1, 2)))
    plan = find(summary["overall"], agent="plan", clock="free")
    assert (plan["unit"], plan["runs"]) == ("training", 6)
    oracle = find(summary["overall"], agent="oracle", clock="free")
    assert (oracle["unit"], oracle["runs"]) == ("episode", 10)
    cell = find(summary["cells"], task="walker-walk", agent="plan", clock="free")
    assert (cell["runs"], cell["episodes_asked"]) == (3, 15)
    once_on_one_task = [
        r for r in bench(trainings=(0, 1)) if r["task"] != "walker-walk" or r["train_seed"] != 1
    ]
    plan = find(aggregate(once_on_one_task)["overall"], agent="plan", clock="free")
    assert plan["unit"] == "episode"


def test_gymnasium_scores_lie_between_random_and_oracle():
    task = "HalfCheetah-v5"
    rows = rows_of(task, "random", [-100.0, -300.0]) + rows_of(task, "plan", [3000.0, 1000.0])
    summary = aggregate(rows)
    assert summary["scales"][task] == {"low": -200.0, "high": 2000.0, "high_is": "plan"}
    summary = aggregate(rows + rows_of(task, "oracle", [3800.0]))
    assert summary["scales"][task]["high_is"] == "oracle"
    plan = find(summary["overall"], agent="plan", clock="free")
    assert plan["mean"] == pytest.approx(2200 / 4000, **CLOSE)
    assert plan["profile"]["score"][-1] == 1.0


def test_a_task_without_a_scale_has_returns_and_no_scores():
    summary = aggregate(rows_of("Pendulum-v1", "plan", [-200.0, -300.0]))
    assert summary["cells"][0]["return_mean"] == -250
    assert summary["cells"][0]["score_mean"] is None
    assert summary["overall"][0]["iqm"] is None
    assert summary["overall"][0]["tasks_missing"] == ["Pendulum-v1"]


def test_order_of_rows_changes_no_byte():
    rows = bench(trainings=(0, 1))
    failures = [{"task": "a", "agent": "plan", "reason": "x"}, {"task": "b", "reason": "y"}]
    expected = json.dumps(aggregate(rows, failures), allow_nan=False)
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        again = aggregate(shuffled + shuffled[:7], failures[::-1])
        assert json.dumps(again, allow_nan=False) == expected


def test_nothing_and_nothing_valid():
    empty = aggregate([])
    assert (empty["cells"], empty["overall"], empty["episodes_asked"]) == ([], [], 0)
    summary = aggregate(rows_of("walker-walk", "plan", [1.0, 2.0], valid=False))
    assert (summary["episodes_valid"], summary["episodes_asked"]) == (0, 2)
    assert summary["cells"][0]["return_mean"] is None
    assert summary["overall"][0]["iqm_ci95"] == [None, None]
    json.dumps(summary, allow_nan=False)


def test_clocks_are_ordered_by_their_time():
    rows = [
        r
        for clock in ("fixed:100", "measured", "fixed:20", "free")
        for r in rows_of("walker-walk", "plan", [1.0, 2.0], clock=clock)
    ]
    assert aggregate(rows)["clocks"] == ["free", "fixed:20", "fixed:100", "measured"]
