"""All the evidence -> the one curve, under the tightest assumptions that it allows.

What a piece proves rests on assumptions that no document settles: how long an expired call stays counted, and whether
event logs show every call that counts. The tightest assumptions under which all pieces agree are used; what had to be
loosened is told. If the pieces disagree under any of them, the pieces that do are named, and what is left of the
evidence without one kind gives the bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from airflow_provider_apiusage.usage.curve import Curve, Statement
from airflow_provider_apiusage.usage.hourly import HOUR
from airflow_provider_apiusage.usage.model import HourTotal, Interval, LimitReading
from airflow_provider_apiusage.usage.release import KINDS, LATEST_RELEASE, learn_release
from airflow_provider_apiusage.usage.window import (
    TICK,
    DayTotal,
    iso_utc,
    statements_of_reading,
    statements_of_total,
)

UNKNOWN = Interval(0)
"""Nothing is known: any number of calls."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the pieces are taken to prove.

    :param release_lag: how long an expired call may stay counted.
    :param logs_complete: whether a settled log shows every call that counts; if not, it is a lower bound.
    """

    release_lag: timedelta
    logs_complete: bool = True


@dataclass(frozen=True, slots=True)
class ByKind:
    """Evidence by kind: readings of the rolling figure, totals of days, totals of hours."""

    readings: tuple[LimitReading, ...] = ()
    totals: tuple[DayTotal, ...] = ()
    hours: tuple[HourTotal, ...] = ()

    def between(self, start: datetime, end: datetime) -> ByKind:
        """Return the pieces that speak of nothing but ``(start, end]`` and the window before it."""
        return ByKind(
            tuple(r for r in self.readings if start <= r.observed_at <= end),
            tuple(t for t in self.totals if start.date() <= t.day <= end.date()),
            tuple(h for h in self.hours if start - HOUR < h.starts_at < end),
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """The curve that the pieces leave.

    :param curve: free of contradiction.
    :param assumptions: under which its statements were made.
    :param conflict: the pieces that disagree under any assumption; empty if all agree.
    :param late: pieces that agree only if expired calls stay counted for a while; empty if there are none.
    :param unlogged: pieces that agree only if event logs do not show every call; empty if there are none.
    """

    curve: Curve
    assumptions: Assumptions
    conflict: tuple[Statement, ...] = ()
    late: tuple[Statement, ...] = ()
    unlogged: tuple[Statement, ...] = ()


@lru_cache(maxsize=4_096)
def statements_of_hour(hour: HourTotal, *, complete: bool = True) -> tuple[Statement, ...]:
    """Say what an hour of the event logs proves about the curve; an hour holds its own first instant.

    :param hour: the hour.
    :param complete: whether a settled log shows every call that counts.
    """
    low, high = hour.calls.low, hour.calls.high if complete else None
    if low == 0 and high is None:
        return ()
    told = f"{low:,}" if hour.calls.exact else f"{low:,} to {high:,}" if high is not None else f"at least {low:,}"
    source = f"event log of the hour {iso_utc(hour.starts_at)} ({told} calls)"
    return (Statement(hour.starts_at - TICK, hour.starts_at + HOUR - TICK, low, high, source),)


def statements(pieces: ByKind, assumptions: Assumptions) -> list[Statement]:
    """Say what all pieces prove about the curve."""
    lag, complete = assumptions.release_lag, assumptions.logs_complete
    return [
        *(s for total in pieces.totals for s in statements_of_total(total)),
        *(s for reading in pieces.readings for s in _of_reading(reading, lag)),
        *(s for hour in pieces.hours for s in statements_of_hour(hour, complete=complete)),
    ]


@lru_cache(maxsize=4_096)
def _of_reading(reading: LimitReading, lag: timedelta) -> tuple[Statement, ...]:
    return statements_of_reading(reading, release_lag=lag)


def curve_of(pieces: ByKind, assumptions: Assumptions) -> Curve:
    """Return the curve of the pieces; it may hold a contradiction."""
    return Curve(statements(pieces, assumptions))


def fit(pieces: ByKind) -> Fit:
    """Find the tightest assumptions under which the pieces agree.

    The release lag starts from what the falls of the figure leave possible (:func:`..release.learn_release`).
    """
    learned = learn_release(pieces.readings).lag
    exact = curve_of(pieces, Assumptions(timedelta(0))).conflict() if learned else None
    tightest = Assumptions(learned)
    first = curve_of(pieces, tightest)
    disagree = first.conflict()
    if disagree is None:
        return Fit(first, tightest, late=exact or ())
    for assumptions in _looser(learned):
        curve = curve_of(pieces, assumptions)
        if curve.conflict() is None:
            late = exact or () if assumptions.release_lag > learned or assumptions.logs_complete else ()
            return Fit(curve, assumptions, late=late, unlogged=() if assumptions.logs_complete else disagree)
    widest = Assumptions(max(learned, KINDS[0]))
    conflict = curve_of(pieces, widest).conflict() or disagree
    return Fit(_without_one_kind(pieces, widest), widest, conflict=conflict)


def _looser(learned: timedelta) -> list[Assumptions]:
    """Return assumptions to try, those that give up least first."""
    lags = [kind for kind in reversed(KINDS) if kind > learned]
    return [
        *(Assumptions(lag) for lag in lags),
        *(Assumptions(lag, logs_complete=False) for lag in (learned, *lags)),
        Assumptions(LATEST_RELEASE),
        Assumptions(LATEST_RELEASE, logs_complete=False),
    ]


def _without_one_kind(pieces: ByKind, assumptions: Assumptions) -> Curve:
    """Return the curve of what is left when the kind of evidence that disagrees is left out."""
    readings, totals, hours = pieces.readings, pieces.totals, pieces.hours
    for left in (
        ByKind(readings, (), hours),
        ByKind((), totals, hours),
        ByKind(readings, totals, ()),
        ByKind((), (), hours),
        ByKind((), totals, ()),
        ByKind(readings, (), ()),
    ):
        curve = curve_of(left, assumptions)
        if curve.statements and curve.conflict() is None:
            return curve
    return Curve()


def bounds_or_unknown(curve: Curve, start: datetime, end: datetime) -> Interval:
    """Return the bounds of a span; of a curve that contradicts itself nothing is known."""
    return UNKNOWN if curve.conflict() is not None else curve.bounds(start, end)
