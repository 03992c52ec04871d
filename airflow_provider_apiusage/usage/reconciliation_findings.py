"""The findings of a reconciliation in words: the figures, the likely cause, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_apiusage.usage.curve import Statement
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    STALENESS,
    Coverage,
    Finding,
    LimitReading,
    ReadingSource,
    Severity,
)
from airflow_provider_apiusage.usage.window import DayTotal, iso_utc, statements_of_reading

if TYPE_CHECKING:
    from airflow_provider_apiusage.usage.reconciliation import Reconciliation

CLOCK_SKEW = timedelta(minutes=2)
"""A larger difference between the org's clock and ours is worth a look."""

_SNAPSHOT = "ApiUsageSnapshotOperator"
_REPORT = f"give {_SNAPSHOT} a `daily_report`: the id of a saved copy of the report, or its CSV export"
_NAMED = 8
"""Pieces named in a sentence; the figures of a finding have them all."""

_CONTRADICTIONS = {"tail-above-yesterday", "today-above-rolling"}


def readings(at: datetime, reading: LimitReading | None, known: Sequence[LimitReading]) -> list[Finding]:
    """Explain a rolling figure that is missing, and what is odd about the latest readings.

    :param at: the instant asked about.
    :param reading: the one reconciled, if there is one.
    :param known: all readings up to ``at``, oldest first.
    """
    found = []
    if reading is None:
        found.append(_no_reading(at, known))
    elif abs(reading.skew) > CLOCK_SKEW:
        seconds = int(reading.skew.total_seconds())
        ahead = "ahead of" if seconds > 0 else "behind"
        found.append(
            Finding(
                "clock-skew",
                Severity.WARNING,
                f"The org's clock is {timedelta(seconds=abs(seconds))} {ahead} the worker's. Windows and days are "
                "computed in the org's time, so the figures stand; set the worker's clock by NTP.",
                {"seconds": seconds},
            )
        )
    return found


def _no_reading(at: datetime, known: Sequence[LimitReading]) -> Finding:
    usable = [r for r in known if r.used is not None and r.source is not ReadingSource.EXHAUSTED]
    if usable:
        latest = usable[-1]
        minutes = int((at - latest.observed_at) / timedelta(minutes=1))
        return Finding(
            "reading-too-old",
            Severity.WARNING,
            f"The latest reading of {API_REQUESTS} ({latest.used:,} used) is {minutes:,} minutes older than "
            "the instant asked about, so it speaks of another window. Reconcile at "
            f"{iso_utc(latest.observed_at)}, or take a snapshot first ({_SNAPSHOT}).",
            {"used": latest.used, "observed_at": iso_utc(latest.observed_at), "minutes": minutes},
        )
    exhausted = " All that is known is that the org refused a call because the allowance was used up." if known else ""
    return Finding(
        "reading-missing",
        Severity.WARNING,
        f"No reading tells how many calls were used in the 24 hours before {iso_utc(at)}.{exhausted} "
        f"Run {_SNAPSHOT} with a user who may view setup and configuration.",
        {"readings": len(known)},
    )


def days(day: date, today: DayTotal | None, yesterday: DayTotal | None, totals: Sequence[DayTotal]) -> list[Finding]:
    """Explain daily counts that are missing, unfinished, without rows or of different coverage.

    :param day: the UTC day of the instant asked about.
    :param today: the count of that day to be used, if there is one.
    :param yesterday: the count of the day before to be used, if there is one.
    :param totals: all daily counts of the evidence.
    """
    before = day - timedelta(days=1)
    found = []
    missing = [wanted for wanted, total in ((day, today), (before, yesterday)) if total is None]
    if missing:
        names = " and ".join(wanted.isoformat() for wanted in missing)
        found.append(
            Finding(
                "daily-counts-missing",
                Severity.WARNING,
                f"No daily count of {names} (UTC) is known, so the rolling figure cannot be checked against "
                f"it: {_REPORT}.",
                {"days": [wanted.isoformat() for wanted in missing]},
            )
        )
    if yesterday is not None and not yesterday.finished:
        found.append(
            Finding(
                "day-unfinished",
                Severity.WARNING,
                f"Yesterday's {yesterday.calls:,} calls were read at {iso_utc(yesterday.observed_at)}, "
                "before the day was over: a lower bound. Read the daily counts again after 00:00 UTC "
                f"({_SNAPSHOT}).",
                {"day": before.isoformat(), "calls": yesterday.calls},
            )
        )
    without = [total.day for total in (yesterday, today) if total is not None and total not in totals]
    if without:
        names = " and ".join(wanted.isoformat() for wanted in without)
        found.append(
            Finding(
                "day-without-rows",
                Severity.INFO,
                f"The daily counts have rows of other days but none of {names}, which counts as 0 calls.",
                {"days": [wanted.isoformat() for wanted in without]},
            )
        )
    if today is not None and yesterday is not None and today.coverage is not yesterday.coverage:
        found.append(
            Finding(
                "coverage-mixed",
                Severity.WARNING,
                "Today's and yesterday's counts do not cover the same calls; both are taken as lower "
                "bounds (SOAP only). Give every source of daily counts the same `coverage`.",
                {"today": today.coverage.value, "yesterday": yesterday.coverage.value},
            )
        )
    return found


def read_at_another_time(gap: timedelta) -> Finding:
    """Explain that the rolling figure and today's count were read apart.

    :param gap: how much later than the reading the count was read.
    """
    minutes = round(abs(gap) / timedelta(minutes=1))
    if gap > STALENESS:
        when, effect = "after", "may hold calls the rolling figure does not"
    else:
        when, effect = "before", "misses calls the rolling figure has"
    return Finding(
        "daily-counts-read-at-another-time",
        Severity.WARNING,
        f"Today's count was read {minutes:,} minutes {when} the rolling figure, so it {effect}; a miss in "
        "that direction decides nothing. Read both in one snapshot.",
        {"minutes": round(gap / timedelta(minutes=1))},
    )


