"""Hourly counts of all callers -> bounds of each hour's calls.

Two things make a count a range. Rows that do not say whether they count may or may not. And event logs show a
Composite Batch request as one row although each of its up to 25 parts counts (REST API guide, Composite Batch;
Object reference, ApiTotalUsage), so each such row is 1 to 25 calls. Until an hour is settled more rows may come, and it
has no upper bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_apiusage.usage.hourly import Caller, HourlyCount
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
    sums: dict[datetime, _Sums] = defaultdict(_Sums)
    for count in counts:
        sums[count.starts_at].add(count.caller, count.calls)
    return tuple(
        sums[hour].as_total(hour, state)
        for hour, state in sorted(completeness.items())
        if state is not Completeness.NONE
    )


@dataclass(slots=True)
class _Sums:
    """What one hour comes to: sure calls, and how many more there may be."""

    sure: int = 0
    more: int = 0
    soap_sure: int = 0
    soap_more: int = 0
    uncounted: int = 0
    batches: int = 0

    def add(self, caller: Caller, calls: int) -> None:
        if caller.counted is False:
            self.uncounted += calls
            return
        batch = caller.resource == COMPOSITE_BATCH
        sure = calls if caller.counted else 0
        more = (calls * BATCH_PARTS if batch else calls) - sure
        family = (caller.family or "").strip().upper()
        self.batches += calls if batch else 0
        self.sure += sure
        self.more += more
        if family == SOAP:
            self.soap_sure += sure
            self.soap_more += more
        elif not family:
            self.soap_more += sure + more

    def as_total(self, hour: datetime, state: Completeness) -> HourTotal:
        settled = state is Completeness.SETTLED
        return HourTotal(
            starts_at=hour,
            calls=Interval(self.sure, self.sure + self.more if settled else None),
            soap=Interval(self.soap_sure, self.soap_sure + self.soap_more if settled else None),
            completeness=state,
            uncounted=self.uncounted,
            batches=self.batches,
        )
