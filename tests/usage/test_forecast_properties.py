"""What holds of the forecast of any org, however it was watched."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.forecast import forecast, runs_out_at, when_free
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast
from airflow_provider_apiusage.usage.model import Completeness, Evidence, HourTotal, Interval
from tests.support.random_orgs import random_world
from tests.usage.evidence import AT, ORG, reading

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

RANDOM = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@st.composite
def watched(draw: st.DrawFn, days: float = 6) -> Evidence:
    """Any evidence: jumping figures, gaps, settled and provisional hours, nothing that need fit together."""
    chance = Random(draw(st.integers(0, 2**32)))
    step = draw(st.sampled_from([15, 15, 60, 240])) * MINUTE
    kept = draw(st.sampled_from([1.0, 0.9, 0.3]))
    level = draw(st.sampled_from([0, 3, 2_000, 90_000]))
    count = draw(st.integers(0, int(days * 1440 * MINUTE / step)))
    late = chance.randrange(200) * MINUTE
    readings = tuple(
        reading(chance.randint(level // 2, level), AT - late - step * n)
        for n in range(count, -1, -1)
        if chance.random() < kept
    )
    readings = draw(st.sampled_from([readings, ()]))
    hours = []
    for n in range(draw(st.sampled_from([0, 30, int(days * 24)])), 2, -1):
        if chance.random() < kept:
            low = chance.randint(0, level // 20)
            settled = chance.random() < 0.7
            calls = Interval(low, low + chance.choice((0, 10)) if settled else None)
            state = Completeness.SETTLED if settled else Completeness.PROVISIONAL
            hours.append(HourTotal(AT.replace(minute=0) - HOUR * n, calls, Interval(0, None), state))
    return Evidence(ORG, AT, readings, (), tuple(hours))


def check(made: Forecast) -> None:
    """Hold a forecast against everything that must be so."""
    assert len(made.points) == 97
    assert made.points[0].at == made.at
    assert made.points[-1].at - made.at == timedelta(hours=24)
    before = None
    for point in made.points:
        expired = point.expired
        assert expired.low >= 0
        assert expired.high is None or expired.low <= expired.high
        assert (point.new is None) == (point.used is None) == (made.basis is Basis.NOTHING)
        if point.new is not None and point.used is not None:
            assert 0 <= point.new.low <= point.new.expected <= point.new.high
            assert 0 <= point.used.low <= point.used.expected <= point.used.high
            if expired.high is not None:
                assert point.used.low >= made.used.low - expired.high
            if made.used.high is not None:
                assert point.used.high <= max(
                    made.used.high - expired.low + point.new.high, made.used.low - (expired.high or 0)
                )
            if before is not None and before.new is not None:
                assert point.new.low >= before.new.low
                assert point.new.expected >= before.new.expected
                assert point.new.high >= before.new.high
        if before is not None:
            assert expired.low >= before.expired.low
            assert expired.high is None or (before.expired.high is not None and expired.high >= before.expired.high)
        before = point


@RANDOM
@given(watched())
def test_ranges_are_ranges(told: Evidence) -> None:
    """Ranges are in order, not negative, within what the curve allows; new and expired calls never become fewer."""
    check(forecast(told))


@RANDOM
@given(st.integers(0, 10_000))
def test_of_random_sandbox_orgs_too(seed: int) -> None:
    """The same holds of orgs of the sandbox, and the bounds of what leaves hold for their true calls."""
    world = random_world(seed)
    made = forecast(world.evidence)
    check(made)

    start = made.at - timedelta(hours=24)
    for point in made.points[::8]:
        end = point.at - timedelta(hours=24)
        assert point.expired.low <= world.calls(start - HOUR, end)
        if point.expired.high is not None and end - HOUR > start:
            assert point.expired.high >= min(world.calls(start, end - HOUR), made.used.low)


@RANDOM
@given(watched(), st.randoms())
def test_the_order_of_evidence_does_not_matter(told: Evidence, chance: Random) -> None:
    """Shuffled readings and hours give the same forecast."""
    readings, hours = list(told.readings), list(told.hours)
    chance.shuffle(readings)
    chance.shuffle(hours)

    assert forecast(replace(told, readings=tuple(readings), hours=tuple(hours))) == forecast(told)


@RANDOM
@given(watched(), st.integers(-5, 5))
def test_whole_weeks_later_it_is_the_same(told: Evidence, weeks: int) -> None:
    """Evidence moved by whole weeks moves the forecast by as much and changes no number."""
    by = timedelta(weeks=weeks)
    moved = Evidence(
        ORG,
        told.at + by,
        tuple(replace(r, observed_at=r.observed_at + by, received_at=r.received_at + by) for r in told.readings),
        (),
        tuple(replace(h, starts_at=h.starts_at + by) for h in told.hours),
    )

    here, there = forecast(told), forecast(moved)

    assert [replace(p, at=p.at + by) for p in here.points] == list(there.points)
    assert (here.used, here.basis, here.history) == (there.used, there.basis, there.history)


@RANDOM
@given(watched(), st.integers(0, 120_000), st.integers(0, 50_000))
def test_instants_come_in_order(told: Evidence, calls: int, kept_back: int) -> None:
    """Not before the earliest, then expectedly, then surely; and more calls are never free sooner."""
    made = forecast(told)
    free, more = (when_free(made, n, kept_back=kept_back) for n in (calls, calls + 1_000))
    out = runs_out_at(made, kept_back=kept_back)

    known = [at for at in (free.earliest_at, free.expected_at, free.likely_at) if at is not None]
    assert known == sorted(known)
    for sooner, later in zip(
        (free.earliest_at, free.expected_at, free.likely_at),
        (more.earliest_at, more.expected_at, more.likely_at),
        strict=True,
    ):
        assert later is None or (sooner is not None and sooner <= later)
    assert out.expected_at is None or (out.earliest_at is not None and out.earliest_at <= out.expected_at)
    if made.limit is not None and calls > made.limit - kept_back:
        assert known == []


def steady_with(burst_at: timedelta | None, size: int, gap: tuple[timedelta, timedelta] | None) -> Evidence:
    """11 days of 10 calls a minute, with a burst in one of them, and snapshots missing for a while."""
    readings = []
    for n in range(11 * 96, -1, -1):
        back = 15 * MINUTE * n
        if gap is not None and gap[1] <= back <= gap[0]:
            continue
        burst = size if burst_at is not None and back <= burst_at < back + timedelta(hours=24) else 0
        readings.append(reading(14_400 + burst, AT - back))
    return Evidence(ORG, AT, tuple(readings))


@pytest.mark.parametrize("days_back", [2, 3, 7])
@RANDOM
@given(hour=st.integers(1, 22), size=st.integers(0, 1_000_000))
def test_one_burst_changes_little(days_back: int, hour: int, size: int) -> None:
    """A burst on one earlier day, however large, moves what is expected of the next day by half at most."""
    last = forecast(steady_with(timedelta(days=days_back) - hour * HOUR, size, None)).points[-1].new

    assert last is not None
    assert abs(last.expected - 14_400) < 0.55 * 14_400


@RANDOM
@given(st.integers(4, 8 * 96), st.integers(1, 96))
def test_one_gap_changes_little(quarters_back: int, length: int) -> None:
    """Snapshots missing for up to a day move what is expected of the next day by less than a tenth."""
    end = 15 * MINUTE * quarters_back

    last = forecast(steady_with(None, 0, (end + 15 * MINUTE * length, end))).points[-1].new

    assert last is not None
    assert abs(last.expected - 14_400) < 0.1 * 14_400