def over_the_limit(used: int, limit: int) -> Finding:
    """Explain more calls than allowed."""
    return Finding(
        "over-the-limit",
        Severity.WARNING,
        f"{used:,} calls are used of {limit:,}: {used - limit:,} over. The limit is soft for paid "
        "production orgs up to a cap Salesforce does not publish; calls may be refused at any time. "
        "Postpone loads until calls expire.",
        {"used": used, "limit": limit},
    )


def released_late(conflict: Sequence[Statement]) -> Finding:
    """Explain pieces that agree only if expired calls stay counted for up to an hour."""
    return Finding(
        "calls-released-late",
        Severity.INFO,
        f"{pieces_in_words(conflict)} agree only if calls older than 24 hours stayed counted for up to an hour "
        "more, as has been seen of orgs that release them on the hour; bounds are widened by that.",
        {"statements": [statement.source for statement in conflict]},
    )


def evidence_conflict(conflict: Sequence[Statement]) -> Finding:
    """Name pieces that no history of calls can satisfy together."""
    return Finding(
        "evidence-conflict",
        Severity.ERROR,
        f"No history of calls fits all of these: {pieces_in_words(conflict)}. Likely causes: the daily counts do "
        "not cover what `coverage` says, a count that the source corrected later, or figures of another "
        "org; read them again.",
        {"statements": [statement.source for statement in conflict]},
    )


def told_already(conflict: Sequence[Statement], findings: Iterable[Finding], earlier: Iterable[LimitReading]) -> bool:
    """Return whether a finding has explained the conflict already: one without any earlier reading."""
    others = {statement.source for reading in earlier for statement in statements_of_reading(reading)}
    return not others & {statement.source for statement in conflict} and any(
        finding.code in _CONTRADICTIONS for finding in findings
    )


def pieces_in_words(conflict: Sequence[Statement]) -> str:
    """Name the pieces of a conflict, the first and the last of many; each once."""
    sources = list(dict.fromkeys(statement.source for statement in conflict))
    if len(sources) > _NAMED:
        left_out = len(sources) - _NAMED
        half = _NAMED // 2
        sources = [*sources[:half], f"({left_out:,} more)", *sources[-half:]]
    return "; ".join(sources)


def comparison(figures: Reconciliation, left: int, tolerance: int) -> list[Finding]:
    """Explain how the rolling figure and the daily counts relate.

    :param figures: the reconciliation, with verdict and residual.
    :param left: ``rolling - today``, what is left for yesterday.
    :param tolerance: calls by which the estimate may miss its bounds.
    """
    today, rolling, yesterday = figures.today or 0, figures.rolling or 0, figures.yesterday
    undecided = " The two were read too far apart for a verdict." if figures.consistent is None else ""
    severity = Severity.WARNING if undecided else Severity.ERROR
    if left < -tolerance and figures.consistent:
        return [
            Finding(
                "within-staleness",
                Severity.INFO,
                f"The daily counts have {today:,} calls today, {-left:,} more than the {rolling:,} of the whole "
                "rolling window. The figure may be five minutes late, and as many calls have come between two "
                "snapshots lately. Nothing to do.",
                {"today": today, "rolling": rolling},
            )
        ]
    if left < -tolerance:
        return [
            Finding(
                "today-above-rolling",
                severity,
                f"The daily counts have {today:,} calls today, {-left:,} more than the {rolling:,} of the "
                "whole rolling window. Likely causes: calls that do not count against the allowance are in "
                f"the daily counts, the rolling figure lags, or the counts are another org's.{undecided}",
                {"today": today, "rolling": rolling},
            )
        ]
    if figures.coverage is Coverage.SOAP:
        return _not_in_the_report(figures, rolling)
    if yesterday is not None and left > yesterday + tolerance:
        return [
            Finding(
                "tail-above-yesterday",
                severity,
                f"{rolling:,} rolling - {today:,} today leaves {left:,} for yesterday, {left - yesterday:,} "
                f"more than the {yesterday:,} counted. Most likely the daily source leaves calls out (REST "
                f"and Bulk): if so, say `coverage: soap`.{undecided}",
                {"estimate": left, "yesterday": yesterday},
            )
        ]
    if figures.residual is None or figures.residual.low == 0 or figures.consistent is not True:
        return []
    amount = abs(figures.residual.low)
    beyond = left < 0 or (yesterday is not None and left > yesterday)
    why = (
        "the daily counts allow: within the tolerance"
        if beyond
        else "earlier readings allow: figures may lag 5 minutes"
    )
    return [
        Finding(
            "within-tolerance" if beyond else "within-staleness",
            Severity.INFO,
            f"The window tail of {left:,} is {amount:,} calls "
            f"{'more' if figures.residual.low > 0 else 'less'} than {why}.",
            {"estimate": left, "residual": figures.residual.low},
        )
    ]


def _not_in_the_report(figures: Reconciliation, rolling: int) -> list[Finding]:
    """Explain the calls of the window that a SOAP-only report does not show."""
    residual = figures.residual
    if residual is None or residual.high is None or residual.high <= 0:
        return []
    least = f"At least {residual.low:,} and at most" if residual.low > 0 else "At most"
    return [
        Finding(
            "soap-only-report",
            Severity.INFO,
            f"{least} {residual.high:,} of the {rolling:,} rolling calls are not in the report: REST "
            "and Bulk calls, which it is documented to leave out. If your report counts every call, say "
            '`coverage="all"`.',
            {"low": residual.low, "high": residual.high, "rolling": rolling},
        )
    ]
