"""The week by day: what each source sees of it."""

from __future__ import annotations

from airflow_provider_apiusage.reporting.bridge import REPORT_GIVEN_BY
from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.document import (
    Block,
    Chart,
    Code,
    Column,
    Missing,
    Paragraph,
    Section,
    Table,
    Text,
)
from airflow_provider_apiusage.reporting.words import UNKNOWN, bounds, clock, long_day, number
from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.model import Completeness, Coverage, Interval
from airflow_provider_apiusage.usage.window import day_span

_NOTHING = Interval(0)

_STATE = {
    Completeness.SETTLED: "settled",
    Completeness.PROVISIONAL: "may grow",
    Completeness.NONE: "hours missing",
}

_COLUMNS = (
    Column("Day (UTC)"),
    Column("Daily report", numeric=True),
    Column("By readings", numeric=True),
    Column("By event logs", numeric=True),
    Column("All together", numeric=True),
    Column("Not in the report, at least", numeric=True),
    Column("at most", numeric=True),
    Column("Likeliest", numeric=True),
    Column("by"),
)

LOGS_GIVEN_BY: Text = (
    "Give ",
    Code("ApiUsageSnapshotOperator"),
    " the argument ",
    Code('events="auto"'),
    ", as a user with View Event Log Files; in Setup, Event Monitoring Settings, turn on Generate Event Log Files.",
)
READINGS_GIVEN_BY: Text = (
    "Run ",
    Code("ApiUsageSnapshotOperator"),
    " every 15 minutes, as a user with View Setup and Configuration.",
)


def section(content: ReportContent) -> Section:
    """Return the part of the report that shows the last seven days."""
    days = content.reconciliation.days
    if not days:
        return Section("week", "The week by day", (Missing(("Nothing is known of single days. ", *READINGS_GIVEN_BY)),))
    blocks: list[Block] = [
        Paragraph(
            (
                "Each source sees the day in its own way: readings of the rolling figure bound it, event logs count it "
                f"hour by hour, the daily report tells {_coverage(days)}. All together is what no source contradicts.",
            )
        )
    ]
    if all(line.report is None for line in days):
        blocks.append(Missing(("No daily report tells of these days. ", *REPORT_GIVEN_BY)))
    if all(line.by_logs == _NOTHING for line in days):
        blocks.append(Missing(("No event log tells of these days. ", *LOGS_GIVEN_BY)))
    if all(line.by_readings == _NOTHING for line in days):
        blocks.append(Missing(("No reading bounds these days. ", *READINGS_GIVEN_BY)))
    blocks.append(Chart("week", _caption(days), (_table(days),)))
    return Section("week", "The week by day", tuple(blocks))


def _coverage(days: tuple[DayLine, ...]) -> str:
    kinds = {line.coverage for line in days if line.coverage is not None}
    if not kinds:
        return "nothing here"
    if kinds == {Coverage.SOAP}:
        return "SOAP calls only"
    return "every call" if kinds == {Coverage.ALL} else "SOAP calls only on some days, every call on others"


def _caption(days: tuple[DayLine, ...]) -> Text:
    known = [line for line in days if line.estimate is not None]
    peak = max(known, key=lambda line: line.estimate or 0, default=None)
    most = "" if peak is None else f" Most calls were likely made on {long_day(peak.day)}: {number(peak.estimate)}."
    return (
        f"Bars are what is sure, whiskers what is possible; an open triangle has no known upper bound, a question mark "
        f"is unknown.{most}",
    )


def _table(days: tuple[DayLine, ...]) -> Table:
    return Table("Calls by day and source", _COLUMNS, tuple(_row(line) for line in days))


def _row(line: DayLine) -> tuple[Text, ...]:
    so_far = f", up to {clock(line.until_at)}" if line.until_at < day_span(line.day)[1] else ""
    soap = " (SOAP)" if line.coverage is Coverage.SOAP and line.report is not None else ""
    logs = bounds(line.by_logs)
    unreported = line.unreported
    return (
        (f"{long_day(line.day)}{so_far}",),
        (f"{number(line.report)}{soap}",),
        (bounds(line.by_readings),),
        (logs if logs == UNKNOWN else f"{logs} ({_STATE[line.completeness]})",),
        (bounds(line.calls) if line.agree else f"{bounds(line.calls)} (sources disagree)",),
        (number(None if unreported is None else unreported.low),),
        (number(None if unreported is None else unreported.high),),
        (number(line.estimate),),
        ("exact" if line.calls.exact else line.estimate_from or "",),
    )
