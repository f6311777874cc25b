"""The guard: whatever comes in, what goes out is finite, bounded and what the state says."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agents.deployment.contract import ActionLimits
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.safety import Guard
from agents.runs.config import ConfigError
from tests.soak.safety_soak import contract, soak_guard

PLAIN = replace(contract(2, None), action=ActionLimits((-1.0, -1.0), (1.0, 1.0)))
GOOD, ACTION = np.zeros(5), np.array([0.5, -0.25], np.float32)


def tick(guard, obs=GOOD, action=ACTION, **given):
    """One tick: faults, what the robot gets, the state after it."""
    faults = guard.observe(obs, now=given.pop("now", 100.0), **given)
    answer, done = guard.filter(None if faults else action)
    return faults, answer.tolist(), guard.state, done


def test_a_good_tick_passes_unchanged():
    guard = Guard(PLAIN)
    assert tick(guard) == ([], [0.5, -0.25], "ok", [])
    assert guard.counters == {"ticks": 1, "bad": 0}


@pytest.mark.parametrize(
    ("obs", "given", "fault"),
    [
        (None, {}, "missing"),
        (np.zeros(4), {}, "shape"),
        (np.zeros((1, 5)), {}, "shape"),
        (np.zeros(5, int), {}, "dtype"),
        (np.zeros(5, ">f4"), {}, "dtype"),
        (["0"] * 5, {}, "dtype"),
        ([[1.0], [1.0, 2.0]], {}, "dtype"),
        (np.full(5, np.nan), {}, "finite"),
        (np.full(5, 1e39), {}, "finite"),  # finite in float64, not in the model's float32
        (np.full(5, 2.1), {}, "range"),
        (GOOD, {"stamp": 99.9}, "stale"),
        (GOOD, {"stamp": 101.0}, "future"),
        (GOOD, {"stamp": np.nan}, "stamp"),
        (GOOD, {"stamp": "noon"}, "stamp"),
        (GOOD, {"sequence": 7}, "duplicated"),
        (GOOD, {"sequence": 6}, "reordered"),
        (GOOD, {"sequence": 10**400}, "reordered"),
        (GOOD, {"sequence": 7.5}, "reordered"),
    ],
)
def test_each_fault_is_found_by_name_and_answered_by_the_last_action(obs, given, fault):
    guard = Guard(PLAIN)
    tick(guard, sequence=7)
    assert tick(guard, obs, **given) == ([fault], [0.5, -0.25], "hold", ["hold"])
    assert guard.counters[f"fault/{fault}"] == 1 and guard.counters["bad"] == 1
    assert guard.faults == (fault,) and fault in guard.detail


def test_without_numbers_times_have_to_rise():
    guard = Guard(PLAIN)
    stamps = (99.99, 99.99, 99.98, 99.995)
    assert [tick(guard, stamp=s)[0] for s in stamps] == [[], ["duplicated"], ["reordered"], []]


def test_hold_then_fallback_then_a_stop_that_only_a_person_ends():
    guard = Guard(PLAIN, SafetyConfig(stop_after=5))
    assert tick(guard, None)[1] == [0.0, 0.0], "nothing to hold yet"
    tick(guard)
    bad = [tick(guard, None) for _ in range(6)]
    assert [state for _, _, state, _ in bad] == [*["hold"] * 2, *["fallback"] * 2, *["stopped"] * 2]
    assert [answer for _, answer, _, _ in bad] == [[0.5, -0.25]] * 2 + [[0.0, 0.0]] * 4
    assert tick(guard) == ([], [0.0, 0.0], "stopped", ["stop"])
    guard.reset()
    assert tick(guard)[2] == "stopped", "a new episode is no reason to go on"
    guard.rearm()
    assert tick(guard) == ([], [0.5, -0.25], "ok", [])
    counted = {k: guard.counters[k] for k in ("hold", "fallback", "stop", "stops", "rearm")}
    assert counted == {"hold": 3, "fallback": 2, "stop": 4, "stops": 1, "rearm": 1}


def test_fallback_is_left_after_some_good_ticks_in_a_row():
    guard = Guard(PLAIN, SafetyConfig(fallback_after=1, stop_after=6, recover_after=2))
    states = [tick(guard, obs)[2] for obs in (None, GOOD, None, GOOD, GOOD, GOOD)]
    assert states == [*["fallback"] * 4, "ok", "ok"]
    flapping = [tick(guard, obs)[2] for obs in (None, GOOD) * 6]
    assert flapping[-2:] == ["stopped", "stopped"], "good ticks between bad ones are no recovery"


@pytest.mark.parametrize(
    ("fallback", "answer"), [("zero", [0, 0]), ("safe", [0.5, 0.5]), ("prior", [0.25, 1])]
)
def test_what_the_fallback_plays(fallback, answer):
    limits = ActionLimits((-1.0, -1.0), (1.0, 1.0), safe=(0.5, 0.5))
    config = SafetyConfig(fallback=fallback, fallback_after=1)
    guard = Guard(replace(PLAIN, action=limits), config)
    guard.observe(None)
    assert guard.filter(None, np.array([0.25, 7.0]))[0].tolist() == answer
    guard.observe(None)  # a prior that is none itself is no fallback
    assert np.isfinite(guard.filter(None, np.array([np.nan, 0.0]))[0]).all()


@pytest.mark.parametrize("action", [None, [np.nan, 0], [0.5], "left", [1j, 0], [1e39, 0], object()])
def test_an_action_that_is_none_makes_a_bad_tick(action):
    guard = Guard(PLAIN)
    tick(guard)
    assert tick(guard, action=action)[1:] == ([0.5, -0.25], "hold", ["hold"])
    assert guard.faults == ("action",)


def test_limits_hold_in_float32_too():
    """0.1 is larger as float32 than as float64: rounding has to go inwards."""
    limits = ActionLimits((-0.1, -1e300), (0.1, 1e300))
    guard = Guard(replace(PLAIN, action=limits))
    guard.observe(GOOD)
    answer, done = guard.filter(np.array([1.0, 3e38]))
    assert done == ["clip"] and float(answer[0]) <= 0.1 and np.isfinite(answer).all()


def test_an_action_moves_no_faster_than_its_rate_whoever_acts():
    limits = ActionLimits((-1.0, -1.0), (1.0, 1.0), rate=(5.0, None))
    guard = Guard(replace(PLAIN, action=limits), SafetyConfig(stop_after=4))
    path = [tick(guard, action=[1, 1])[1][0] for _ in range(3)]
    assert path == pytest.approx([0.1, 0.2, 0.3])
    down = [tick(guard, None)[1] for _ in range(5)]
    assert [a[0] for a in down] == pytest.approx([0.3, 0.3, 0.2, 0.1, 0.0], abs=1e-6)
    assert [a[1] for a in down] == [1, 1, 0, 0, 0]
    assert guard.counters["rate"] >= 3 + 2


def test_what_a_robot_is_known_to_do_can_be_tolerated():
    guard = Guard(PLAIN, SafetyConfig(tolerate="duplicated, range"))
    tick(guard, sequence=1)
    assert tick(guard, sequence=1)[2] == "ok"
    assert guard.faults == ("duplicated",) and guard.counters["fault/duplicated"] == 1
    assert tick(guard, np.full(5, 1e6), sequence=2)[2] == "ok"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fallback": "pray"}, "safety.fallback must be one of zero, prior, safe"),
        ({"surprise": "ignore"}, "safety.surprise must be one of"),
        ({"fallback_after": 0}, r"safety.fallback_after must lie in \[1, "),
        ({"stop_after": 2}, "safety.stop_after must be at least fallback_after=3"),
        ({"action_rate": -1.0}, r"safety.action_rate must lie in \[0, "),
        ({"max_obs_age_ms": float("nan")}, r"safety.max_obs_age_ms must lie in \[0, "),
        ({"tolerate": "finite"}, "safety.tolerate knows range, .* not finite"),
    ],
)
def test_settings_that_protect_nothing_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        SafetyConfig(**changes)


def test_changes_of_state_are_logged_and_single_ticks_are_not(caplog):
    guard = Guard(PLAIN)
    with caplog.at_level(logging.INFO, "latentmpc.safety"):
        for _ in range(12):
            tick(guard, None)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3 and said[2].startswith("stopped: 10 bad ticks")
    assert guard.counters["bad"] == 12


def test_its_state_can_be_taken_out_and_put_back():
    one, other = (Guard(PLAIN, SafetyConfig(action_rate=9.0)) for _ in range(2))
    seen = [GOOD, None, None, None, GOOD, GOOD, GOOD, GOOD, None]
    for sequence, obs in enumerate(seen[:4]):
        tick(one, obs, sequence=sequence)
    other.set_state(one.get_state())
    for sequence, obs in enumerate(seen[4:], 4):
        assert tick(one, obs, sequence=sequence) == tick(other, obs, sequence=sequence)


SCALARS = st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.complex_numbers()
ARRAYS = hnp.arrays(
    hnp.floating_dtypes() | hnp.integer_dtypes() | hnp.complex_number_dtypes() | st.just(object),
    hnp.array_shapes(min_dims=0, max_dims=2, max_side=6),
)
ANYTHING = SCALARS | ARRAYS | st.lists(st.floats(), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    ticks=st.lists(st.tuples(ANYTHING, SCALARS, SCALARS, ANYTHING, ANYTHING), max_size=20),
    rate=st.sampled_from([None, 0.5, 1e-6]),
)
def test_no_input_gets_an_unbounded_action_out(ticks, rate):
    """Whatever is handed in as observation, time, number, action or fallback."""
    agreed = contract(3, rate)
    guard, before = Guard(agreed, SafetyConfig(fallback="prior")), np.zeros(3)
    for obs, stamp, sequence, action, fallback in ticks:
        guard.observe(obs, stamp, sequence, 100.0)
        answer, _ = guard.filter(action, fallback)
        assert answer.dtype == np.float32 and np.isfinite(answer).all()
        assert (answer >= agreed.action.low).all() and (answer <= agreed.action.high).all()
        assert (np.abs(answer - before) <= (rate or 1e9) * 0.02 * (1 + 1e-5) + 1e-7).all()
        before = answer.astype(float)


def test_thousands_of_bad_ticks():
    """The soak, shortened: `python -m tests.soak safety` sends 100,000."""
    result = soak_guard(2000, seed=1)
    assert result["violations"] == [] and result["bad"] == 2000
    assert len(result["by_kind"]) == 12
