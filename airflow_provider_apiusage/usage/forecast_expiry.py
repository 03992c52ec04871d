"""What the exact curve says of the next day: bounds of what is used now and of what will have left by when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_apiusage.usage.evidence_curve import Assumptions, ByKind, bounds_or_unknown, fit
from airflow_provider_apiusage.usage.model import (
    STALENESS,
    WINDOW,
    Evidence,
    Interval,
    LimitReading,
    ReadingSource,
)
from airflow_provider_apiusage.usage.window import day_totals

NEAR = 2 * WINDOW + timedelta(hours=1)
"""How far back a piece bears on the window: two windows and an hour."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """How calls leave.

    :param used: bounds of the calls that count now.
    :param expired: for each instant asked about, bounds of those of them that have left by then.
    :param assumptions: under which the bounds hold.
    :param agree: whether all pieces of evidence agree.
    """

    used: Interval
    expired: tuple[Interval, ...]
    assumptions: Assumptions
    agree: bool


def expiry(evidence: Evidence, at: datetime, instants: Sequence[datetime]) -> Expiry:
    """Bound what leaves.

    A call that the org releases late still counts, so what is used is what was made within 24 hours and that lag.
    A reading that is not older than :data:`STALENESS` is taken as what is used now.

    :param evidence: what is known; readings oldest first.
    :param at: the instant from which to look ahead.
    :param instants: in order, none before ``at``.
    """
    near = ByKind(_thinned(evidence.readings), day_totals(evidence.daily_counts), evidence.hours).between(at - NEAR, at)
    found = fit(near)
    lag = found.assumptions.release_lag
    curve, start = found.curve, at - WINDOW
    used = Interval(bounds_or_unknown(curve, start, at).low, bounds_or_unknown(curve, start - lag, at).high)
    newest = latest(evidence.readings)
    if newest is not None and newest.used is not None and newest.source is not ReadingSource.EXHAUSTED:
        if at - newest.observed_at <= STALENESS:
            used = Interval(newest.used, newest.used)
        else:
            gone = bounds_or_unknown(curve, newest.observed_at - WINDOW - lag - STALENESS, start).high
            used = Interval(max(used.low, newest.used - gone) if gone is not None else used.low, used.high)
    expired = []
    for instant in instants:
        end = instant - WINDOW
        low = bounds_or_unknown(curve, start, end - lag).low if end - lag > start else 0
        high = bounds_or_unknown(curve, start - lag, end).high
        if used.high is not None:
            high = used.high if high is None else min(high, used.high)
        if instant == at:
            high = 0
        expired.append(Interval(low if high is None else min(low, high), high))
    return Expiry(used, tuple(expired), found.assumptions, not found.conflict)


def _thinned(readings: Sequence[LimitReading]) -> tuple[LimitReading, ...]:
    """Return the last reading of each five minutes: more of them say little more, and take the curve long."""
    return tuple({int(reading.observed_at.timestamp() // 300): reading for reading in readings}.values())


def latest(readings: Sequence[LimitReading]) -> LimitReading | None:
    """Return the latest reading that says what is used; of several of one instant the highest."""
    known = [reading for reading in readings if reading.used is not None]
    return max(known, key=lambda r: (r.observed_at, r.used or 0), default=None)
