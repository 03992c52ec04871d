"""From yesterday and today to the rolling figure, as Salesforce's article lays it out (knowledge article 000003706)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_apiusage.reporting.content import ReportContent
from airflow_provider_apiusage.reporting.document import (
    Block,
    Chart,
    Code,
    Column,
    Lines,
    Missing,
    Paragraph,
    Section,
    Table,
    Text,
)
from airflow_provider_apiusage.reporting.words import bounds, clock, long_day, moment, number, weekday
from airflow_provider_apiusage.usage.model import Coverage, Interval

ROLLING = "API requests, last 24 hours"
"""As Setup calls the figure."""

COVERAGE = {
    Coverage.SOAP: "SOAP calls only, so each day is a lower bound",
    Coverage.ALL: "every call that counts",
}

_COLUMNS = (Column(""), Column("Calls", numeric=True), Column("The evidence allows", numeric=True), Column("From"))


class Part(StrEnum):
    """What a step adds."""

    TAIL = "tail"
    TODAY = "today"
    REST = "rest"
    ROLLING = "rolling"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the bridge.

    :param part: what it adds; the last is the sum.
    :param label: a few words.
    :param calls: how many; ``None`` if unknown.
    :param allowed: what the evidence allows; ``None`` if that says nothing.
    :param source: where the figure comes from.
    """

    part: Part
    label: str
    calls: int | None
    allowed: Interval | None
    source: str


def rest(content: ReportContent) -> int | None:
    """Return the calls of the rolling figure that the sum does not account for; ``None`` if a part is unknown."""
    told = content.reconciliation
    if told.rolling is None or told.today is None or told.window_tail.estimate is None:
        return None
    return told.rolling - told.today - told.window_tail.estimate


def steps(content: ReportContent) -> tuple[Step, ...]:
    """Return the bridge: the window tail, today so far, what the daily counts do not hold, and the sum."""
    told, tail = content.reconciliation, content.reconciliation.window_tail
    source = "no daily count is known" if told.coverage is None else f"daily counts: {COVERAGE[told.coverage]}"
    left_out = rest(content)
    line = content.line_of_today
    whole = "" if told.yesterday is None else f" (of {told.yesterday:,})"
    parts = [
        Step(
            Part.TAIL,
            f"some calls from {weekday(content.yesterday)}{whole}, after {clock(content.starts_at)}",
            tail.estimate,
            Interval(tail.low, tail.high),
            "rolling figure minus today, as far as yesterday's count goes"
            if told.coverage is Coverage.SOAP
            else "rolling figure minus today",
        ),
        Step(Part.TODAY, f"{weekday(content.today)} so far", told.today, None if line is None else line.calls, source),
    ]
    if left_out or told.coverage is Coverage.SOAP:
        parts.append(Step(Part.REST, "not in the daily counts", left_out, told.residual, "what is left of the sum"))
    reading = "no reading is near enough" if told.rolling is None else "reading of the limit"
    return (*parts, Step(Part.ROLLING, ROLLING, told.rolling, told.window, reading))


def lines(content: ReportContent) -> tuple[str, ...]:
    """Return the figures and the sum as Salesforce words them."""
    told = content.reconciliation
    today, yesterday = weekday(content.today), weekday(content.yesterday)
    whole = "" if told.yesterday is None else f" (of {told.yesterday:,})"
    left_out = rest(content)
    extra = f" + {left_out:,} not in the daily counts" if left_out else ""
    return (
        f"{ROLLING}: {number(told.rolling)}",
        f"{today}: {number(told.today)}",
        f"{yesterday}: {number(told.yesterday)}",
        f"{today} so far {number(told.today)} + some calls from {yesterday} "
        f"{number(told.window_tail.estimate)}{whole}{extra} = {number(told.rolling)} ({ROLLING})",
    )


def section(content: ReportContent) -> Section:
    """Return the part of the report that explains the rolling figure by the days."""
    today, yesterday = weekday(content.today), weekday(content.yesterday)
    blocks: list[Block] = [
        Lines(lines(content)),
        Paragraph(
            (
                f"The last 24 hours began on {moment(content.starts_at)}. Of {yesterday} they hold the calls made "
                f"after {clock(content.starts_at)}, and of {today} all so far: days turn at 00:00 UTC, the window does "
                "not.",
            )
        ),
        *(Missing(text) for text in missing(content)),
        Chart("bridge", _caption(content), (_table(content),)),
    ]
    return Section("bridge", f"From {yesterday} and {today} to the last 24 hours", tuple(blocks))


def missing(content: ReportContent) -> list[Text]:
    """Say which pieces of the sum are unknown, and what gives them."""
    told = content.reconciliation
    texts: list[Text] = []
    if told.rolling is None:
        texts.append(
            (
                "The rolling figure is unknown: no reading was made within five minutes of this instant. ",
                Code("ApiUsageSnapshotOperator"),
                " reads it for 1 call, as a user with View Setup and Configuration; every 15 minutes is a good pace.",
            )
        )
    unknown = [
        long_day(day)
        for day, calls in ((content.today, told.today), (content.yesterday, told.yesterday))
        if calls is None
    ]
    if unknown:
        texts.append((f"The daily count of {' and '.join(unknown)} is unknown. ", *REPORT_GIVEN_BY))
    return texts


REPORT_GIVEN_BY: Text = (
    "Give ",
    Code("ApiUsageSnapshotOperator"),
    " a ",
    Code("daily_report"),
    ": the id of a saved copy of the report API Usage Last 7 Days that the connection's user may read, or the path of "
    "its CSV export.",
)


def _caption(content: ReportContent) -> Text:
    told = content.reconciliation
    if told.today is None or told.window_tail.estimate is None:
        return (f"How the calls are split between the days is unknown; {ROLLING}: {number(told.rolling)}.",)
    left_out = rest(content)
    extra = f" and {left_out:,} that are in no daily count" if left_out else ""
    return (
        f"{number(told.window_tail.estimate)} calls of {weekday(content.yesterday)} and {number(told.today)} of "
        f"{weekday(content.today)}{extra} make {number(told.rolling)} in the last 24 hours. Whiskers reach as far as "
        "the evidence allows.",
    )


def _table(content: ReportContent) -> Table:
    rows = []
    for index, step in enumerate(steps(content)):
        sign = "= " if step.part is Part.ROLLING else "+ " if index else ""
        rows.append(((f"{sign}{step.label}",), (number(step.calls),), (bounds(step.allowed),), (step.source,)))
    unlogged = content.reconciliation.unlogged
    if unlogged is not None:
        rows.append((("of these in no event log",), (bounds(unlogged),), ("",), ("rolling figure minus event logs",)))
    return Table("The bridge in figures", _COLUMNS, tuple(rows))
