"""Findings, and how to read a report."""

from __future__ import annotations

from datetime import UTC, timedelta

from airflow_provider_apiusage.reporting.bridge import COVERAGE
from airflow_provider_apiusage.reporting.content import ReportContent, findings
from airflow_provider_apiusage.reporting.document import (
    Bullets,
    Column,
    Findings,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
)
from airflow_provider_apiusage.reporting.words import UNKNOWN, counted, moment, span
from airflow_provider_apiusage.usage.model import STALENESS, Completeness

_SOURCE_COLUMNS = (Column("Source"), Column("What is known"), Column("What it counts"))


def findings_section(content: ReportContent) -> Section:
    """Return the part of the report that lists the findings."""
    told = findings(content)
    if not told:
        return Section("findings", "Findings", (Paragraph(("None: nothing is odd or missing.",)),))
    legend = (
        "Most severe first. An error says that sources contradict one another, a warning wants a look, an info "
        "explains a difference and needs nothing done unless it says so."
    )
    return Section("findings", "Findings", (Paragraph((legend,)), Findings(told)))


def reading_section(content: ReportContent) -> Section:
    """Return the part of the report that says where its figures come from and how to take them."""
    items: tuple[Text, ...] = (
        (
            Strong("Instants"),
            " are the org's, in UTC. The window is the 24 hours up to the instant of the report, always "
            "moving; a day is a UTC day, so the two differ by what is left of yesterday in the window.",
        ),
        (
            Strong("Bounds"),
            " hold whatever happened between the pieces that are known: 1,200 to 3,400 means that no "
            "history outside of it fits. At least 1,200 has no known upper end. They are never guesses; what is "
            "guessed is called expected or likeliest and says how.",
        ),
        (Strong("Unknown"), " is a thing nobody told, never 0."),
        (
            Strong("Limits"),
            f" are soft for paid production orgs, and figures may be {STALENESS // timedelta(minutes=1)} "
            "minutes late by Salesforce's own word; a difference within that is no contradiction.",
        ),
    )
    return Section(
        "reading", "How to read this", (Bullets(items), Table("Sources", _SOURCE_COLUMNS, _sources(content)))
    )


def _sources(content: ReportContent) -> tuple[tuple[Text, ...], ...]:
    told = content.reconciliation
    days = sum(1 for line in told.days if line.report is not None)
    report = UNKNOWN if not days else f"{counted(days, 'day')} of the last {len(told.days):,}"
    covers = f"; {COVERAGE[told.coverage]}" if told.coverage is not None else ""
    rows: list[tuple[Text, ...]] = [
        (("Readings of the limit",), (_readings(content),), ("calls used in the 24 hours before each, of any kind",)),
        (("Daily report",), (report,), (f"calls by user and UTC day{covers}",)),
        (("Event logs",), (_logs(content),), ("calls by UTC hour and caller, counted or not",)),
    ]
    if content.forecast is not None:
        history = span(content.forecast.history) if content.forecast.history else UNKNOWN
        rows.append((("Forecast",), (f"history: {history}",), ("what is expected, with its range",)))
    return tuple(rows)


def _readings(content: ReportContent) -> str:
    if not content.readings:
        return UNKNOWN
    last = max(reading.observed_at for reading in content.readings)
    return f"{counted(len(content.readings), 'reading')}, the last on {moment(last.astimezone(UTC))}"


def _logs(content: ReportContent) -> str:
    if not content.hours:
        return UNKNOWN
    last = max(hour.starts_at for hour in content.hours) + timedelta(hours=1)
    settled = sum(1 for hour in content.hours if hour.completeness is Completeness.SETTLED)
    return f"{counted(len(content.hours), 'hour')} up to {moment(last.astimezone(UTC))}, {settled:,} of them settled"
