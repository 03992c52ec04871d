"""Contents of reports for tests: Salesforce's example, a busy week with every source, and nothing at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import accumulate

from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.usage.attribution import attribute_all
from airflow_provider_apiusage.usage.forecast import forecast
from airflow_provider_apiusage.usage.holdings import holdings
from airflow_provider_apiusage.usage.hour_total import hour_totals
from airflow_provider_apiusage.usage.hourly import HOUR, Caller, Completeness, HourlyCount
from airflow_provider_apiusage.usage.model import WINDOW, Coverage, Evidence, LimitReading
from airflow_provider_apiusage.usage.reconciliation import reconcile
from tests.usage.evidence import AT, ORG, TODAY, YESTERDAY, counted, reading

MADE_AT = AT + timedelta(seconds=42)
QUARTER = timedelta(minutes=15)

CALLERS = (
    Caller(
        "005AA0000000001", "888AA0000000001", "nightly-etl/2.4", "REST", "jobs/ingest", True, "ETL Service", "Loader"
    ),
    Caller(
        "005AA0000000002", "888AA0000000002", "billing <sync>", "REST", "composite", True, "Billing | EU", "Billing"
    ),
    Caller("005AA0000000003", None, "Marketing", "SOAP", "query", True, "Ana Müller", None),
    Caller("005AA0000000004", None, None, "SOAP", "update", True, None, None),
)
_SHARES = (0.46, 0.27, 0.17, 0.10)


def of_evidence(evidence: Evidence, *, ahead: bool = True, counts: Iterable[HourlyCount] = ()) -> ReportContent:
    """Return the content of a report as an operator makes it."""
    kept = tuple(counts)
    since = evidence.at - WINDOW * 8
    known = {hour.starts_at: hour.completeness for hour in evidence.hours}
    start, end = evidence.at - WINDOW, evidence.at
    return ReportContent(
        reconciliation=reconcile(evidence),
        readings=tuple(each for each in evidence.readings if each.observed_at > since),
        hours=tuple(each for each in evidence.hours if each.starts_at > since),
        forecast=forecast(evidence) if ahead else None,
        holders=attribute_all(kept, start=start, end=end, completeness=known) if kept else None,
        made_at=MADE_AT,
        holdings=(holdings(kept, at=evidence.at, completeness=known),) if kept else (),
    )


def example(*, ahead: bool = True) -> ReportContent:
    """Return the example of Salesforce's article: Wednesday 15,000 + 10,000 of Tuesday's 20,000 = 25,000."""
    return of_evidence(
        Evidence(ORG, AT, (reading(25_000),), (counted(TODAY, 15_000), counted(YESTERDAY, 20_000))), ahead=ahead
    )


def nothing() -> ReportContent:
    """Return a report of an org of which nothing is known."""
    return of_evidence(Evidence(ORG, AT, ()), ahead=False)


def rate(at: datetime) -> int:
    """Return the calls of the quarter of an hour that begins at an instant: busy days, a burst at night."""
    hour = at.hour + at.minute / 60
    day = 260 + 190 * math.sin((hour - 8) / 24 * 2 * math.pi)
    weekend = 0.45 if at.weekday() >= 5 else 1.0
    burst = 900 if at.hour == 2 and at.day % 3 == 0 else 0
    return round(day * weekend) + burst


@cache
def busy(*, limit: int = 40_000, days: int = 20, lost_day: bool = True) -> ReportContent:
    """Return a report with every source: readings, a SOAP-only report, event logs with late hours, a forecast.

    :param limit: the allocation.
    :param days: of history.
    :param lost_day: whether one day has no readings.
    """
    begin = datetime(AT.year, AT.month, AT.day, tzinfo=UTC) - WINDOW * (days + 1)
    slots = [begin + QUARTER * n for n in range((AT - begin) // QUARTER)]
    made = [rate(at) for at in slots]
    until = [0, *accumulate(made)]
    readings = []
    for n in range(96, len(slots) + 1):
        at = begin + QUARTER * n
        if lost_day and at.date() == TODAY - timedelta(days=4):
            continue
        readings.append(reading(until[n] - until[n - 96], at, limit=limit))
    hourly = _hourly(slots, made)
    last = AT - timedelta(hours=6)
    settled = datetime(AT.year, AT.month, AT.day, tzinfo=UTC) - WINDOW * 3
    told = {
        count.starts_at: Completeness.SETTLED if count.starts_at < settled else Completeness.PROVISIONAL
        for count in hourly
        if count.starts_at + HOUR <= last
    }
    counts = [count for count in hourly if count.starts_at in told]
    soap = [counted(day, calls, coverage=Coverage.SOAP) for day, calls in _soap(hourly).items()]
    evidence = Evidence(ORG, AT, tuple(readings), tuple(soap), hour_totals(counts, told))
    return of_evidence(evidence, counts=counts)


def _hourly(slots: list[datetime], made: list[int]) -> list[HourlyCount]:
    by_hour: dict[datetime, int] = {}
    for at, calls in zip(slots, made, strict=True):
        hour = at.replace(minute=0)
        by_hour[hour] = by_hour.get(hour, 0) + calls
    counts = []
    for hour, calls in by_hour.items():
        parts = [int(calls * share) for share in _SHARES]
        parts[0] += calls - sum(parts)
        counts += [HourlyCount(ORG, hour, caller, part) for caller, part in zip(CALLERS, parts, strict=True)]
    return counts


def _soap(hourly: list[HourlyCount]) -> dict[date, int]:
    days: dict[date, int] = {}
    for count in hourly:
        if count.caller.family == "SOAP" and count.starts_at > AT - WINDOW * 7:
            day = count.starts_at.date()
            days[day] = days.get(day, 0) + count.calls
    return days


def readings_of(content: ReportContent) -> tuple[LimitReading, ...]:
    """Return the readings of a report that tell what was used."""
    return tuple(each for each in content.readings if each.used is not None)


def over() -> ReportContent:
    """Return a report of an org that is over its limit and whose sources contradict one another."""
    return of_evidence(
        Evidence(
            ORG,
            AT,
            (
                *(reading(60_000 + 500 * n, AT - HOUR * (20 - n), limit=62_000) for n in range(20)),
                reading(70_000, limit=62_000),
            ),
            (counted(TODAY, 15_000), counted(YESTERDAY, 20_000)),
        )
    )
