"""Windows, days, and when calls leave."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.curve import Curve, Statement
from airflow_provider_apiusage.usage.model import WINDOW, Coverage, Interval, ReadingSource
from airflow_provider_apiusage.usage.window import (
    RELEASE_LAG,
    TICK,
    DayTotal,
    consumption,
    day_span,
    day_totals,
    earliest_expiry,
    expired_by,
    iso_utc,
    latest_expiry,
    statements_of_daily_counts,
    statements_of_reading,
    statements_of_total,
    utc_day,
    window_tail,
)
from tests.usage.evidence import AT, TODAY, YESTERDAY, counted, reading

MIDNIGHT = datetime(2026, 10, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)


def history(*calls: datetime) -> Curve:
    """Return the curve of calls known one by one, and of nothing else within three days around ``AT``."""
    edges = sorted({AT - 2 * WINDOW, AT + WINDOW, *(edge for call in calls for edge in (call - TICK, call))})
    return Curve(
        Statement(start, end, n, n, "known")
        for start, end in pairwise(edges)
        for n in [sum(start < call <= end for call in calls)]
    )


def test_a_call_at_midnight_belongs_to_the_new_day() -> None:
    """A day holds its own 00:00:00 and leaves the next one to the next day."""
    curve = history(MIDNIGHT)

    assert utc_day(MIDNIGHT) == TODAY
    assert curve.bounds(*day_span(TODAY)) == Interval(1, 1)
    assert curve.bounds(*day_span(YESTERDAY)) == Interval(0, 0)
    assert day_span(YESTERDAY)[1] == day_span(TODAY)[0] == MIDNIGHT - TICK


def test_a_day_is_utc_whatever_the_zone_of_the_instant() -> None:
    """Half past one in the morning at UTC+2 is still the UTC day before."""
    assert utc_day(datetime(2026, 10, 7, 1, 30, tzinfo=timezone(2 * HOUR))) == YESTERDAY
    assert iso_utc(datetime(2026, 10, 7, 1, 30, tzinfo=timezone(2 * HOUR))) == "2026-10-06T23:30:00Z"


def test_a_naive_instant_has_no_day() -> None:
    """Without a zone nobody knows the UTC day."""
    with pytest.raises(ValueError, match="time zone"):
        utc_day(datetime(2026, 10, 7))  # noqa: DTZ001 - what is tested


def test_a_call_made_exactly_24_hours_ago_has_left() -> None:
    """The window is open at its start: a call at exactly t - 24 h is out at t and was in one tick earlier."""
    curve = history(AT - WINDOW)

    assert curve.bounds(AT - WINDOW, AT) == Interval(0, 0)
    assert curve.bounds(AT - TICK - WINDOW, AT - TICK) == Interval(1, 1)


def test_the_tail_lies_between_the_window_and_midnight() -> None:
    """The window tail holds calls after t - 24 h and before today's 00:00:00, both edges excluded."""
    inside = (AT - WINDOW + TICK, MIDNIGHT - TICK)
    curve = history(AT - WINDOW, *inside, MIDNIGHT)

    assert window_tail(curve, AT) == Interval(2, 2)


def test_the_tail_of_the_last_instant_of_a_day_is_empty() -> None:
    """One tick before midnight the whole window is today."""
    assert window_tail(Curve(), MIDNIGHT + WINDOW - TICK) == Interval(0, 0)


def test_a_reading_claims_no_more_than_salesforce_promises() -> None:
    """A reading bounds a span five minutes longer from below and one five minutes shorter from above."""
    at_least, at_most = statements_of_reading(reading(25_000))

    late = timedelta(minutes=5)
    assert (at_least.start, at_least.end) == (AT - WINDOW - late, AT)
    assert (at_least.low, at_least.high) == (25_000, None)
    assert (at_most.start, at_most.end, at_most.low, at_most.high) == (AT - WINDOW, AT - late, 0, 25_000)
    assert at_least.source == "limits reading of 2026-10-07T14:30:00Z (25,000 used)"


def test_calls_released_on_the_hour_stretch_only_the_lower_bound() -> None:
    """If expired calls may stay counted for an hour, the calls counted may be an hour older."""
    at_least, at_most = statements_of_reading(reading(25_000), timedelta(0), release_lag=RELEASE_LAG)

    assert at_least.start == AT - WINDOW - RELEASE_LAG
    assert (at_most.start, at_most.end) == (AT - WINDOW, AT)


