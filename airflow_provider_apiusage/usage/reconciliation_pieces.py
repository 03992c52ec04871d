"""What the evidence offers for one reconciliation: the reading, the two days, and what is missing of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from airflow_provider_apiusage.usage import reconciliation_findings as explain
from airflow_provider_apiusage.usage.evidence_curve import ByKind
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    STALENESS,
    Coverage,
    Evidence,
    Finding,
    HourTotal,
    LimitReading,
    ReadingSource,
    Severity,
)
from airflow_provider_apiusage.usage.window import DayTotal, day_span, day_totals, utc_day

REPORT_DAYS = 7
"""UTC days that the report "API Usage Last 7 Days" covers, the running one included."""


@dataclass(slots=True)
class Pieces:
    """What the evidence offers for one reconciliation.

    :param at: the instant asked about.
    :param reading: the rolling figure's, at most five minutes old; ``None`` if there is none.
    :param readings: all readings up to ``at``, oldest first.
    :param today: the count of the UTC day of ``at`` to be used.
    :param yesterday: the count of the day before to be used.
    :param totals: all daily counts of the evidence, added up by day and observation.
    :param hours: what event logs tell of the hours up to ``at``.
    :param days: the count to be used of the day of ``at`` and the six before it, oldest first.
    :param findings: what is missing or odd about them.
    """

    at: datetime
    reading: LimitReading | None
    readings: tuple[LimitReading, ...]
    today: DayTotal | None
    yesterday: DayTotal | None
    totals: tuple[DayTotal, ...]
    hours: tuple[HourTotal, ...] = ()
    days: tuple[tuple[date, DayTotal | None], ...] = ()
    findings: list[Finding] = field(default_factory=list)

    @property
    def by_kind(self) -> ByKind:
        """Everything, by kind."""
        chosen = [total for _, total in self.days if total is not None]
        return ByKind(self.readings, tuple(dict.fromkeys([*self.totals, *chosen])), self.hours)

    @property
    def earlier(self) -> tuple[LimitReading, ...]:
        """Readings that are not the same five minutes' as the one reconciled."""
        if self.reading is None:
            return self.readings
        bound = self.reading.observed_at - STALENESS
        return tuple(reading for reading in self.readings if reading.observed_at < bound)

    def near(self, span: timedelta) -> tuple[LimitReading, ...]:
        """Return the readings of the last ``span``."""
        return tuple(reading for reading in self.readings if reading.observed_at >= self.at - span)

    @property
    def limit(self) -> int | None:
        """The allocation as last reported, by the reading reconciled if it tells."""
        readings = (self.reading, *reversed(self.readings))
        return next((r.limit for r in readings if r is not None and r.limit is not None), None)

    @property
    def whole_yesterday(self) -> int | None:
        """Yesterday's calls, if they were counted after its end."""
        return self.yesterday.calls if self.yesterday is not None and self.yesterday.finished else None

    @property
    def coverage(self) -> Coverage | None:
        """``all`` only if every day used has it."""
        days = [day for day in (self.today, self.yesterday) if day is not None] or list(self.totals)
        if not days:
            return None
        return Coverage.ALL if all(day.coverage is Coverage.ALL for day in days) else Coverage.SOAP

    @property
    def gap(self) -> timedelta:
        """How much later than the rolling figure today was counted; zero if either is unknown."""
        if self.reading is None or self.today is None:
            return timedelta(0)
        return self.today.observed_at - self.reading.observed_at


def gather(evidence: Evidence) -> Pieces:
    """Choose the reading and the days, and say what is missing.

    :param evidence: what is known; readings of other limits, of single apps or later than ``at`` are left
        aside.
    :raises ValueError: if ``at`` is naive.
    """
    at, today = evidence.at, utc_day(evidence.at)
    readings = sorted(
        (r for r in evidence.readings if r.name == API_REQUESTS and not r.scope and r.observed_at <= at),
        key=lambda r: (r.observed_at, r.source is ReadingSource.LIMITS, r.received_at),
    )
    usable = [r for r in readings if r.used is not None and r.source is not ReadingSource.EXHAUSTED]
    latest = usable[-1] if usable else None
    reading = latest if latest is not None and at - latest.observed_at <= STALENESS else None
    unread = {finding.figures.get("day") for finding in evidence.findings if finding.severity is Severity.ERROR}
    totals = tuple(total for total in day_totals(evidence.daily_counts) if total.day.isoformat() not in unread)
    days = {
        day: None if day.isoformat() in unread else _choose(totals, day, at)
        for day in (today - timedelta(days=back) for back in reversed(range(REPORT_DAYS)))
    }
    pieces = Pieces(
        at=at,
        reading=reading,
        readings=tuple(readings),
        today=days[today],
        yesterday=days[today - timedelta(days=1)],
        totals=totals,
        hours=tuple(hour for hour in evidence.hours if hour.starts_at < at),
        days=tuple(days.items()),
        findings=[finding for finding in evidence.findings if finding.severity is not Severity.INFO],
    )
    pieces.findings += explain.readings(at, reading, readings)
    pieces.findings += explain.days(today, pieces.today, pieces.yesterday, totals)
    if pieces.reading is not None and abs(pieces.gap) > STALENESS:
        pieces.findings.append(explain.read_at_another_time(pieces.gap))
    return pieces


def _choose(totals: Sequence[DayTotal], day: date, at: datetime) -> DayTotal | None:
    """Return the total of a day to use at ``at``: of whole-day counts the nearest in time, else the nearest.

    Without a row of that day it is 0 if the nearest observation that covers the day has rows of other days. Which
    days it covers is not told: those since its first row, and yesterday at least.
    """
    start, _ = day_span(day)
    first: dict[tuple[datetime, str], date] = {}
    for total in totals:
        key = (total.observed_at, total.source)
        first[key] = min(first.get(key, utc_day(at) - timedelta(days=1)), total.day)
    candidates = [total for total in totals if total.day == day and total.observed_at > start]
    if not candidates:
        candidates = [
            replace(total, day=day, calls=0)
            for total in totals
            if timedelta(0) <= utc_day(total.observed_at) - day < timedelta(days=REPORT_DAYS)
            and day >= first[total.observed_at, total.source]
        ]
    past = day < utc_day(at)
    return min(
        candidates,
        key=lambda total: (past and not total.finished, abs(total.observed_at - at), total.source),
        default=None,
    )
