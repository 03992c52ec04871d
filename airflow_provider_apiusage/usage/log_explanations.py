"""What event logs lack, and what they show that does not count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from airflow_provider_apiusage.usage.curve import Statement
from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.hour_total import BATCH_PARTS
from airflow_provider_apiusage.usage.hourly import HOUR, hour_of
from airflow_provider_apiusage.usage.model import WINDOW, Completeness, Coverage, Finding, HourTotal, Severity
from airflow_provider_apiusage.usage.reconciliation_findings import pieces_in_words
from airflow_provider_apiusage.usage.window import iso_utc

EXPECTED_WITHIN = timedelta(hours=36)
"""An hour is in a log by then: a daily file comes within a day after its day (Using Event Monitoring)."""

_SHOWN = 6
"""Spans named in a sentence."""


def not_in_event_logs(unlogged: Sequence[Statement]) -> Finding:
    """Explain pieces that agree only if calls were made that settled logs do not show."""
    return Finding(
        "calls-not-in-event-logs",
        Severity.WARNING,
        f"{pieces_in_words(unlogged)} agree only if calls count that the event logs do not show, so the logs are taken "
        "as lower bounds. Likely causes: files that were made again or lost in the org, or kinds of calls that are "
        "not logged. Look which client makes calls at these hours.",
        {"statements": [statement.source for statement in unlogged]},
    )


def of_hours(at: datetime, hours: Sequence[HourTotal]) -> list[Finding]:
    """Explain hours without a log, late ones, and rows that do not count or count more than once.

    :param at: the instant asked about.
    :param hours: what logs tell, oldest first; without any nothing is said.
    """
    if not hours:
        return []
    return [*_missing(hours), *_late(at, hours), *_rows(at, hours)]


def _missing(hours: Sequence[HourTotal]) -> list[Finding]:
    known = {hour.starts_at for hour in hours}
    first, last = min(known), max(known)
    gaps = [first + HOUR * n for n in range((last - first) // HOUR) if first + HOUR * n not in known]
    if not gaps:
        return []
    return [
        Finding(
            "log-hours-missing",
            Severity.WARNING,
            f"{len(gaps):,} hours have no event log although later ones do: {_spans(gaps)}. Their calls are unknown, "
            "not zero, and bounds are wider. Read them with ApiUsageReadEventLogsOperator while the org still keeps "
            "the files (a day; 30 days with Event Monitoring).",
            {"hours": len(gaps), "first": iso_utc(gaps[0]), "last": iso_utc(gaps[-1])},
        )
    ]


def _late(at: datetime, hours: Sequence[HourTotal]) -> list[Finding]:
    last = hours[-1].starts_at + HOUR
    behind = hour_of(at) - last
    open_hours = sum(1 for hour in hours if hour.completeness is Completeness.PROVISIONAL)
    found = []
    if behind > timedelta(0):
        late = behind > EXPECTED_WITHIN
        advice = (
            "That is longer than Salesforce takes: are snapshots taken with `events`, and are log files generated?"
            if late
            else "Hourly files come hours later, daily files a day later; until then only readings bound these hours."
        )
        found.append(
            Finding(
                "log-hours-late",
                Severity.WARNING if late else Severity.INFO,
                f"Event logs reach up to {iso_utc(last)}, {behind // HOUR:,} hours before the present one. {advice}",
                {"until": iso_utc(last), "hours": behind // HOUR},
            )
        )
    if open_hours:
        found.append(
            Finding(
                "log-hours-provisional",
                Severity.INFO,
                f"{open_hours:,} hours of the event logs may still grow, so they are lower bounds; they settle three "
                "days after the day.",
                {"hours": open_hours},
            )
        )
    return found


def _rows(at: datetime, hours: Sequence[HourTotal]) -> list[Finding]:
    inside = [hour for hour in hours if at - WINDOW < hour.starts_at + HOUR and hour.starts_at < at]
    uncounted, batches = sum(hour.uncounted for hour in inside), sum(hour.batches for hour in inside)
    found = []
    if uncounted:
        found.append(
            Finding(
                "calls-that-do-not-count",
                Severity.INFO,
                f"{uncounted:,} calls of the hours in the window do not count against the allowance by their own log "
                "rows: some of Salesforce's own apps, and log-ins. They are in no figure here; adding up a log file "
                "without COUNTS_AGAINST_API_LIMIT gives so many more.",
                {"calls": uncounted},
            )
        )
    if batches:
        found.append(
            Finding(
                "composite-batch-parts",
                Severity.INFO,
                f"{batches:,} Composite Batch requests of the hours in the window are one log row each, but each of up "
                f"to {BATCH_PARTS} parts counts: {batches:,} to {batches * BATCH_PARTS:,} calls. Composite and "
                "sObject Collections do the same work for one call.",
                {"requests": batches, "most_calls": batches * BATCH_PARTS},
            )
        )
    return found


def of_days(days: Sequence[DayLine], hours: Sequence[HourTotal]) -> list[Finding]:
    """Explain daily counts that fit only with the calls that do not count added.

    :param days: the day lines.
    :param hours: what logs tell.
    """
    found = []
    for line in days:
        begins = datetime.combine(line.day, time(), UTC)
        of_day = [hour for hour in hours if begins <= hour.starts_at < begins + WINDOW]
        if line.report is None or line.completeness is not Completeness.SETTLED:
            continue
        bounds = [hour.soap if line.coverage is Coverage.SOAP else hour.calls for hour in of_day]
        most = sum(each.high or 0 for each in bounds)
        uncounted = sum(hour.uncounted for hour in of_day)
        if most < line.report <= most + uncounted:
            found.append(
                Finding(
                    "uncounted-calls-added",
                    Severity.WARNING,
                    f"The daily count of {line.day} is {line.report:,}; the event logs have at most {most:,} such "
                    f"calls that count and {uncounted:,} that do not. It fits only with some of the latter: the daily "
                    "source adds calls that do not count. Filter the report, or do not hold it against the allowance.",
                    {"day": line.day.isoformat(), "report": line.report, "counted": most, "uncounted": uncounted},
                )
            )
    return found


def _spans(hours: Sequence[datetime]) -> str:
    """Return hours as spans: ``2026-10-07T01:00:00Z to 2026-10-07T04:00:00Z``."""
    spans: list[tuple[datetime, datetime]] = []
    for hour in hours:
        if spans and spans[-1][1] == hour:
            spans[-1] = (spans[-1][0], hour + HOUR)
        else:
            spans.append((hour, hour + HOUR))
    shown = ", ".join(f"{iso_utc(start)} to {iso_utc(end)}" for start, end in spans[:_SHOWN])
    more = len(spans) - _SHOWN
    return f"{shown} and {more:,} more spans" if more > 0 else shown