def test_an_exhausted_allowance_bounds_from_below_only() -> None:
    """A refused call proves that the limit was reached, not that a soft limit was not passed."""
    (only,) = statements_of_reading(reading(100_000, source=ReadingSource.EXHAUSTED))

    assert (only.low, only.high) == (100_000, None)


@pytest.mark.parametrize("used", [None, -3])
def test_an_unknown_reading_says_nothing(used: int | None) -> None:
    """Neither an unknown nor an impossible figure becomes a statement."""
    assert statements_of_reading(reading(used)) == ()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_late_figures_never_contradict(data: st.DataObject) -> None:
    """However late each call is counted and dropped, within five minutes, readings and day counts agree."""
    minute = timedelta(minutes=1)
    made = data.draw(st.lists(st.integers(-2880, 0), max_size=40))
    calls = [
        (AT + call * minute, data.draw(st.integers(0, 5)) * minute, data.draw(st.integers(0, 5)) * minute)
        for call in made
    ]

    def used(at: datetime) -> int:
        return sum(call + shown <= at < call + WINDOW + dropped for call, shown, dropped in calls)

    statements: list[Statement] = []
    for offset in data.draw(st.lists(st.integers(-1440, 0), max_size=8)):
        at = AT + offset * minute
        statements += statements_of_reading(reading(used(at), at))
    for day in (YESTERDAY, TODAY):
        shown = sum(utc_day(call) == day and call + lag <= AT for call, lag, _ in calls)
        statements += statements_of_daily_counts([counted(day, shown)])
    curve = Curve(statements)

    assert curve.conflict() is None
    start, end = sorted(AT + data.draw(st.integers(-2880, 0)) * minute for _ in range(2))
    assert sum(start < call <= end for call, _, _ in calls) in curve.bounds(start, end)


def test_a_finished_day_of_a_source_that_counts_all_is_exact() -> None:
    """Users are added up, and the day's number of calls is known."""
    counts = [counted(YESTERDAY, 12_000), counted(YESTERDAY, 8_000, user="005AA0000000002")]

    (only,) = statements_of_daily_counts(counts)
    assert (only.start, only.end) == day_span(YESTERDAY)
    assert (only.low, only.high) == (20_000, 20_000)
    assert only.source == "report of 2026-10-07T14:30:00Z (20,000 calls on 2026-10-06)"


def test_a_running_day_is_counted_up_to_its_reading() -> None:
    """Today's count bounds the calls until it was read, and five minutes earlier from above."""
    at_least, at_most = statements_of_daily_counts([counted(TODAY, 15_000)])

    assert (at_least.start, at_least.end, at_least.low, at_least.high) == (MIDNIGHT - TICK, AT, 15_000, None)
    assert (at_most.end, at_most.low, at_most.high) == (AT - timedelta(minutes=5), 0, 15_000)
    (exact,) = statements_of_daily_counts([counted(TODAY, 15_000)], timedelta(0))
    assert (exact.end, exact.low, exact.high) == (AT, 15_000, 15_000)


def test_a_soap_report_bounds_a_day_from_below() -> None:
    """A source that is blind to some calls never limits how many there were."""
    (only,) = statements_of_daily_counts([counted(YESTERDAY, 20_000, coverage=Coverage.SOAP)])

    assert (only.low, only.high) == (20_000, None)


def test_a_day_read_within_five_minutes_of_its_start_has_no_upper_bound() -> None:
    """A count read so early need not hold any call yet."""
    just_after = MIDNIGHT + timedelta(minutes=2)

    (only,) = statements_of_daily_counts([counted(TODAY, 3, observed_at=just_after)])
    assert (only.end, only.low, only.high) == (just_after, 3, None)


def test_a_day_read_before_it_began_proves_nothing() -> None:
    """A count of tomorrow is no evidence."""
    assert statements_of_total(DayTotal(date(2026, 10, 9), 5, Coverage.ALL, "csv", AT)) == ()


def test_totals_keep_observations_apart() -> None:
    """The same day read twice, or by two sources, is two totals; a mix of coverages is a lower bound."""
    later = AT + HOUR
    totals = day_totals(
        [
            counted(TODAY, 5),
            counted(TODAY, 6, coverage=Coverage.SOAP),
            counted(TODAY, 20, observed_at=later),
            counted(TODAY, 21, observed_at=later, source="csv"),
        ]
    )

    assert [(t.calls, t.coverage, t.source, t.observed_at) for t in totals] == [
        (11, Coverage.SOAP, "report", AT),
        (21, Coverage.ALL, "csv", later),
        (20, Coverage.ALL, "report", later),
    ]
    assert not totals[0].finished


