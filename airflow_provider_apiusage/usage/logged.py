"""What event logs alone tell of a span: hours side by side, so a sum."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from airflow_provider_apiusage.usage.hourly import HOUR
from airflow_provider_apiusage.usage.model import HourTotal, Interval
from airflow_provider_apiusage.usage.window import TICK


def logged(hours: Iterable[HourTotal], start: datetime, end: datetime) -> Interval:
    """Return bounds of the calls made in ``(start, end]``, by event logs alone.

    At least those of the hours that lie inside; at most those of all hours that the span touches, if each of them is
    known to the end.

    :param hours: each hour once, in any order.
    :param start: aware instant.
    :param end: aware instant, not before ``start``.
    """
    if start == end:
        return Interval(0, 0)
    low, high, reach = 0, 0, start
    unbounded = False
    for hour in sorted(hours, key=lambda each: each.starts_at):
        begins, ends = hour.starts_at - TICK, hour.starts_at + HOUR - TICK
        if ends <= start or begins >= end:
            continue
        if start <= begins and ends <= end:
            low += hour.calls.low
        unbounded = unbounded or begins > reach or hour.calls.high is None
        high += hour.calls.high or 0
        reach = ends
    return Interval(low, None if unbounded or reach < end else high)
