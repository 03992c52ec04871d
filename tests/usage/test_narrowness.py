"""Intervals are as narrow as the evidence allows: each end is reached by a history that agrees with all of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.curve import Curve, Statement
from airflow_provider_apiusage.usage.evidence_curve import Assumptions, fit, statements
from airflow_provider_apiusage.usage.model import (
    WINDOW,
    Completeness,
    Coverage,
    DailyCount,
    Evidence,
    Finding,
    HourTotal,
    Interval,
    Severity,
)
from airflow_provider_apiusage.usage.reconciliation import reconcile
from airflow_provider_apiusage.usage.reconciliation_pieces import gather
from airflow_provider_apiusage.usage.window import day_span
from tests.support.histories import Count, disagreements, spans
from tests.support.random_orgs import ORG, random_world
from tests.usage.evidence import AT, TODAY, YESTERDAY, reading

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LAG = HOUR
"""What is assumed of releases while nothing is known of them."""


def asked(at: datetime) -> list[tuple[datetime, datetime]]:
    """Return the spans whose intervals are held against an oracle: the window and the last two days."""
    days = [day_span(day) for day in (at.date(), at.date() - timedelta(days=1))]
    return [(at - WINDOW, at), *((start, min(end, at)) for start, end in days)]


@st.composite
def small_evidence(draw: st.DrawFn) -> Evidence:
    """Draw what was seen of an org with at most two calls in three days: few readings, days and hours."""
    made = sorted(draw(st.lists(st.integers(-50 * 60, 0), max_size=2)))
    calls = [AT + n * MINUTE for n in made]

    def count(start: datetime, end: datetime) -> int:
        return sum(start < call <= end for call in calls)

    offsets = draw(st.lists(st.sampled_from((0, 10, 60, 870, 871, 1440, 1500)), max_size=2, unique=True))
    readings = tuple(
        reading(count(AT - n * MINUTE - WINDOW, AT - n * MINUTE), AT - n * MINUTE) for n in sorted(offsets)[::-1]
    )
    coverage = draw(st.sampled_from(list(Coverage)))
    days = draw(st.sets(st.sampled_from((TODAY, YESTERDAY)), max_size=2))
    counts = tuple(_count(day, count, coverage) for day in sorted(days))
    hours = tuple(
        _hour(count, back, draw(st.booleans())) for back in sorted(draw(st.sets(st.integers(1, 26), max_size=2)))[::-1]
    )
    # A day that a report of other days has no row of is 0 calls, unless it could not be read.
    lost = tuple(
        Finding("report-day-truncated", Severity.ERROR, "More rows.", {"day": str(TODAY - timedelta(days=back))})
        for back in range(7)
        if TODAY - timedelta(days=back) not in days
    )
    return Evidence(ORG, AT, readings, counts, hours, lost)


def _count(day: date, count: Count, coverage: Coverage) -> DailyCount:
    start, end = day_span(day)
    calls = count(start, min(end, AT))
    return DailyCount(ORG, day, None, calls if coverage is Coverage.ALL else calls // 2, coverage, "report", AT)


def _hour(count: Count, back: int, settled: bool) -> HourTotal:
    begins = AT.replace(minute=0) - back * HOUR
    calls = count(begins - timedelta(microseconds=1), begins + HOUR - timedelta(microseconds=1))
    state = Completeness.SETTLED if settled else Completeness.PROVISIONAL
    return HourTotal(begins, Interval(calls, calls if settled else None), Interval(0, None), state)


def every_history(evidence: Evidence, borders: list[datetime]) -> tuple[list[tuple[int, ...]], list[bool]]:
    """Enumerate all histories (calls by cell between borders) that agree, and which cells nothing bounds.

    No count in the evidence is above 2, so a cell that nothing bounds needs no more than 2 calls to satisfy it.
    """
    said = [
        (bisect_left(borders, start), bisect_left(borders, end), low, high)
        for start, end, low, high, _ in spans(evidence, LAG)
    ]
    cells = len(borders) - 1
    bounded = [any(high is not None and s <= cell < e for s, e, _, high in said) for cell in range(cells)]

    def grow(made: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        cell = len(made)
        for start, end, low, high in said:
            if high is not None and sum(made[start:end]) > high:
                return
            if end == cell and sum(made[start:end]) < low:
                return
        if cell == cells:
            yield made
            return
        for calls in range(3):
            yield from grow((*made, calls))

    return list(grow(())), bounded


@given(small_evidence())
@settings(max_examples=400, deadline=None)
def test_intervals_are_those_of_every_possible_history(evidence: Evidence) -> None:
    """On small cases the bounds are the least and the most over all histories that agree with the evidence."""
    assume(evidence.readings or evidence.daily_counts or evidence.hours)
    targets = asked(evidence.at)
    borders = sorted(
        {moment for start, end, *_ in spans(evidence, LAG) for moment in (start, end)}
        | {moment for span in targets for moment in span}
    )
    histories, bounded = every_history(evidence, borders)
    assume(bounded.count(False) <= 7)
    result = reconcile(evidence)
    found = [result.window, result.days[-1].calls, result.days[-2].calls]

    assert histories
    for (start, end), interval in zip(targets, found, strict=True):
        first, last = bisect_left(borders, start), bisect_left(borders, end)
        made = [sum(history[first:last]) for history in histories]
        assert interval == Interval(min(made), max(made) if all(bounded[first:last]) else None)


@pytest.mark.parametrize("batch", range(4))
def test_each_end_of_an_interval_is_reached_by_a_history(batch: int) -> None:
    """Of random orgs: for both ends there is a history that agrees with every piece, so no interval can be narrower."""
    for seed in range(20_000 + batch, 20_200, 4):
        world = random_world(seed, most_readings=25)
        pieces = gather(world.evidence)
        found = fit(pieces.by_kind)
        lag = found.assumptions.release_lag
        said = statements(pieces.by_kind, Assumptions(lag))
        for start, end in asked(world.at):
            interval = found.curve.bounds(start, end)
            for value in {interval.low, interval.high} - {None}:
                curve = Curve([*said, Statement(start, end, value, value, "the end of the interval")])
                assert curve.conflict() is None
                first = curve.knots[0]
                grown = {knot: curve.bounds(first, knot).low for knot in curve.knots}
                assert disagreements(_count_of(grown), world.evidence, lag) == []
                assert _count_of(grown)(start, end) == value


def _count_of(grown: dict[datetime, int]) -> Count:
    """Return the count of a history that makes its calls at the knots."""
    knots = sorted(grown)

    def until(moment: datetime) -> int:
        place = bisect_right(knots, moment)
        return grown[knots[place - 1]] if place else 0

    return lambda start, end: until(end) - until(start)
