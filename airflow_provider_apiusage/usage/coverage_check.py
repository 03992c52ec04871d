"""Does the daily report count what it is said to count? Its days beside the event logs of the same days.

Only inequalities that must hold are used; there is no tolerance. A report of SOAP calls tells of a finished day at
least the SOAP calls that the log marks as counted and, once the log is settled, at most these and those it may count:
calls not marked either way, and calls without a family. A report of all calls tells at least every counted call, and
may tell more, because logs leave out parts of composite requests; where every call was SOAP there are none. A log that
is not settled bounds from below only, a report read before the day was over is bounded from above only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from airflow_provider_apiusage.usage.hourly import HOUR, Completeness, HourlyCount
from airflow_provider_apiusage.usage.model import Coverage, DailyCount, Finding, Severity

SOAP = "SOAP"
CONFIRMED = "coverage-confirmed"


@dataclass(frozen=True, slots=True)
class LoggedDay:
    """What the log tells of one UTC day.

    :param soap: SOAP calls that count.
    :param soap_unknown: further calls that may be SOAP calls that count: the log leaves family or counting open.
    :param all: calls of every family that count.
    :param all_unknown: calls of which the log does not say whether they count.
    :param others: calls that are not told to be SOAP, whether they count or not.
    :param completeness: of the least complete hour.
    """

    soap: int = 0
    soap_unknown: int = 0
    all: int = 0
    all_unknown: int = 0
    others: int = 0
    completeness: Completeness = Completeness.NONE

    @property
    def settled(self) -> bool:
        """Whether no more calls will be told."""
        return self.completeness is Completeness.SETTLED


@dataclass(frozen=True, slots=True)
class ReportedDay:
    """What the report tells of one UTC day.

    :param calls: of all users.
    :param coverage: which calls it is said to count.
    :param over: whether it was read after the day was over.
    """

    calls: int
    coverage: Coverage
    over: bool


def check_coverage(
    daily_counts: Sequence[DailyCount], hourly: Iterable[HourlyCount], completeness: Mapping[datetime, Completeness]
) -> tuple[Finding, ...]:
    """Compare each day of the report with what the event logs tell about it.

    :param daily_counts: of one org; several observations of a day are told by the latest.
    :param hourly: hourly counts of the org.
    :param completeness: of the hours, as ``EventUsage`` has it.
    :returns: a finding for each day that both know something of: ``coverage-confirmed``, ``coverage-is-all``,
        ``coverage-is-soap`` or ``coverage-unclear``. Figures: ``day``, ``report`` and whether it has the whole day;
        ``soap`` and ``all``, the fewest and most calls of the log that count (``None``: more may come); ``unknown``,
        calls of which it does not say whether they count; ``completeness``.
    """
    logged = _logged_days(hourly, completeness)
    found = []
    for day, report in sorted(_reported_days(daily_counts).items()):
        log = logged.get(day)
        if log is not None and log.completeness is not Completeness.NONE:
            found.append(_compare(day, report, log))
    return tuple(found)


def _reported_days(counts: Sequence[DailyCount]) -> dict[date, ReportedDay]:
    """Return the total of each day by its latest observation."""
    latest: dict[date, datetime] = {}
    for count in counts:
        latest[count.day] = max(latest.get(count.day, count.observed_at), count.observed_at)
    totals: dict[date, ReportedDay] = {}
    for count in counts:
        if count.observed_at == latest[count.day]:
            before = totals[count.day].calls if count.day in totals else 0
            over = count.observed_at >= datetime.combine(count.day, time(), UTC) + timedelta(days=1)
            totals[count.day] = ReportedDay(before + count.calls, count.coverage, over)
    return totals


def _logged_days(hourly: Iterable[HourlyCount], completeness: Mapping[datetime, Completeness]) -> dict[date, LoggedDay]:
    sums: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for count in hourly:
        caller, day = count.caller, count.starts_at.astimezone(UTC).date()
        family = (caller.family or "").strip().upper()
        sums[day]["others"] += 0 if family == SOAP else count.calls
        if caller.counted is False:
            continue
        sums[day]["all" if caller.counted else "all_unknown"] += count.calls
        if family in ("", SOAP):
            sums[day]["soap" if caller.counted and family else "soap_unknown"] += count.calls
    days = {hour.astimezone(UTC).date() for hour in completeness}
    return {day: LoggedDay(**sums[day], completeness=_of_day(day, completeness)) for day in days}


def _of_day(day: date, completeness: Mapping[datetime, Completeness]) -> Completeness:
    """Return the state of the least complete hour; a day of which some hours are known is provisional at least."""
    start = datetime.combine(day, time(), UTC)
    hours = [completeness.get(start + HOUR * n, Completeness.NONE) for n in range(24)]
    if all(hour is Completeness.SETTLED for hour in hours):
        return Completeness.SETTLED
    return Completeness.NONE if all(hour is Completeness.NONE for hour in hours) else Completeness.PROVISIONAL


def _compare(day: date, report: ReportedDay, log: LoggedDay) -> Finding:
    soap_most = log.soap + log.soap_unknown if log.settled else None
    all_most = log.all + log.all_unknown if log.settled else None
    figures: dict[str, Any] = {
        "day": day.isoformat(),
        "report": report.calls,
        "whole_day": report.over,
        "soap": [log.soap, soap_most],
        "all": [log.all, all_most],
        "unknown": log.all_unknown,
        "completeness": log.completeness.value,
    }
    fits = {
        Coverage.SOAP: _fits(report, log.soap, soap_most),
        Coverage.ALL: _fits(report, log.all, None if log.others else all_most),
    }
    other = Coverage.ALL if report.coverage is Coverage.SOAP else Coverage.SOAP
    read = "" if report.over else ", not over when the report was read"
    seen = (
        f"{day}{read}: the report tells {report.calls:,} calls, the event log {log.soap:,} of SOAP and {log.all:,} of "
        f"every kind that count ({log.completeness.value}; {log.all_unknown:,} more may count)."
    )
    if fits[other] and not fits[report.coverage]:
        code, message = _contradicted(report.coverage, settled=log.settled)
        return Finding(code, Severity.WARNING, f"{seen} {message}", figures)
    if not fits[report.coverage]:
        neither = "It fits neither; a source is incomplete, or the report covers other users or days."
        return Finding("coverage-unclear", Severity.WARNING, f"{seen} {neither}", figures)
    if log.settled and not fits[other]:
        said = "SOAP calls only" if report.coverage is Coverage.SOAP else "all calls"
        return Finding(CONFIRMED, Severity.INFO, f"{seen} It counts {said}, as set.", figures)
    return Finding("coverage-unclear", Severity.INFO, f"{seen} That does not tell what the report covers.", figures)


def _fits(report: ReportedDay, fewest: int, most: int | None) -> bool:
    return (fewest <= report.calls or not report.over) and (most is None or report.calls <= most)


def _contradicted(coverage: Coverage, *, settled: bool) -> tuple[str, str]:
    """Return code and advice where the report does not count what it is said to, but the other may be."""
    if coverage is Coverage.SOAP:
        return "coverage-is-all", "It counts more than SOAP calls: set coverage='all'."
    what = "SOAP calls only" if settled else "fewer than all calls"
    return "coverage-is-soap", f"It counts {what}: set coverage='soap'."
