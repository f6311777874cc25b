"""Which settings a sweep stops and which it recommends, on returns and latencies made by hand."""

import math

import pytest

from agents.benchmarks.sweep.decide import Candidate, finish, recommend, stop_after_round
from agents.benchmarks.sweep.grid import Setting
from agents.runs.config import TrainConfig

BUDGET = 10.0


def candidate(name, returns, p99, first=1000, trained=False):
    """A setting with one episode a return; None is an invalid one."""
    rows = [
        {
            "seed": first + i,
            "return": value,
            "valid": value is not None,
            "plan_ms": {"p50": p99 / 2, "p95": p99, "p99": p99} if p99 else None,
        }
        for i, value in enumerate(returns)
    ]
    setting = Setting(name, {}, {}, {} if trained else {"horizon": len(name)}, TrainConfig())
    return Candidate(setting, rows)


GOOD, WORSE = [100.0, 110, 120, 130], [50.0, 61, 69, 80]


def statuses(*candidates, number=2):
    stop_after_round(candidates, BUDGET, number)
    return {c.name: c.status for c in candidates}


def test_worse_and_slower_is_stopped():
    good, worse = candidate("good", GOOD, 2.0), candidate("worse", WORSE, 3.0)
    assert statuses(good, worse) == {"good": "running", "worse": "stopped"}
    stopped = worse.stopped or {}
    assert stopped["against"] == "good" and stopped["round"] == 2
    assert stopped["pairs"] == 4 and stopped["difference"] == pytest.approx(-50)


def test_worse_but_faster_goes_on():
    found = statuses(candidate("good", GOOD, 2.0), candidate("worse", WORSE, 1.0))
    assert set(found.values()) == {"running"}


def test_two_pairs_stop_nothing():
    found = statuses(candidate("good", GOOD[:2], 2.0), candidate("worse", [50.0, 60], 3.0))
    assert set(found.values()) == {"running"}


def test_invalid_episodes_are_no_pairs():
    worse = candidate("worse", [50.0, None, 69, None], 3.0)
    assert statuses(candidate("good", GOOD, 2.0), worse)["worse"] == "running"


def test_differences_are_paired():
    """The luck of the start is larger than the difference, and the same for both."""
    good = candidate("good", [100.0, 500, 900, 300], 2.0)
    worse = candidate("worse", [90.0, 491, 889, 290], 2.0)
    assert statuses(good, worse)["worse"] == "stopped"


def test_an_unresolved_difference_stops_nothing():
    found = statuses(candidate("good", GOOD, 2.0), candidate("worse", [20.0, 120, 60, 125], 3.0))
    assert set(found.values()) == {"running"}


def test_over_the_budget_is_stopped_and_stops_no_other():
    found = statuses(
        candidate("slow", [x + 500 for x in GOOD], 11.0), candidate("worse", WORSE, 11.0),
        candidate("good", GOOD, 10.0), number=1,
    )  # fmt: skip
    assert found == {"slow": "over budget", "worse": "over budget", "good": "running"}


def test_unknown_latency_is_over_the_budget():
    assert statuses(candidate("good", GOOD, None)) == {"good": "over budget"}


def test_as_trained_is_never_stopped():
    good, trained = candidate("good", GOOD, 2.0), candidate("t", WORSE, 50.0, trained=True)
    assert statuses(good, trained)["t"] == "running"


def test_latency_is_the_median_over_episodes():
    found = candidate("good", GOOD, 2.0)
    found.rows[0]["plan_ms"]["p99"] = 400.0
    assert found.milliseconds() == 2.0
    assert math.isnan(candidate("none", [], 2.0).milliseconds())


def chosen(*candidates):
    finish(candidates)
    found = recommend(candidates, BUDGET)
    return found and found.chosen.name


def test_the_best_within_the_budget():
    slow = candidate("slow", [x + 500 for x in GOOD], 11.0)
    assert chosen(slow, candidate("good", GOOD, 5.0), candidate("worse", WORSE, 1.0)) == "good"
    assert chosen(slow) is None


def test_ties_go_to_the_faster():
    tied = candidate("tied", [101.0, 108, 121, 128], 1.0)
    assert chosen(candidate("good", GOOD, 5.0), tied) == "tied"


def test_a_resolved_difference_is_no_tie_however_small():
    lower = candidate("lower", [99.0, 108.9, 119.1, 129], 1.0)
    assert chosen(candidate("good", GOOD, 5.0), lower) == "good"


def test_few_episodes_are_no_licence_for_a_far_worse_mean():
    noisy = candidate("noisy", [10.0, 150, 20, 160], 1.0)
    good = candidate("good", GOOD, 5.0)
    finish([good, noisy])
    found = recommend([good, noisy], BUDGET)
    assert found.chosen is good and found.unresolved == [noisy]


def test_negative_returns():
    good = candidate("good", [-x for x in WORSE], 5.0)
    assert chosen(good, candidate("worse", [-x for x in GOOD], 1.0)) == "good"


def test_stopped_settings_are_not_recommended():
    good, other = candidate("good", GOOD, 5.0), candidate("other", GOOD, 1.0)
    other.status = "stopped"
    assert chosen(good, other) == "good"
