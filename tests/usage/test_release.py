"""What the falls of the rolling figure prove about how an org releases calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.model import LimitReading, ReadingSource
from airflow_provider_apiusage.usage.release import KINDS, Release, learn_release
from tests.usage.evidence import reading

HOUR, QUARTER, EXACT = KINDS
MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 10, 7, 12, tzinfo=UTC)


def read(*figures: tuple[float, int]) -> list[LimitReading]:
    """Return readings so many minutes after noon."""
    return [reading(used, NOON + minutes * MINUTE) for minutes, used in figures]


def falls(first: float, gap: float, times: int) -> list[LimitReading]:
    """Return readings that fall once an hour: one at minute ``first`` of the hour, one ``gap`` minutes later."""
    return read(
        *(
            figure
            for hour in range(times)
            for figure in ((60 * hour + first, 1_000 - hour), (60 * hour + first + gap, 999 - hour))
        )
    )


def test_nothing_known_is_the_coarsest_kind() -> None:
    """Without a fall calls may stay counted for an hour."""
    assert learn_release([]) == Release(HOUR, 0)
    assert learn_release(read((0, 5), (60, 7))) == Release(HOUR, 0)


def test_falls_between_marks_rule_out_what_is_coarser() -> None:
    """Falls from 12:18 to 12:27 prove a release within an hour; from 12:36 to 12:43 one within a quarter."""
    assert learn_release(falls(18, 9, 3)).lag == QUARTER
    assert learn_release(falls(36, 7, 3)).lag == EXACT


def test_two_falls_may_be_an_accident() -> None:
    """It takes three."""
    assert learn_release(falls(36, 7, 2)).lag == HOUR


def test_a_late_figure_shows_a_release_late() -> None:
    """The release of 12:00 may show up to five minutes later: a fall from 12:03 to 12:09 proves nothing."""
    assert learn_release(falls(3, 6, 9)).lag == HOUR


def test_readings_close_together_are_not_compared() -> None:
    """Within five minutes the later reading may show the older state: a fall proves nothing."""
    assert learn_release(falls(36, 4.9, 9)).lag == HOUR


def test_a_refused_call_tells_no_figure() -> None:
    """An exhausted allowance is not a fall when the figure comes back."""
    refused = [reading(9_999, NOON + n * 60 * MINUTE + 30 * MINUTE, source=ReadingSource.EXHAUSTED) for n in range(5)]

    assert learn_release([*refused, *read((38, 7))]).lag == HOUR


@pytest.mark.parametrize("bucket", KINDS)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_true_kind_is_never_ruled_out(bucket: timedelta, data: st.DataObject) -> None:
    """Whatever is called and read when, figures up to five minutes old: the lag covers what the org does."""
    calls = [NOON + n * MINUTE for n in data.draw(st.lists(st.integers(0, 1_440), max_size=40))]
    gaps = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=60))

    def used(at: datetime) -> int:
        late = at - data.draw(st.integers(0, 300)) * timedelta(seconds=1)
        return sum(call <= late < _released(call, bucket) for call in calls)

    moments = [NOON + timedelta(hours=20) + minutes * MINUTE for minutes in accumulate(gaps)]
    found = learn_release([reading(used(at), at) for at in moments])

    assert found.lag >= bucket


def _released(call: datetime, bucket: timedelta) -> datetime:
    """Return when the figure no longer holds a call: 24 hours later, or when the youngest of its bucket is as old."""
    if not bucket:
        return call + timedelta(hours=24)
    since = call - datetime(2026, 1, 1, tzinfo=UTC)
    return datetime(2026, 1, 1, tzinfo=UTC) - (-since // bucket) * bucket + timedelta(hours=24)
