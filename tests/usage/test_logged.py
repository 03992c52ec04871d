"""Event logs alone: a sum of hours that is what the curve of these hours says."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.curve import Curve
from airflow_provider_apiusage.usage.evidence_curve import statements_of_hour
from airflow_provider_apiusage.usage.hourly import HOUR
from airflow_provider_apiusage.usage.logged import logged
from airflow_provider_apiusage.usage.model import Completeness, HourTotal, Interval
from tests.usage.evidence import AT

FIRST = AT.replace(hour=0, minute=0)
MINUTE = timedelta(minutes=1)


@st.composite
def some_hours(draw: st.DrawFn) -> tuple[HourTotal, ...]:
    """Draw hours of one day, with gaps, some of them open upwards."""
    hours = []
    for n in sorted(draw(st.sets(st.integers(0, 7)))):
        low = draw(st.integers(0, 3))
        high = draw(st.none() | st.integers(low, 5))
        hours.append(HourTotal(FIRST + n * HOUR, Interval(low, high), Interval(0), Completeness.PROVISIONAL))
    return tuple(hours)


@given(some_hours(), st.integers(-60, 500), st.integers(0, 500), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_sum_is_what_the_curve_says(hours: tuple[HourTotal, ...], start: int, length: int, on_hours: bool) -> None:
    """Whatever span is asked about: the same bounds as the tightest that follow from the hours as statements."""
    begin = FIRST - timedelta(microseconds=1) + (start // 60 * 60 if on_hours else start) * MINUTE
    end = begin + (length // 60 * 60 if on_hours else length) * MINUTE

    assert logged(hours, begin, end) == Curve(s for hour in hours for s in statements_of_hour(hour)).bounds(begin, end)
