"""When calls are free, and when the allowance runs out."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from airflow_provider_apiusage.usage.forecast import forecast, runs_out_at, when_free
from airflow_provider_apiusage.usage.forecast_answer import answer
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast, ForecastPoint, Range
from airflow_provider_apiusage.usage.model import Evidence, Interval
from tests.usage.evidence import AT, ORG

QUARTER = timedelta(minutes=15)


def falling(limit: int | None = 1_000) -> Forecast:
    """900 used; from the third point on 100 leave with each, 50 at least, and what others add is uncertain by 200."""
    points = []
    for n in range(97):
        gone = min(900, max(0, 100 * (n - 2)))
        used = Range(max(0, 900 - gone - 100), 900 - gone, 900 - gone + 200)
        points.append(ForecastPoint(AT + QUARTER * n, Interval(gone // 2, gone), Range(0, 0, 200), used))
    return Forecast(ORG, AT, limit, Interval(900, 900), tuple(points), Basis.SLOTS, timedelta(days=30), ())


def test_earliest_expected_and_likely() -> None:
    """300 calls need 200 to leave: bounds allow that by the fourth point, so from the one before; expected then; likely
    when the upper end of the range allows it."""
    free = when_free(falling(), 300)

    assert free.earliest_at == AT + QUARTER * 3
    assert free.expected_at == AT + QUARTER * 4
    assert free.likely_at == AT + QUARTER * 6


def test_what_is_free_already_is_free_now() -> None:
    """100 calls are free at once as expected, though not with 90 % confidence."""
    free = when_free(falling(), 100)

    assert (free.earliest_at, free.expected_at) == (AT, AT)
    assert free.likely_at == AT + QUARTER * 4


@pytest.mark.parametrize(("calls", "kept_back"), [(1_001, 0), (901, 100), (1, 1_000)])
def test_more_than_the_limit_leaves_is_never_free(calls: int, kept_back: int) -> None:
    """However much leaves, a number above the limit without what is kept back has no instant."""
    free = when_free(falling(), calls, kept_back=kept_back)

    assert (free.earliest_at, free.expected_at, free.likely_at) == (None, None, None)


def test_all_that_is_not_kept_back_is_free_when_nothing_is_used() -> None:
    """Exactly what the limit leaves can be free, but not surely within the day."""
    free = when_free(falling(), 900, kept_back=100)

    assert free.expected_at == AT + QUARTER * 11
    assert free.likely_at is None


def test_without_a_limit_nothing_is_known() -> None:
    """Neither when calls are free nor when they run out."""
    assert when_free(falling(None), 1).earliest_at is None
    assert runs_out_at(falling(None)).expected_at is None


@pytest.mark.parametrize("numbers", [{"calls": -1}, {"calls": 1, "kept_back": -1}])
def test_negative_numbers_are_refused(numbers: dict[str, int]) -> None:
    """Calls cannot be negative."""
    with pytest.raises(ValueError, match="negative"):
        when_free(falling(), **numbers)


def test_when_it_runs_out() -> None:
    """900 used and 200 more at most reach 1,000 at once; 1,000 without 100 kept back are used up expectedly."""
    assert runs_out_at(falling()).expected_at is None
    assert runs_out_at(falling()).earliest_at == AT
    assert runs_out_at(falling(), kept_back=100).expected_at == AT
    assert runs_out_at(falling(2_000)).earliest_at is None


def test_the_answer_is_small_and_json() -> None:
    """As a dict it has instants as ISO text and every unknown as null."""
    told = answer(falling(), 300, kept_back=50).as_dict()

    assert json.loads(json.dumps(told)) == told
    assert told["at"] == "2026-10-07T14:30:00Z"
    assert told["earliest_at"] == "2026-10-07T15:30:00Z"
    assert told["free_now"] is False
    assert told["runs_out"] == {"expected_at": None, "earliest_at": "2026-10-07T14:30:00Z"}


def test_the_answer_from_nothing_is_null() -> None:
    """Of an org of which nothing is known, nothing is free or runs out that anyone could tell."""
    told = answer(forecast(Evidence(ORG, AT, ())), 300).as_dict()

    assert {told[name] for name in ("limit", "used", "free_now", "earliest_at", "expected_at", "likely_at")} == {None}
    assert told["runs_out"] == {"expected_at": None, "earliest_at": None}
    assert told["basis"] == "nothing"
