"""Does a history of calls agree with what was seen? Told from the evidence itself, without the curve."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from airflow_provider_apiusage.usage.model import Coverage, Evidence

DAY = timedelta(hours=24)
LATE = timedelta(minutes=5)
TICK = timedelta(microseconds=1)

Count = Callable[[datetime, datetime], int]
"""Calls of a history in ``(start, end]``."""


def spans(evidence: Evidence, lag: timedelta) -> list[tuple[datetime, datetime, int, int | None, str]]:
    """Return ``(start, end, low, high, what)`` for all that the evidence says of a history, in plain words.

    A reading shows at least what was surely counted and not yet released, at most what can have been.

    :param evidence: of which each day is told once, as read at its instant.
    :param lag: how long an expired call may stay counted.
    """
    said: list[tuple[datetime, datetime, int, int | None, str]] = []
    for reading in evidence.readings:
        assert reading.used is not None
        at, used = reading.observed_at, reading.used
        said.append((at - DAY, at - LATE, 0, used, f"surely in {used} at {at}"))
        said.append((at - DAY - LATE - lag, at, used, None, f"possibly in {used} at {at}"))
    days: dict[datetime, tuple[int, Coverage, datetime]] = {}
    for count in evidence.daily_counts:
        begin = datetime(count.day.year, count.day.month, count.day.day, tzinfo=evidence.at.tzinfo)
        before = days.get(begin, (0, count.coverage, count.observed_at))[0]
        days[begin] = (before + count.calls, count.coverage, count.observed_at)
    for begin, (calls, coverage, read_at) in days.items():
        start, end = begin - TICK, min(begin + DAY - TICK, read_at)
        high = calls if coverage is Coverage.ALL and read_at - LATE >= begin + DAY - TICK else None
        said.append((start, end, calls, high, f"{calls} on {begin}"))
        if coverage is Coverage.ALL and high is None:
            shown_until = min(begin + DAY - TICK, read_at - LATE)
            if shown_until >= start:
                said.append((start, shown_until, 0, calls, f"at most {calls} on {begin}"))
    for hour in evidence.hours:
        start = hour.starts_at - TICK
        said.append((start, start + timedelta(hours=1), hour.calls.low, hour.calls.high, f"log of {hour.starts_at}"))
    return said


def disagreements(count: Count, evidence: Evidence, lag: timedelta) -> list[str]:
    """Return what the evidence says that the history does not do; nothing if it agrees."""
    return [
        what
        for start, end, low, high, what in spans(evidence, lag)
        if not (low <= count(start, end) and (high is None or count(start, end) <= high))
    ]
