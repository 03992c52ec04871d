"""The one curve: tightest bounds, and contradictions that name their pieces."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.curve import Curve, CurveConflict, Statement
from airflow_provider_apiusage.usage.model import Interval

NOON = datetime(2026, 10, 7, 12, tzinfo=UTC)
POINTS = 4
MOST = 17
"""No count on the grid of the oracle is larger: four statements of at most 2 cannot tell more apart."""


def instant(hour: float) -> datetime:
    """Return an instant so many hours after noon."""
    return NOON + timedelta(hours=hour)


def said(start: float, end: float, low: int, high: int | None, source: str = "said") -> Statement:
    """Return a statement about hours after noon."""
    return Statement(instant(start), instant(end), low, high, source)


@st.composite
def small_statements(draw: st.DrawFn) -> list[tuple[int, int, int, int | None]]:
    """Draw up to four statements on a grid of four points, which may contradict one another."""
    drawn = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, POINTS - 2))
        end = draw(st.integers(start + 1, POINTS - 1))
        low = draw(st.integers(0, 2))
        high = draw(st.none() | st.integers(low, 2))
        drawn.append((start, end, low, high))
    return drawn


def every_curve(statements: list[tuple[int, int, int, int | None]]) -> list[tuple[int, ...]]:
    """Enumerate every curve on the grid (as its values there) that satisfies all statements."""
    curves = []
    for steps in itertools.product(range(MOST + 1), repeat=POINTS - 1):
        values = (0, *itertools.accumulate(steps))
        if all(
            low <= values[end] - values[start] and (high is None or values[end] - values[start] <= high)
            for start, end, low, high in statements
        ):
            curves.append(values)
    return curves


@given(small_statements())
@settings(max_examples=120, deadline=None)
def test_bounds_are_those_of_every_possible_curve(drawn: list[tuple[int, int, int, int | None]]) -> None:
    """Bounds are the least and the most over all curves; there is a conflict exactly if none exists."""
    curve = Curve(said(*statement, source=str(number)) for number, statement in enumerate(drawn))
    possible = every_curve(drawn)

    assert (curve.conflict() is not None) == (not possible)
    if not possible:
        return
    for start, end in itertools.combinations(range(POINTS), 2):
        calls = [values[end] - values[start] for values in possible]
        # Four statements of at most 2 cannot bound a span above 8: more than that means that nothing does.
        high = max(calls) if max(calls) <= 8 else None
        assert curve.bounds(instant(start), instant(end)) == Interval(min(calls), high)


@given(small_statements())
@settings(max_examples=60, deadline=None)
def test_a_conflict_is_one_and_needs_each_of_its_pieces(
    drawn: list[tuple[int, int, int, int | None]],
) -> None:
    """The statements named contradict by themselves, and no longer do once any one is left out."""
    pieces = Curve(said(*statement, source=str(number)) for number, statement in enumerate(drawn)).conflict()
    if pieces is None:
        return

    assert Curve(pieces).conflict() is not None
    for left_out in range(len(pieces)):
        assert Curve(pieces[:left_out] + pieces[left_out + 1 :]).conflict() is None


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_bounds_contain_the_truth(data: st.DataObject) -> None:
    """Statements made about a real history never contradict, and their bounds hold what happened."""
    calls = sorted(data.draw(st.lists(st.floats(0, 48), max_size=30)))

    def truth(start: float, end: float) -> int:
        return sum(start < call <= end for call in calls)

    spans = st.tuples(st.floats(0, 48), st.floats(0, 48)).map(sorted)
    statements = []
    for start, end in data.draw(st.lists(spans, max_size=12)):
        exact = truth(instant_hours(start), instant_hours(end))
        slack = data.draw(st.integers(0, 3))
        high = data.draw(st.sampled_from([None, exact + slack]))
        statements.append(said(start, end, max(0, exact - slack), high))
    curve = Curve(statements)

    assert curve.conflict() is None
    for start, end in data.draw(st.lists(spans, min_size=1, max_size=8)):
        assert truth(instant_hours(start), instant_hours(end)) in curve.bounds(instant(start), instant(end))


def instant_hours(hours: float) -> float:
    """Return the hours after noon that an instant of whole microseconds really stands for."""
    return (instant(hours) - NOON) / timedelta(hours=1)


def test_nothing_said_means_nothing_known() -> None:
    """Without statements any number of calls is possible, except in no time at all."""
    curve = Curve()

    assert curve.conflict() is None
    assert curve.bounds(instant(0), instant(1)) == Interval(0, None)
    assert curve.bounds(instant(0), instant(0)) == Interval(0, 0)


def test_a_part_of_a_span_has_at_most_the_whole() -> None:
    """An instant between two edges lies between their values: nothing at least, the whole span at most."""
    curve = Curve([said(0, 10, 20, 20)])

    assert curve.bounds(instant(2), instant(5)) == Interval(0, 20)
    assert curve.bounds(instant(-1), instant(10)) == Interval(20, None)
    assert curve.bounds(instant(-1), instant(5)) == Interval(0, None)


def test_two_windows_tell_what_lies_between_them() -> None:
    """What one span holds beyond another is bounded by their difference, through both at once."""
    curve = Curve([said(0, 24, 25_000, 25_000), said(0, 10, 10_000, 12_000), said(20, 24, 0, 500)])

    assert curve.bounds(instant(10), instant(24)) == Interval(13_000, 15_000)
    assert curve.bounds(instant(10), instant(20)) == Interval(12_500, 15_000)


def test_a_conflict_names_its_pieces_and_only_those() -> None:
    """A part that exceeds its whole is named with the whole; a third statement is left in peace."""
    whole, part = said(0, 24, 10, 10, "whole"), said(3, 9, 11, None, "part")
    curve = Curve([said(30, 40, 1, 2, "bystander"), whole, part])

    assert curve.conflict() == (whole, part)
    with pytest.raises(CurveConflict, match="whole") as caught:
        curve.bounds(instant(0), instant(1))
    assert caught.value.statements == (whole, part)


def test_calls_in_no_time_are_a_conflict() -> None:
    """A statement that calls were made within a single instant's half-open span contradicts itself."""
    impossible = said(5, 5, 1, None)

    assert Curve([impossible]).conflict() == (impossible,)


