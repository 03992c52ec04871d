"""When calls were made, from readings and hourly counts."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from airflow_provider_apiusage.usage.forecast_cells import GUESSED, SEEN, UNSEEN
from airflow_provider_apiusage.usage.forecast_history import History, reconstruct
from airflow_provider_apiusage.usage.model import Completeness, HourTotal, Interval, LimitReading
from airflow_provider_apiusage.usage.release import KINDS
from tests.usage.evidence import AT, reading

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)
MARK = AT.replace(minute=0)


def made(history: History | None, start: datetime, end: datetime) -> float:
    assert history is not None
    return history.total(end.timestamp()) - history.total(start.timestamp())


def quality(history: History | None, start: datetime, end: datetime) -> int:
    assert history is not None
    return history.quality(start.timestamp(), end.timestamp())


def flat(days: int, used: int = 2_400) -> tuple[LimitReading, ...]:
    """A figure that stands still, read every quarter."""
    return tuple(reading(used, MARK - QUARTER * n) for n in range(days * 96, -1, -1))


def told(start: datetime, low: int, high: int | None) -> HourTotal:
    state = Completeness.PROVISIONAL if high is None else Completeness.SETTLED
    return HourTotal(start, Interval(low, high), Interval(0, high), state)


def test_nothing_gives_nothing() -> None:
    """Neither no evidence nor a reading without a figure is a history."""
    assert reconstruct((), (), kinds=KINDS) is None
    assert reconstruct((reading(None),), (), kinds=KINDS) is None


def test_a_first_reading_is_spread_over_its_day() -> None:
    """Its calls are guessed to have come evenly, and sum up to it."""
    history = reconstruct((reading(2_400, MARK),), (), kinds=KINDS)

    assert made(history, MARK - DAY, MARK) == pytest.approx(2_400)
    assert made(history, MARK - 6 * HOUR, MARK) == pytest.approx(600)
    assert quality(history, MARK - 6 * HOUR, MARK) == GUESSED


def test_what_left_is_made_up_for() -> None:
    """A figure that stands still for a day means as many calls as left: the day before comes again."""
    history = reconstruct(flat(2), (), kinds=KINDS)

    assert made(history, MARK - HOUR, MARK) == pytest.approx(100)
    assert quality(history, MARK - HOUR, MARK) == SEEN


def test_an_hour_of_the_log_stands() -> None:
    """A settled hour holds what its log says, whatever readings make of it; one with bounds, the nearest to that."""
    hours = (told(MARK - 5 * HOUR, 300, 300), told(MARK - 4 * HOUR, 0, 0), told(MARK - 3 * HOUR, 120, 150))
    history = reconstruct(flat(2), hours, kinds=KINDS)

    assert made(history, MARK - 5 * HOUR, MARK - 4 * HOUR) == pytest.approx(300)
    assert made(history, MARK - 4 * HOUR, MARK - 3 * HOUR) == pytest.approx(0)
    assert made(history, MARK - 3 * HOUR, MARK - 2 * HOUR) == pytest.approx(120)


def test_a_provisional_hour_may_still_grow() -> None:
    """It holds at least what its log says, and no more than a quarter above it."""
    hours = (told(MARK - 5 * HOUR, 150, None), told(MARK - 3 * HOUR, 40, None))
    history = reconstruct(flat(2), hours, kinds=KINDS)

    assert made(history, MARK - 5 * HOUR, MARK - 4 * HOUR) == pytest.approx(150)
    assert made(history, MARK - 3 * HOUR, MARK - 2 * HOUR) == pytest.approx(51)


def test_a_log_that_may_be_incomplete_bounds_from_below() -> None:
    """If event logs do not show every call, a settled hour is treated like one that may still grow."""
    history = reconstruct(flat(2), (told(MARK - 3 * HOUR, 90, 90),), kinds=KINDS, logs_complete=False)

    assert made(history, MARK - 3 * HOUR, MARK - 2 * HOUR) == pytest.approx(100, abs=3)


def test_hours_alone() -> None:
    """Without readings, hours that are told are seen, and the others are not."""
    history = reconstruct((), (told(MARK - 5 * HOUR, 100, 200), told(MARK - 3 * HOUR, 70, None)), kinds=KINDS)

    assert made(history, MARK - 5 * HOUR, MARK - 4 * HOUR) == pytest.approx(150)
    assert made(history, MARK - 3 * HOUR, MARK - 2 * HOUR) == pytest.approx(70)
    assert quality(history, MARK - 5 * HOUR, MARK - 4 * HOUR) == SEEN
    assert quality(history, MARK - 4 * HOUR, MARK - 3 * HOUR) == UNSEEN
    assert quality(history, MARK - 2 * HOUR, MARK) == UNSEEN


def test_a_gap_of_more_than_a_day_is_unseen() -> None:
    """What came between the last reading and the window of the next is not known; the window itself is a total."""
    readings = tuple(r for r in flat(6) if not MARK - 4 * DAY < r.observed_at < MARK - DAY)
    history = reconstruct(readings, (), kinds=KINDS)

    assert quality(history, MARK - 4 * DAY, MARK - 3 * DAY) == UNSEEN
    assert made(history, MARK - 2 * DAY, MARK - DAY) == pytest.approx(2_400)
    assert quality(history, MARK - 2 * DAY, MARK - DAY) == GUESSED


@pytest.mark.parametrize("bucket", [0, 900, 3_600])
def test_the_kind_of_release_is_found(bucket: int) -> None:
    """Of an org that is busy on weekdays, readings tell whether it releases by call, by quarter or by hour."""

    def calls(until: datetime) -> float:
        """One a second from 8 to 18, Monday to Friday."""
        day = until.replace(hour=0, minute=0, second=0)
        today = min(max((until - day).total_seconds() - 8 * 3600, 0), 36_000) if day.weekday() < 5 else 0
        return today + 36_000 * sum((day - DAY * n).weekday() < 5 for n in range(1, 30 - (MARK - day).days))

    readings = []
    for n in range(10 * 96, -1, -1):
        at = MARK - QUARTER * n + timedelta(minutes=11)
        since = at - timedelta(seconds=at.timestamp() % bucket if bucket else 0) - DAY
        readings.append(reading(round(calls(at) - calls(since)), at))

    history = reconstruct(readings, (), kinds=KINDS)

    assert history is not None
    assert history.bucket == bucket
