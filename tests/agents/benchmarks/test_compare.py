"""Comparisons: what is paired, what is said of it, and what cannot be compared."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from agents.benchmarks.compare import compare, table
from agents.benchmarks.result_sets import CompareError, load_rows

CLOSE = {"abs": 1e-9, "rel": 1e-9}
TASKS = ("walker-walk", "cartpole-swingup")


def row(task, agent, episode, value, *, train_seed=0, clock="free", valid=True):
    return {
        "key": f"{task}/{agent}/{clock}/{train_seed}/{episode}",
        "task": task,
        "agent": agent,
        "clock": clock,
        "train_seed": train_seed,
        "episode": episode,
        "seed": 500 + episode,
        "return": value,
        "success": None,
        "length": 500,
        "valid": valid,
        "plan_ms": None,
        "deadline_misses": None,
    }


def bench(path, rows, tail=""):
    path.mkdir()
    text = "".join(json.dumps(r) + "\n" for r in rows) + tail
    (path / "results.jsonl").write_text(text)
    return path


def run(path, returns, mode="", env_id="walker-walk", seed=0, valid=None):
    path.mkdir()
    result = {"env_id": env_id, "seed": seed, "return_mean": 0.0} | ({"mode": mode} if mode else {})
    (path / "result.json").write_text(json.dumps(result))
    evaluation = {"episode_returns": returns, "valid": valid or [True] * len(returns)}
    (path / "eval.json").write_text(json.dumps(evaluation))
    return path


def noisy(shift, seed, count=8, **more):
    rng, rows = np.random.default_rng(seed), []
    start = np.random.default_rng(0).normal(700, 60, count)
    for task in TASKS:
        values = (start + shift + rng.normal(0, 5, count)).tolist()
        rows += [row(task, "plan", i, v, **more) for i, v in enumerate(values)]
    return rows


def test_pairs_agree_with_scipy(tmp_path):
    first, second = noisy(20, 1), noisy(0, 2)
    found = compare(bench(tmp_path / "a", first), bench(tmp_path / "b", second))
    assert [p["task"] for p in found["pairs"]] == sorted(TASKS)
    x, y = (
        [r["return"] for r in rows if r["task"] == "cartpole-swingup"] for rows in (first, second)
    )
    theirs = scipy_stats.ttest_rel(x, y).confidence_interval(0.95)
    pair = found["pairs"][0]
    assert pair["ci95"] == pytest.approx([theirs.low, theirs.high], **CLOSE)
    assert (pair["resolved"], pair["pairs"], pair["mean_a"]) == (True, 8, pytest.approx(np.mean(x)))
    assert "not resolved" not in str(table(found).rows[0])
    (overall,) = found["overall"]
    assert overall["tasks"] == 2
    mean = np.mean([p["difference"] for p in found["pairs"]]) / 1000
    assert overall["difference"] == pytest.approx(mean, **CLOSE)
    assert overall["mean_a"] - overall["mean_b"] == pytest.approx(mean, **CLOSE)


def test_a_bench_and_an_evaluation_have_one_start_in_common_and_it_is_said(tmp_path):
    """(500, 0): a bench goes on with (501, 0), an evaluation with (500, 1)."""
    a = bench(tmp_path / "a", [row("walker-walk", "plan", i, float(i)) for i in range(5)])
    b = run(tmp_path / "b", [3.0, 4.0, 5.0], mode="plan", seed=500)
    found = compare(a, b)
    assert [p["pairs"] for p in found["pairs"]] == [1]
    assert "One common start of many" in table(found).note


def test_a_sweep_is_no_result_set(tmp_path):
    """Its settings would be averaged."""
    rows = [{**row("walker-walk", "plan", i, 1.0), "setting": f"horizon={i % 2}"} for i in range(4)]
    sweep = bench(tmp_path / "sweep", rows)
    with pytest.raises(CompareError, match=r"a sweep of 2 settings.*summary.md.*recommended.toml"):
        compare(sweep, sweep)


def test_what_is_not_resolved_says_how_many_episodes_would(tmp_path):
    a = bench(tmp_path / "a", [row("walker-walk", "plan", i, v) for i, v in enumerate([5, 9, 4])])
    b = bench(tmp_path / "b", [row("walker-walk", "plan", i, v) for i, v in enumerate([4, 4, 6])])
    found = compare(a, b)
    (pair,) = found["pairs"]
    assert pair["difference"] == pytest.approx(4 / 3)
    assert not pair["resolved"] and pair["needed"] == 57  # effect 0.3797 = (4 / 3) / 3.5119
    shown = table(found)
    assert "not resolved: it would take 57 episodes" in shown.rows[0][5]
    assert "A: " in shown.title and "3 of 3 episodes valid" in shown.title
    assert found["overall"] == []


def test_the_same_results_do_not_differ(tmp_path):
    path = bench(tmp_path / "a", noisy(0, 1))
    found = compare(path, path)
    assert {p["difference"] for p in found["pairs"]} == {0.0}
    assert not any(p["resolved"] for p in found["pairs"] + found["overall"])
    assert table(found).rows[0][5] == "0 [0, 0], not resolved"


def test_only_common_seeds_count(tmp_path):
    a = bench(tmp_path / "a", [row("walker-walk", "plan", i, 10.0 * i) for i in range(5)])
    other = [row("walker-walk", "plan", i, 10.0 * i + 1, valid=i != 3) for i in range(2, 9)]
    (pair,) = compare(a, bench(tmp_path / "b", other))["pairs"]
    assert (pair["pairs"], pair["difference"], pair["resolved"]) == (2, -1.0, True)
    assert (pair["seeds_only_a"], pair["seeds_only_b"]) == (3, 4)


def test_trainings_are_averaged_on_a_seed_and_compared_with_one_another(tmp_path):
    def rows(levels):
        return [
            row("walker-walk", "plan", i, level + i, train_seed=t)
            for t, level in enumerate(levels)
            for i in range(4)
        ]

    first, second = [10.0, 20.0, 60.0], [5.0, 8.0]
    (pair,) = compare(bench(tmp_path / "a", rows(first)), bench(tmp_path / "b", rows(second)))[
        "pairs"
    ]
    assert (pair["pairs"], pair["trainings"]) == (4, [3, 2])
    assert pair["difference"] == pytest.approx(30 - 6.5) and pair["resolved"]
    theirs = scipy_stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    across = pair["across_trainings"]
    assert across["ci95"] == pytest.approx([theirs.low, theirs.high], **CLOSE)
    assert not across["resolved"]
    assert "not resolved" in table(compare(tmp_path / "a", tmp_path / "b")).rows[0][-1]


def test_trainings_and_evaluations_compare(tmp_path):
    """Two trainings on the evaluation seeds they share; planner against prior of one model."""
    a, b = run(tmp_path / "a", [1.0, 2.0, 4.0]), run(tmp_path / "b", [0.0, 1.0, 2.0, 9.0], seed=1)
    (pair,) = compare(a, b)["pairs"]
    assert (pair["pairs"], pair["seeds_only_b"], pair["agent_a"]) == (3, 1, "plan")
    plan = run(tmp_path / "p", [5.0, 6.0], mode="plan", seed=1000)
    prior = run(tmp_path / "q", [3.0, 4.5], mode="prior", seed=1000)
    found = compare(plan, prior)
    assert (found["pairs"][0]["agent_a"], found["pairs"][0]["agent_b"]) == ("plan", "prior")
    assert table(found).rows[0][1:3] == ["plan", "prior"]
    with pytest.raises(CompareError, match=r"seeds 10000.*seeds 1000"):
        compare(a, plan)


def test_simulators_of_one_evaluation_have_seeds_of_their_own(tmp_path):
    """Simulator 0 of seed 500 starts as the episode with seed 500 does; simulator 1 does not."""
    vector = run(tmp_path / "a", [1.0, 2.0], mode="plan", seed=500)
    single = bench(tmp_path / "b", [row("walker-walk", "plan", i, 1.0) for i in range(3)])
    assert compare(vector, single)["pairs"][0]["pairs"] == 1


def test_one_common_episode_gives_no_interval(tmp_path):
    a, b = run(tmp_path / "a", [1.0]), run(tmp_path / "b", [0.0], seed=1)
    found = compare(a, b)
    assert found["pairs"][0]["ci95"] == [None, None]
    assert table(found).rows[0][5] == "1, not resolved"
    json.dumps(found, allow_nan=False)


def test_a_torn_last_line_is_left_out_and_another_is_not(tmp_path):
    rows = noisy(0, 1)
    assert len(load_rows(bench(tmp_path / "a", rows, tail='{"key": "x", "ta'))) == len(rows)
    with pytest.raises(CompareError, match="line 17"):
        load_rows(bench(tmp_path / "b", rows, tail='{"key": "x", "ta\n'))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "there is no such directory"),
        (lambda p: p, "holds no results"),
        (lambda p: bench(p / "x", []), "no episode yet"),
        (lambda p: bench(p / "x", [{"key": "k"}]), "missing required field `task`"),
        (lambda p: bench(p / "x", [{**noisy(0, 1)[0], "seed": "one"}]), r"\$.seed"),
        (lambda p: run(p / "x", [1.0], env_id=None), "Expected `str`, got `null`"),
        (lambda p: run(p / "x", [1.0, 2.0], valid=[True]), "2 returns for 1 flags"),
        (lambda p: run(p / "x", [1.0], env_id="hopper-hop"), "nothing in common"),
        (lambda p: run(p / "x", [1.0], valid=[False]), "nothing in common"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(tmp_path, make, message):
    good = bench(tmp_path / "good", noisy(0, 1))
    with pytest.raises(CompareError, match=message) as caught:
        compare(good, make(tmp_path))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60), st.sampled_from(["results.jsonl", "result.json", "eval.json"]))
def test_rubbish_is_an_error_of_ours(tmp_path_factory, data, name):
    path = run(tmp_path_factory.mktemp("x") / "run", [1.0, 2.0])
    (path / name).write_bytes(data)
    with contextlib.suppress(CompareError):
        assert load_rows(path)
