"""The pause of a running load, as a decision: hysteresis, patience, and what nobody knows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.quota.checkpoint import ASK_AFTER, STALE, Marks, Step, step
from tests.support.quota import minutes

MARKS = Marks(100, 200)
NOW_TOLD = timedelta(0)
HOUR = minutes(60)
TICK = timedelta(microseconds=1)


def running(remaining: int | None, age: timedelta | None = NOW_TOLD, marks: Marks | None = MARKS) -> Step:
    """Return what a load that runs does."""
    return step(remaining, age, marks, waited=None, patience=HOUR)


def waiting(remaining: int | None, age: timedelta | None = NOW_TOLD, waited: timedelta = ASK_AFTER) -> Step:
    """Return what a load that waits does."""
    return step(remaining, age, MARKS, waited=waited, patience=HOUR)


def test_it_stops_below_the_low_mark_and_goes_on_from_the_high_one() -> None:
    """In between, who runs goes on, and who waits waits on."""
    assert [running(left) for left in (99, 100, 150)] == [Step.WAIT, Step.GO, Step.GO]
    assert [waiting(left) for left in (100, 199, 200)] == [Step.WAIT, Step.WAIT, Step.GO]


def test_what_is_not_known_stops_nobody_and_lets_nobody_go() -> None:
    """No reading, none of what remains, no limit to take a share of, or one that is too old."""
    assert running(None) is running(99, age=None) is running(99, marks=None) is running(99, STALE + TICK) is Step.GO
    assert running(99, STALE) is Step.WAIT
    assert waiting(None) is Step.WAIT
    assert waiting(None, age=None) is Step.ASK


def test_it_asks_when_nobody_has_told_anything_for_five_minutes() -> None:
    """Not before: others may tell for no call."""
    assert [waiting(99, age) for age in (ASK_AFTER - TICK, ASK_AFTER)] == [Step.WAIT, Step.ASK]


def test_patience_ends() -> None:
    """At exactly that time; if enough is left at that moment, that is why it goes on."""
    assert [waiting(99, waited=waited) for waited in (HOUR - TICK, HOUR)] == [Step.WAIT, Step.GIVE_UP]
    assert waiting(200, waited=HOUR) is Step.GO


def test_marks_the_wrong_way_round_are_refused() -> None:
    """The load would stop and go at each look; equal marks are fine."""
    with pytest.raises(ValueError, match="high mark of 99 calls must not be below the low mark of 100"):
        Marks(100, 99)
    assert Marks(100, 100).high == 100


@given(st.lists(st.integers(0, 300), min_size=1, max_size=100))
def test_between_two_changes_of_mind_lies_the_whole_gap(course: list[int]) -> None:
    """Whatever the usage does, a load stops only after it fell below the low mark and goes only from the high one."""
    waited: timedelta | None = None
    for left in course:
        before = waited
        what = step(left, NOW_TOLD, MARKS, waited=waited, patience=HOUR)
        waited = None if what is Step.GO else minutes(1)
        if before is None and waited is not None:
            assert left < MARKS.low
        if before is not None and waited is None:
            assert left >= MARKS.high