@st.composite
def known_days(draw: st.DrawFn) -> Curve:
    """Draw a curve of statements that hold for some history of calls on whole hours around the window."""
    calls = draw(st.lists(st.integers(-30, 2), max_size=12))
    statements = []
    for start, length in draw(st.lists(st.tuples(st.integers(-30, 1), st.integers(1, 12)), max_size=5)):
        exact = sum(start < call <= start + length for call in calls)
        low = max(0, exact - draw(st.integers(0, 2)))
        high = draw(st.sampled_from([None, exact, exact + 1]))
        statements.append(Statement(AT + start * HOUR, AT + (start + length) * HOUR, low, high, "drawn"))
    return Curve(statements)


@given(known_days(), st.integers(1, 8))
@settings(max_examples=120, deadline=None)
def test_expiries_are_the_first_instants_at_which_they_hold(curve: Curve, calls: int) -> None:
    """Searching every hour edge, and one tick beside it, finds no earlier instant than the two expiries."""
    instants = sorted({AT + hour * HOUR + step for hour in range(25) for step in (timedelta(0), TICK)})
    instants = [instant for instant in instants if instant <= AT + WINDOW]
    whole = expired_by(curve, AT, AT + WINDOW).high
    if whole is not None and whole < calls:
        assert earliest_expiry(curve, AT, calls) is None
        assert latest_expiry(curve, AT, calls) is None
        return

    def can(t: datetime) -> bool:
        high = expired_by(curve, AT, t).high
        return high is None or high >= calls

    assert earliest_expiry(curve, AT, calls) == next(t for t in instants if can(t))
    must = (t for t in instants if expired_by(curve, AT, t).low >= calls)
    assert latest_expiry(curve, AT, calls) == next(must, AT + WINDOW)


def test_known_calls_expire_24_hours_after_they_were_made() -> None:
    """With every call known, the second call's expiry is the same at the earliest and at the latest."""
    first, second = AT - timedelta(hours=20), AT - timedelta(hours=3)
    curve = history(first, second)

    for expiry in (earliest_expiry, latest_expiry):
        assert expiry(curve, AT, 1) == first + WINDOW
        assert expiry(curve, AT, 2) == second + WINDOW
        assert expiry(curve, AT, 3) is None


def test_calls_that_need_not_leave_are_free_at_once() -> None:
    """Waiting for no calls takes no time."""
    assert earliest_expiry(Curve(), AT, 0) == latest_expiry(Curve(), AT, -5) == AT


def test_nothing_known_means_any_time_within_24_hours() -> None:
    """Without evidence calls can expire from the next tick on, and all have by 24 hours later."""
    assert earliest_expiry(Curve(), AT, 1) == AT + TICK
    assert latest_expiry(Curve(), AT, 1) == AT + WINDOW


@given(
    st.lists(st.integers(-4 * 24 * 60, 0), max_size=60),
    st.integers(0, 24 * 60),
)
@settings(max_examples=150, deadline=None)
def test_what_was_spent_is_the_change_of_the_figure_plus_what_expired(made: list[int], minutes: int) -> None:
    """The identity, on calls known one by one: of two figures any time apart, and of two 24 hours apart as well."""
    calls = [AT + n * timedelta(minutes=1) for n in made]
    edges = sorted({AT - 5 * WINDOW, AT + WINDOW, *(edge for call in calls for edge in (call - TICK, call))})
    curve = Curve(
        Statement(start, end, n, n, "known")
        for start, end in pairwise(edges)
        for n in [sum(start < call <= end for call in calls)]
    )

    def used(at: datetime) -> int:
        return sum(at - WINDOW < call <= at for call in calls)

    for earlier in (AT - timedelta(minutes=minutes), AT - WINDOW):
        change = used(AT) - used(earlier)
        expired = expired_by(curve, earlier, AT)
        spent = change + expired.low
        assert expired.exact
        assert consumption(curve, earlier, AT) == Interval(spent, spent)


def test_expiry_does_not_look_back() -> None:
    """Calls that left before the instant asked about are another question."""
    with pytest.raises(ValueError, match="before it starts"):
        expired_by(Curve(), AT, AT - TICK)
