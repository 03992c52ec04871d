"""What a report is made from, and the questions that several of its parts ask of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from statistics import median

from airflow_provider_apiusage.usage.attribution import Attributions
from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.forecast_model import Forecast
from airflow_provider_apiusage.usage.holdings import Holdings
from airflow_provider_apiusage.usage.model import (
    WINDOW,
    Finding,
    HourTotal,
    LimitReading,
    ReadingSource,
    Severity,
)
from airflow_provider_apiusage.usage.reconciliation import Reconciliation

CHART_POINTS = 700
"""Readings that a chart shows at most: a quarter of an hour each over seven days."""

GAP = timedelta(hours=2)
"""Between readings farther apart than this (or than thrice what is usual) a chart draws no line."""


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What both writers show.

    :param reconciliation: the verdict, its figures, and the week by day.
    :param readings: org-wide readings of ``DailyApiRequests`` of the last 8 days, in any order.
    :param hours: what event logs tell of the hours of these days.
    :param forecast: of the next 24 hours; ``None`` if none was made.
    :param holders: who made the calls in the window, by every dimension; ``None`` without event logs.
    :param made_at: when the report is made (aware).
    :param holdings: the same by some dimensions, with when each gives its calls back; they go before ``holders``.
    """

    reconciliation: Reconciliation
    readings: tuple[LimitReading, ...]
    hours: tuple[HourTotal, ...]
    forecast: Forecast | None
    holders: Attributions | None
    made_at: datetime
    holdings: tuple[Holdings, ...] = ()

    @property
    def at(self) -> datetime:
        """The instant asked about, in UTC."""
        return self.reconciliation.at.astimezone(UTC)

    @property
    def starts_at(self) -> datetime:
        """The instant at which its last 24 hours begin."""
        return self.at - WINDOW

    @property
    def today(self) -> date:
        """Its UTC day."""
        return self.at.date()

    @property
    def yesterday(self) -> date:
        """The UTC day before."""
        return self.today - timedelta(days=1)

    @property
    def limit(self) -> int | None:
        """The allocation; ``None`` if unknown."""
        if self.reconciliation.limit is not None or self.forecast is None:
            return self.reconciliation.limit
        return self.forecast.limit

    @property
    def remaining(self) -> int | None:
        """What the limit leaves, below 0 if more is used; ``None`` if either is unknown."""
        if self.reconciliation.rolling is None or self.limit is None:
            return None
        return self.limit - self.reconciliation.rolling

    @property
    def share(self) -> float | None:
        """Used of limit; ``None`` if either is unknown or nothing is allowed."""
        rolling, limit = self.reconciliation.rolling, self.limit
        return None if rolling is None or not limit or limit < 0 else rolling / limit

    @property
    def line_of_today(self) -> DayLine | None:
        """The day line of its UTC day; ``None`` if there is none."""
        return next((line for line in self.reconciliation.days if line.day == self.today), None)


def findings(content: ReportContent) -> tuple[Finding, ...]:
    """Return the findings of reconciliation and forecast, most severe first, each once."""
    told: list[Finding] = []
    for finding in (*content.reconciliation.findings, *(content.forecast.findings if content.forecast else ())):
        if all((finding.code, finding.message) != (other.code, other.message) for other in told):
            told.append(finding)
    order = list(Severity)
    return tuple(sorted(told, key=lambda finding: -order.index(finding.severity)))


def usable(readings: Iterable[LimitReading], since: datetime, until: datetime) -> list[tuple[datetime, int]]:
    """Return instants and calls used of the readings of ``[since, until]`` that tell them, oldest first.

    A refused call proves that the allowance was used up, not how many calls were used, so it is left out.
    """
    return sorted(
        (reading.observed_at.astimezone(UTC), reading.used)
        for reading in readings
        if reading.used is not None
        and reading.source is not ReadingSource.EXHAUSTED
        and since <= reading.observed_at <= until
    )


def curve_of_readings(points: list[tuple[datetime, int]]) -> list[tuple[datetime, int | None]]:
    """Return what a chart draws: of too many readings the highest of each span, and ``None`` where too few were made.

    :param points: instants and calls, oldest first.
    """
    if len(points) > CHART_POINTS:
        step = (points[-1][0] - points[0][0]) / (CHART_POINTS - 1)
        highest: dict[int, tuple[datetime, int]] = {}
        for at, used in points:
            slot = int((at - points[0][0]) / step) if step else 0
            if slot not in highest or used > highest[slot][1]:
                highest[slot] = (at, used)
        points = sorted({*highest.values(), points[-1]})
    usual = (
        median((after - before).total_seconds() for (before, _), (after, _) in pairwise(points)) if points[1:] else 0
    )
    longest = max(GAP, timedelta(seconds=3 * usual))
    drawn: list[tuple[datetime, int | None]] = []
    for at, used in points:
        if drawn and at - drawn[-1][0] > longest:
            drawn.append((drawn[-1][0] + (at - drawn[-1][0]) / 2, None))
        drawn.append((at, used))
    return drawn


def limits(content: ReportContent, since: datetime) -> list[tuple[datetime, int]]:
    """Return each allocation with the instant since which it was read, then the present one and its end, oldest first.

    :param content: of the report.
    :param since: what was read before is left out.
    """
    steps: list[tuple[datetime, int]] = []
    for reading in sorted(content.readings, key=lambda reading: reading.observed_at):
        at = reading.observed_at.astimezone(UTC)
        if reading.limit is not None and since <= at <= content.at and (not steps or steps[-1][1] != reading.limit):
            steps.append((at, reading.limit))
    if content.limit is not None:
        if not steps or steps[-1][1] != content.limit:
            steps.append((content.at, content.limit))
        steps.append((content.at + WINDOW, content.limit))
    return steps
