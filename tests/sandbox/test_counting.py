"""The counting core against brute force."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.sandbox.ledger import Caller, UsageLedger, to_instant, to_second
from airflow_provider_apiusage.sandbox.tally import DAY, HOUR, Tally, window_start
from airflow_provider_apiusage.sandbox.traffic import Traffic, hour_of_calls

START = to_second(datetime(2026, 10, 5, tzinfo=UTC))
CALLERS = (
    Caller("005A", "0H4A", "elt", "REST"),
    Caller("005B", "", "erp", "SOAP"),
    Caller("005B", "", "erp", "SOAP", "login", counted=False),
)
seconds = st.one_of(
    st.integers(START, START + 3 * DAY),
    st.integers(0, 72).map(lambda hour: START + hour * HOUR),
    st.integers(0, 72).map(lambda hour: START + hour * HOUR + 1),
)
calls = st.lists(st.tuples(seconds, st.sampled_from(CALLERS), st.integers(1, 50)), max_size=40)
buckets = st.sampled_from([1, 15 * 60, HOUR])


def ledger_of(made: list[tuple[int, Caller, int]]) -> UsageLedger:
    ledger = UsageLedger()
    for second, caller, count in made:
        ledger.record(to_instant(second), caller, count)
    return ledger


@given(calls, seconds, st.integers(0, 2 * DAY))
def test_a_tally_sums_any_span_as_a_plain_sum_does(made: list[tuple[int, Caller, int]], low: int, span: int) -> None:
    """Sums over any half-open span of seconds are those of adding up one by one."""
    tally = Tally()
    for second, _, count in made:
        tally.add(second, count)

    expected = sum(count for second, _, count in made if low < second <= low + span)

    assert expected == tally.between(low, low + span)
    assert tally.at_most(low, low + span) >= expected


@given(calls, seconds, buckets)
def test_rolling_usage_counts_what_is_still_in_the_window(
    made: list[tuple[int, Caller, int]], now: int, bucket: int
) -> None:
    """A counted call is in the window until the first bucket mark at which it is 24 hours old."""

    def leaves(second: int) -> int:
        mark = second + DAY
        while mark % bucket:
            mark += 1
        return mark

    expected = sum(count for second, caller, count in made if caller.counted and second <= now < leaves(second))

    assert expected == ledger_of(made).rolling(to_instant(now), timedelta(seconds=bucket))


@pytest.mark.parametrize(("age", "expected"), [(DAY, 0), (DAY - 1, 1), (0, 1), (-1, 0)])
def test_the_window_is_open_at_its_start_and_closed_at_its_end(age: int, expected: int) -> None:
    """A call exactly 24 hours old has left; one made this second is in."""
    ledger = ledger_of([(START, CALLERS[0], 1)])

    assert expected == ledger.rolling(to_instant(START + age))


@pytest.mark.parametrize(("at", "expected"), [("12:36:00", 1), ("12:59:59", 1), ("13:00:00", 0)])
def test_a_bucket_leaves_when_its_youngest_call_is_a_day_old(at: str, expected: int) -> None:
    """With hourly buckets a call of 12:36 leaves at 13:00:00 the next day, not earlier."""
    made = datetime(2026, 10, 6, 12, 36, tzinfo=UTC)
    ledger = UsageLedger()
    ledger.record(made, CALLERS[0])
    instant = datetime.fromisoformat(f"2026-10-07T{at}+00:00")

    assert expected == ledger.rolling(instant, timedelta(hours=1))


@given(calls, seconds, buckets, st.integers(0, 30 * HOUR))
def test_the_expiry_curve_is_what_rolling_usage_loses(
    made: list[tuple[int, Caller, int]], now: int, bucket: int, ahead: int
) -> None:
    """Without new calls, rolling usage later is rolling usage now less what the curve says has left."""
    size, past = timedelta(seconds=bucket), [one for one in made if one[0] <= now]
    ledger = ledger_of(past)
    curve = ledger.expiry(to_instant(now), timedelta(seconds=ahead), size)
    left = curve[-1].cumulative if curve else 0

    assert ledger.rolling(to_instant(now), size) - left == ledger.rolling(to_instant(now + ahead), size)
    assert all(now < to_second(step.at) <= now + ahead for step in curve)
    assert sorted(curve, key=lambda step: step.at) == curve


@given(calls)
def test_hours_and_days_add_up_to_the_calls(made: list[tuple[int, Caller, int]]) -> None:
    """Hourly and daily counts are sums of calls by UTC hour and day, for each caller."""
    hours: Counter[tuple[int, Caller]] = Counter()
    days: Counter[tuple[int, Caller]] = Counter()
    for second, caller, count in made:
        hours[second // HOUR * HOUR, caller] += count
        days[second // DAY * DAY, caller] += count
    ledger = ledger_of(made)

    assert hours == Counter({(to_second(one.start), one.caller): one.count for one in ledger.hourly()})
    assert days == Counter({(to_second(one.start), one.caller): one.count for one in ledger.daily()})
    assert ledger.total_counted == sum(count for _, caller, count in made if caller.counted)


@given(calls, seconds)
def test_rolling_usage_of_apps_is_part_of_the_whole(made: list[tuple[int, Caller, int]], now: int) -> None:
    """The connected apps' shares add up to rolling usage."""
    ledger = ledger_of(made)

    assert ledger.rolling(to_instant(now)) == sum(ledger.rolling_by_app(to_instant(now), app) for app in ("0H4A", ""))