@pytest.mark.parametrize(
    ("start", "end", "low", "high"),
    [
        pytest.param(instant(1), instant(0), 0, None, id="backwards"),
        pytest.param(instant(0), instant(1), -1, None, id="fewer-than-none"),
        pytest.param(instant(0), instant(1), 5, 4, id="high-below-low"),
        pytest.param(datetime(2026, 10, 7), instant(0), 0, None, id="naive"),  # noqa: DTZ001 - what is tested
    ],
)
def test_a_statement_without_sense_is_refused(start: datetime, end: datetime, low: int, high: int | None) -> None:
    """Spans that run backwards, impossible numbers and naive instants do not become statements."""
    with pytest.raises(ValueError, match=r"span|count|time zone"):
        Statement(start, end, low, high, "nonsense")


def test_bounds_do_not_depend_on_what_was_asked_before() -> None:
    """Asking about more starts than are remembered, and then again, gives the same bounds."""
    curve = Curve([said(hour, hour + 2, hour % 3, hour % 3 + 2) for hour in range(50)])

    def ask() -> list[Interval]:
        return [curve.bounds(instant(hour), instant(hour + 7)) for hour in range(45)]

    assert ask() == ask()


def test_bounds_of_a_backward_span_are_refused() -> None:
    """Asking for a span that ends before it starts is a mistake, not an empty answer."""
    with pytest.raises(ValueError, match="before it starts"):
        Curve().bounds(instant(1), instant(0))


def test_a_few_thousand_statements_are_exact_and_quick() -> None:
    """Overlapping 24-hour readings of every minute and a chain of hours are solved together."""
    generator = random.Random(7)
    minutes = [0, *itertools.accumulate(generator.randrange(60) for _ in range(2 * 1440))]
    statements = [
        said(minute / 60 - 24, minute / 60, minutes[minute] - minutes[minute - 1440], None, "at least")
        for minute in range(1440, 2880)
    ]
    statements += [
        said(minute / 60 - 24, minute / 60, 0, minutes[minute] - minutes[minute - 1440], "at most")
        for minute in range(1440, 2880)
    ]
    statements += [
        said(hour, hour + 1, *(2 * (minutes[60 * hour + 60] - minutes[60 * hour],)), "hour") for hour in range(48)
    ]
    curve = Curve(statements)

    assert curve.conflict() is None
    assert curve.bounds(instant(3), instant(45)).exact
    for minute in range(0, 1440, 97):
        assert minutes[2880] - minutes[minute] in curve.bounds(instant(minute / 60), instant(48))
