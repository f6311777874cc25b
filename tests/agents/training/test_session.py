"""When something is due, for any sizes of steps, and after a resume as without one."""

from hypothesis import given
from hypothesis import strategies as st

from agents.training.session import Every


@given(st.integers(0, 50), st.lists(st.integers(1, 70), max_size=40), st.data())
def test_due_once_for_multiples_passed_and_the_same_after_a_resume(period, steps, data):
    counts = [sum(steps[: i + 1]) for i in range(len(steps))]
    every, last = Every(period), 0
    taken = [count for count in counts if every.take(count)]
    for count in counts:
        passed = period > 0 and count // period > last // period
        assert (count in taken) == passed
        last = count
    at = data.draw(st.sampled_from([0, *counts]))
    resumed = Every(period, last=at)
    assert [c for c in counts if c > at and resumed.take(c)] == [c for c in taken if c > at]
