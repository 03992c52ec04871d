"""Hourly counts of all callers -> bounds of each hour's calls.

Two things make a count a range. Rows that do not say whether they count may or may not. And event logs show a
Composite Batch request as one row although each of its up to 25 parts counts (REST API guide, Composite Batch;
Object reference, ApiTotalUsage), so each such row is 1 to 25 calls. Until an hour is settled more rows may come, and it
has no upper bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from airflow_provider_apiusage.usage.hourly import HourlyCount
from airflow_provider_apiusage.usage.model import Completeness, HourTotal, Interval

BATCH_PARTS = 25
"""The most parts of one Composite Batch request."""

COMPOSITE_BATCH = "composite/batch"
"""The resource class of such requests."""

SOAP = "SOAP"


def hour_totals(counts: Iterable[HourlyCount], completeness: Mapping[datetime, Completeness]) -> tuple[HourTotal, ...]:
    """Add up the callers of each hour.

    :param counts: hourly counts of one org, in any order.
    :param completeness: by hour, as ``EventUsage`` has it; an hour that is missing or ``none`` gives no total.
    :returns: one for each other hour, oldest first; an hour that was logged and has no row is 0 calls.
    """
    low: dict[datetime, int] = defaultdict(int)
    more: dict[datetime, int] = defaultdict(int)
    soap_low: dict[datetime, int] = defaultdict(int)
    soap_more: dict[datetime, int] = defaultdict(int)
    for count in counts:
        caller, hour, calls = count.caller, count.starts_at, count.calls
        if caller.counted is False:
            continue
        sure = calls if caller.counted else 0
        most = calls * BATCH_PARTS if caller.resource == COMPOSITE_BATCH else calls
        family = (caller.family or "").strip().upper()
        low[hour] += sure
        more[hour] += most - sure
        if family == SOAP:
            soap_low[hour] += sure
            soap_more[hour] += most - sure
        elif not family:
            soap_more[hour] += most
    return tuple(
        HourTotal(
            hour,
            _bounds(low[hour], more[hour], state),
            _bounds(soap_low[hour], soap_more[hour], state),
            state,
        )
        for hour, state in sorted(completeness.items())
        if state is not Completeness.NONE
    )


def _bounds(low: int, more: int, state: Completeness) -> Interval:
    return Interval(low, low + more if state is Completeness.SETTLED else None)
