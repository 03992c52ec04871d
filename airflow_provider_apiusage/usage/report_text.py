"""A reconciliation as a table for a task's log, laid out as Salesforce explains the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, timedelta

from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.evidence_curve import UNKNOWN
from airflow_provider_apiusage.usage.model import WINDOW, Coverage, Interval, Severity
from airflow_provider_apiusage.usage.reconciliation import Reconciliation
from airflow_provider_apiusage.usage.window import utc_day

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
"""Names that do not depend on the worker's locale."""

_COVERAGE = {
    Coverage.SOAP: "SOAP calls only: each day is a lower bound",
    Coverage.ALL: "every call that counts against the allowance",
    None: "unknown: no daily counts",
}
_MARKS = {Severity.INFO: "info   ", Severity.WARNING: "WARNING", Severity.ERROR: "ERROR  "}


def as_table(reconciliation: Reconciliation) -> str:
    """Return a reconciliation as plain text for a person.

    :param reconciliation: any; every unknown is put in words.
    :return: lines without a trailing newline: window, days, verdict, sum, week and findings.
    """
    today = utc_day(reconciliation.at)
    yesterday = today - timedelta(days=1)
    end = reconciliation.at.astimezone(UTC)
    start = end - WINDOW
    rows = [
        (
            "Window (UTC)",
            f"{_weekday(yesterday)} {start:%Y-%m-%d %H:%M:%S} to {_weekday(today)} {end:%Y-%m-%d %H:%M:%S}",
        ),
        ("API requests, last 24 hours", _rolling(reconciliation)),
        (f"{_weekday(today)} {today}", _calls(reconciliation.today)),
        (f"{_weekday(yesterday)} {yesterday}", _calls(reconciliation.yesterday)),
        (f"{_weekday(yesterday)} in the window", _tail(reconciliation)),
        ("Not in the daily counts", _residual(reconciliation.residual)),
        *_beside_the_logs(reconciliation.unlogged),
        ("Daily counts cover", _COVERAGE[reconciliation.coverage]),
        ("Verdict", _verdict(reconciliation)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"API usage of org {reconciliation.org_id}"]
    lines += [f"  {name:<{width}}  {text}" for name, text in rows]
    lines += ["", f"  {_sum(reconciliation, today, yesterday)}"]
    lines += ["", *(f"  {line}" for line in _week(reconciliation.days))] if _tells(reconciliation.days) else []
    lines += [""] if reconciliation.findings else []
    lines += [f"  {_MARKS[f.severity]}  {f.code}: {f.message}" for f in reconciliation.findings]
    return "\n".join(lines)


def _weekday(day: date) -> str:
    return _WEEKDAYS[day.weekday()]


def _calls(calls: int | None) -> str:
    return "unknown" if calls is None else f"{calls:,}"


def _rolling(reconciliation: Reconciliation) -> str:
    rolling, limit = reconciliation.rolling, reconciliation.limit
    if limit is None:
        return f"{_calls(rolling)} (limit unknown)"
    share = f", {rolling / limit:.1%}" if rolling is not None and limit > 0 else ""
    return f"{_calls(rolling)} of {limit:,}{share}"


def _tail(reconciliation: Reconciliation) -> str:
    tail = reconciliation.window_tail
    allowed = f"at least {tail.low:,}" if tail.high is None else f"{tail.low:,} to {tail.high:,}"
    at_most = "at most " if reconciliation.coverage is Coverage.SOAP and tail.estimate is not None else ""
    return f"{at_most}{_calls(tail.estimate)} (the evidence allows {allowed})"


def _residual(residual: Interval | None) -> str:
    if residual is None:
        return "unknown"
    if residual.exact:
        return f"{residual.low:,}"
    return f"at least {residual.low:,}" if residual.high is None else f"{residual.low:,} to {residual.high:,}"


def _verdict(reconciliation: Reconciliation) -> str:
    if reconciliation.consistent is None:
        return "undecided: a piece is missing or was read at another time"
    return "consistent" if reconciliation.consistent else "INCONSISTENT: the sources contradict one another"


def _sum(reconciliation: Reconciliation, today: date, yesterday: date) -> str:
    """Return the sum as Salesforce words it, with what the days do not account for."""
    tail = reconciliation.window_tail.estimate
    of = "" if reconciliation.yesterday is None else f" (of {reconciliation.yesterday:,})"
    line = (
        f"{_weekday(today)} {_calls(reconciliation.today)} + some calls from {_weekday(yesterday)} {_calls(tail)}{of}"
    )
    if reconciliation.rolling is not None and reconciliation.today is not None and tail is not None:
        missing = reconciliation.rolling - reconciliation.today - tail
        line += f" + {missing:,} not in the daily counts" if missing else ""
    return f"{line} = {_calls(reconciliation.rolling)} (API requests, last 24 hours)"


def _beside_the_logs(unlogged: Interval | None) -> list[tuple[str, str]]:
    return [] if unlogged is None else [("Rolling beyond the event logs", _residual(unlogged))]


def _tells(days: Sequence[DayLine]) -> bool:
    """Return whether more than the two days of the sum above is known."""
    return any(_known(line) for line in days[:-2]) or any(
        line.by_logs != UNKNOWN or line.by_readings.high is not None for line in days
    )


def _known(line: DayLine) -> bool:
    return line.report is not None or line.calls != UNKNOWN


def _week(days: Sequence[DayLine]) -> list[str]:
    """Return the days as a table: what each source tells, what all tell together, and what the daily source lacks."""
    head = ("Day (UTC)", "daily source", "readings", "event logs", "together", "not in the daily source")
    rows = [head]
    for line in days:
        rows.append(
            (
                f"{_weekday(line.day)[:3]} {line.day}",
                _calls(line.report),
                in_words(line.by_readings),
                in_words(line.by_logs),
                _together(line),
                "unknown" if line.unreported is None else in_words(line.unreported),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _together(line: DayLine) -> str:
    likely = line.estimate is not None and not line.calls.exact
    text = in_words(line.calls) + (f", likely {line.estimate:,}" if likely else "")
    return text if line.agree else f"{text} (pieces disagree)"


def in_words(interval: Interval) -> str:
    """Return bounds for a person: ``1,200``, ``1,200 to 3,400``, ``at least 1,200`` or ``unknown``."""
    if interval == UNKNOWN:
        return "unknown"
    return _residual(interval)
