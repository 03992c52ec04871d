"""Who holds the calls in the window, and when they come back."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.holdings import Holdings, holdings
from airflow_provider_apiusage.usage.hourly import HOUR, Caller, HourlyCount
from airflow_provider_apiusage.usage.model import WINDOW, Completeness, Interval
from tests.usage.evidence import AT, ORG

ERIN = Caller(user="005AA0000000001", family="REST", counted=True, user_name="Erin Loader")
IRIS = Caller(user="005AA0000000002", family="SOAP", counted=True)
PHONE = Caller(user="005AA0000000002", family="REST", counted=False)
AT_HOUR = AT.replace(minute=0)


def made(caller: Caller, hours_ago: int, calls: int) -> HourlyCount:
    """Return calls of the hour that began so many hours before 14:00."""
    return HourlyCount(ORG, AT_HOUR - hours_ago * HOUR, caller, calls)


def test_calls_come_back_in_the_hour_in_which_they_were_made() -> None:
    """What was made at 02:00 leaves between 02:00 and 03:00 of the next day; half of it is back by the larger hour."""
    (erin,) = holdings([made(ERIN, 12, 300), made(ERIN, 2, 900)], at=AT).holders

    assert (erin.name, erin.calls, erin.share) == ("Erin Loader", Interval(1_200, 1_200), 1.0)
    assert [(each.start, each.calls.high) for each in erin.returns] == [
        (AT_HOUR + 12 * HOUR, 300),
        (AT_HOUR + 22 * HOUR, 900),
    ]
    assert erin.back_by(0.25) == AT_HOUR + 13 * HOUR
    assert erin.back_by(0.5) == erin.back_by(1.0) == AT_HOUR + 23 * HOUR
    assert erin.as_dict()["half_back_at"] == "2026-10-08T13:00:00Z"


def test_the_hours_that_the_window_cuts_are_bounds() -> None:
    """Of the hour 24 hours ago and of the running one, none or all calls may be inside."""
    (erin,) = holdings([made(ERIN, 24, 10), made(ERIN, 0, 7)], at=AT).holders

    assert erin.calls == Interval(0, 17)
    assert [each.calls for each in erin.returns] == [Interval(0, 10), Interval(0, 7)]


def test_the_largest_holder_comes_first_and_the_rest_is_told() -> None:
    """With one entry asked for, the others are a number; what does not count is held by nobody."""
    found = holdings([made(ERIN, 3, 10), made(IRIS, 4, 30), made(PHONE, 4, 500)], at=AT, top=1)

    assert [holder.key for holder in found.holders] == [IRIS.user]
    assert found.attribution.others.calls == Interval(10, 10)
    assert found.attribution.uncounted == Interval(500, 500)


def test_hours_without_a_log_are_told() -> None:
    """Who is not in a log yet holds an unknown number of calls, not none."""
    found = holdings([], at=AT, completeness={AT_HOUR - HOUR: Completeness.SETTLED})

    assert found.holders == ()
    assert (found.attribution.hours, found.attribution.hours_without_data) == (25, 24)


@st.composite
def some_counts(draw: st.DrawFn) -> list[HourlyCount]:
    """Draw hourly counts of the last 30 hours."""
    drawn = draw(
        st.lists(st.tuples(st.sampled_from((ERIN, IRIS, PHONE)), st.integers(-1, 30), st.integers(0, 50)), max_size=30)
    )
    return [made(*each) for each in drawn]


@given(some_counts(), st.integers(0, 3_600))
@settings(max_examples=150, deadline=None)
def test_what_comes_back_is_what_is_held(counts: list[HourlyCount], seconds: int) -> None:
    """The returns of a holder add up to its calls, lie within the next 24 hours, and half comes before all."""
    at = AT_HOUR + timedelta(seconds=seconds)
    found: Holdings = holdings(counts, at=at)

    for holder in found.holders:
        assert sum(each.calls.low for each in holder.returns) == holder.calls.low
        assert sum(each.calls.high or 0 for each in holder.returns) == holder.calls.high
        starts: list[datetime] = [each.start for each in holder.returns]
        assert starts == sorted(set(starts))
        assert all(at - HOUR < start < at + WINDOW for start in starts)
        half, whole = holder.back_by(0.5), holder.back_by(1.0)
        assert half is not None
        assert whole is not None
        assert half <= whole