def test_old_calls_are_forgotten_but_stay_in_the_total() -> None:
    """A ledger that runs for a month keeps ten days of calls, and a true total."""
    ledger = UsageLedger()
    for day in range(30):
        ledger.record(to_instant(START + day * DAY), CALLERS[0], 10)

    assert ledger.total_counted == 300
    assert len(ledger.daily()) == 11
    assert ledger.rolling(to_instant(START + 29 * DAY)) == 10


def test_a_call_cannot_be_unmade() -> None:
    """Negative counts and naive instants are refused."""
    ledger = UsageLedger()

    with pytest.raises(ValueError, match="unmade"):
        ledger.record(to_instant(START), CALLERS[0], -1)
    with pytest.raises(ValueError, match="time zone"):
        ledger.record(datetime(2026, 10, 6), CALLERS[0])  # noqa: DTZ001


@settings(max_examples=25)
@given(st.integers(0, 5), st.lists(st.integers(1, 9_000), min_size=1, max_size=6), st.sampled_from([0, 10, 5_000]))
def test_traffic_does_not_depend_on_how_the_clock_got_there(seed: int, steps: list[int], pace: int) -> None:
    """Many small steps and one long one bring the same calls."""
    small, large = Traffic(seed, START), Traffic(seed, START)
    at, gathered = START, []
    for step in steps:
        at += step
        gathered += small.due(at, pace)

    assert gathered == large.due(at, pace)
    assert all(START < row.second <= at for row in gathered)


def test_a_million_calls_a_day_are_few_rows() -> None:
    """Traffic comes in bursts, so that a week of a million calls a day stays small, and has the pace asked for."""
    wednesday = to_second(datetime(2026, 10, 7, tzinfo=UTC))
    rows = [row for hour in range(24) for row in hour_of_calls(1, wednesday + hour * HOUR, 1_000_000)]

    assert 900_000 < sum(row.number for row in rows if row.caller.counted) < 1_100_000
    assert len(rows) < 20_000


@given(seconds, buckets)
def test_windows_never_move_back(at: int, bucket: int) -> None:
    """The start of the window never moves back, and lags by less than one bucket."""
    assert window_start(at, bucket) <= window_start(at + 1, bucket)
    assert 0 <= at - DAY - window_start(at, bucket) < bucket
