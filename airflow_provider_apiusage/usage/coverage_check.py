"""Does the daily report count what it is said to count? Its days beside the event logs of the same days.

Only inequalities that must hold are used. A report of SOAP calls cannot tell fewer calls of a finished day than the log
has of SOAP calls that count; a report of all calls cannot tell fewer than the log has of all, and may tell more: logs
leave out parts of composite requests. A log that is not settled gives lower bounds only. Calls that the log marks
neither as counted nor as not counted widen the bounds.
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
    :param soap_unknown: SOAP calls of which the log does not say whether they count.
    :param all: calls of every family that count.
    :param all_unknown: likewise, unknown.
    :param completeness: of the least complete hour.
    """

    soap: int = 0
    soap_unknown: int = 0
    all: int = 0
    all_unknown: int = 0
    completeness: Completeness = Completeness.NONE


def check_coverage(
    daily_counts: Sequence[DailyCount], hourly: Iterable[HourlyCount], completeness: Mapping[datetime, Completeness]
) -> tuple[Finding, ...]:
    """Compare each day that the report counted after it was over with what the event logs tell about it.

    :param daily_counts: of one org; several observations of a day are told by the latest.
    :param hourly: hourly counts of the org.
    :param completeness: of the hours, as ``EventUsage`` has it.
    :returns: a finding for each day that both know something of: ``coverage-confirmed``, ``coverage-is-all``,
        ``coverage-is-soap`` or ``coverage-unclear``.
    """
    logged = _logged_days(hourly, completeness)
    found = []
    for day, (total, coverage) in sorted(_reported_days(daily_counts).items()):
        log = logged.get(day)
        if log is not None and log.completeness is not Completeness.NONE:
            found.append(_compare(day, total, coverage, log))
    return tuple(found)


def _reported_days(counts: Sequence[DailyCount]) -> dict[date, tuple[int, Coverage]]:
    """Return the total of each day by its latest observation, if that was made after the day was over."""
    latest: dict[date, datetime] = {}
    for count in counts:
        latest[count.day] = max(latest.get(count.day, count.observed_at), count.observed_at)
    totals: dict[date, tuple[int, Coverage]] = {}
    for count in counts:
        over = datetime.combine(count.day, time(), UTC) + timedelta(days=1)
        if count.observed_at == latest[count.day] and count.observed_at >= over:
            before = totals.get(count.day, (0, count.coverage))[0]
            totals[count.day] = before + count.calls, count.coverage
    return totals


def _logged_days(hourly: Iterable[HourlyCount], completeness: Mapping[datetime, Completeness]) -> dict[date, LoggedDay]:
    sums: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for count in hourly:
        caller, day = count.caller, count.starts_at.astimezone(UTC).date()
        if caller.counted is not False:
            suffix = "" if caller.counted else "_unknown"
            sums[day]["all" + suffix] += count.calls
            if (caller.family or "").upper() == SOAP:
                sums[day]["soap" + suffix] += count.calls
    days = {hour.astimezone(UTC).date() for hour in completeness}
    return {day: LoggedDay(**sums[day], completeness=_of_day(day, completeness)) for day in days}


def _of_day(day: date, completeness: Mapping[datetime, Completeness]) -> Completeness:
    """Return the state of the least complete hour; a day of which some hours are known is provisional at least."""
    start = datetime.combine(day, time(), UTC)
    hours = [completeness.get(start + HOUR * n, Completeness.NONE) for n in range(24)]
    if all(hour is Completeness.SETTLED for hour in hours):
        return Completeness.SETTLED
    return Completeness.NONE if all(hour is Completeness.NONE for hour in hours) else Completeness.PROVISIONAL


def _compare(day: date, total: int, coverage: Coverage, log: LoggedDay) -> Finding:
    settled = log.completeness is Completeness.SETTLED
    soap_most = log.soap + log.soap_unknown if settled else None
    fits_soap = log.soap <= total and (soap_most is None or total <= soap_most)
    fits_all = log.all <= total
    figures: dict[str, Any] = {
        "day": day.isoformat(),
        "report": total,
        "soap": [log.soap, soap_most],
        "all": [log.all, log.all + log.all_unknown if settled else None],
        "completeness": log.completeness.value,
    }
    return _finding(day, coverage, figures, fits_soap=fits_soap, fits_all=fits_all, log=log, settled=settled)


def _finding(
    day: date,
    coverage: Coverage,
    figures: dict[str, Any],
    *,
    fits_soap: bool,
    fits_all: bool,
    log: LoggedDay,
    settled: bool,
) -> Finding:
    seen = (
        f"{day}: the report tells {figures['report']:,} calls, the event log {log.soap:,} of SOAP and {log.all:,} of "
        f"every kind that count ({log.completeness.value})."
    )
    distinct = log.all > log.soap + log.soap_unknown
    if coverage is Coverage.SOAP and fits_all and not fits_soap:
        return Finding(
            "coverage-is-all",
            Severity.WARNING,
            f"{seen} It counts more than SOAP calls: set coverage='all'.",
            figures,
        )
    if coverage is Coverage.ALL and fits_soap and not fits_all:
        return Finding(
            "coverage-is-soap",
            Severity.WARNING,
            f"{seen} It counts SOAP calls only: set coverage='soap'.",
            figures,
        )
    fits = fits_soap if coverage is Coverage.SOAP else fits_all
    if fits and settled and distinct:
        said = "SOAP calls only" if coverage is Coverage.SOAP else "all calls"
        return Finding(CONFIRMED, Severity.INFO, f"{seen} It counts {said}, as set.", figures)
    contradicted = not fits and (settled or figures["report"] < log.soap)
    advice = (
        "It fits neither; a source is incomplete, or the report covers other users or days."
        if contradicted
        else "That does not tell what the report covers."
    )
    severity = Severity.WARNING if contradicted else Severity.INFO
    return Finding("coverage-unclear", severity, f"{seen} {advice}", figures)
