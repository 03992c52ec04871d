"""The last seven UTC days, each as every source sees it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from airflow_provider_apiusage.usage.day_line import DayLine
from airflow_provider_apiusage.usage.evidence_curve import (
    ByKind,
    Fit,
    bounds_or_unknown,
    curve_of,
    fit,
)
from airflow_provider_apiusage.usage.hourly import HOUR
from airflow_provider_apiusage.usage.logged import logged
from airflow_provider_apiusage.usage.model import (
    WINDOW,
    Completeness,
    Coverage,
    HourTotal,
    Interval,
    LimitReading,
    ReadingSource,
)
from airflow_provider_apiusage.usage.reconciliation_pieces import Pieces
from airflow_provider_apiusage.usage.window import TICK, DayTotal, day_span, iso_utc

MIDNIGHT = timedelta(minutes=15)
"""A reading so near to 00:00 UTC is taken as that of the finished day, for the estimate only."""


def day_lines(pieces: Pieces, whole: Fit) -> tuple[DayLine, ...]:
    """Say what each source tells of the day of ``pieces.at`` and the six before it, oldest first.

    :param pieces: the evidence.
    :param whole: what fits of all of it. If its pieces disagree, each day is told by those near to it alone.
    """
    readings = curve_of(ByKind(readings=pieces.readings), whole.assumptions)
    lines = []
    for day, total in pieces.days:
        start, end = day_span(day)
        until = min(end, pieces.at)
        local = fit(pieces.by_kind.between(start - WINDOW - HOUR, end + HOUR)) if whole.conflict else whole
        calls = local.curve.bounds(start, until)
        line = DayLine(
            day=day,
            until_at=until,
            calls=calls,
            by_readings=bounds_or_unknown(readings, start, until),
            by_logs=logged(pieces.hours, start, until),
            report=None if total is None else total.calls,
            coverage=None if total is None else total.coverage,
            unreported=None if total is None else _unreported(calls, total.calls),
            completeness=_completeness(pieces.hours, start, until),
            agree=not local.conflict,
        )
        lines.append(_with_estimate(line, total, pieces.readings))
    return tuple(lines)


def _unreported(calls: Interval, report: int) -> Interval:
    """Return the calls that count and that the daily source does not show: it shows at most all of them."""
    return Interval(max(0, calls.low - report), None if calls.high is None else max(0, calls.high - report))


def _completeness(hours: tuple[HourTotal, ...], start: datetime, until: datetime) -> Completeness:
    """Return the completeness of the least complete hour of ``(start, until]``."""
    by_hour = {hour.starts_at: hour.completeness for hour in hours}
    first = start + TICK
    count = -((first - until) // HOUR)
    states = [by_hour.get(first + HOUR * n, Completeness.NONE) for n in range(count)]
    order = list(Completeness)
    return min(states, key=order.index, default=Completeness.NONE)


def _with_estimate(line: DayLine, total: DayTotal | None, readings: tuple[LimitReading, ...]) -> DayLine:
    """Add the likeliest number of calls and how it was made: the surest source that suggests one."""
    if line.calls.exact:
        return replace(line, estimate=line.calls.low, estimate_from="the only number that the evidence allows")
    guess: tuple[int, str] | None = None
    if line.completeness is Completeness.SETTLED and line.by_logs.exact:
        guess = line.by_logs.low, "event logs, settled"
    elif (
        total is not None and total.coverage is Coverage.ALL and (total.finished or total.observed_at >= line.until_at)
    ):
        guess = total.calls, "daily counts of every call"
    else:
        reading = _at_midnight(line, readings)
        if reading is not None and reading.used is not None:
            guess = reading.used, f"rolling figure of {iso_utc(reading.observed_at)}, the end of the day"
    if guess is None:
        return line
    calls, how = guess
    inside = max(line.calls.low, calls if line.calls.high is None else min(calls, line.calls.high))
    moved = "" if inside == calls else f", {calls:,} moved into the bounds"
    return replace(line, estimate=inside, estimate_from=how + moved)


def _at_midnight(line: DayLine, readings: tuple[LimitReading, ...]) -> LimitReading | None:
    """Return the reading nearest to the end of a finished day: its window is that day."""
    end = line.until_at
    if end != day_span(line.day)[1]:
        return None
    near = [
        r
        for r in readings
        if r.used is not None and r.source is not ReadingSource.EXHAUSTED and abs(r.observed_at - end) <= MIDNIGHT
    ]
    return min(near, key=lambda r: abs(r.observed_at - end), default=None)
