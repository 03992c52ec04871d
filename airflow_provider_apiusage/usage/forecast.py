"""Evidence -> :class:`Forecast`: what leaves the window in the next 24 hours, what others add, and what is used then.

What leaves is bounded exactly by the one curve (:mod:`.forecast_expiry`). What others add is expected from the same
time of day on earlier days (:mod:`.forecast_slots`), and its range comes from how wrong the same method was on them
(:mod:`.forecast_paths`). The two belong together: where only readings are known, what they misplace within the day is
misplaced in both alike, and cancels in ``used``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate
from math import hypot

from airflow_provider_apiusage.usage.curve import require_aware
from airflow_provider_apiusage.usage.forecast_answer import RunsOut as RunsOut
from airflow_provider_apiusage.usage.forecast_answer import least_left
from airflow_provider_apiusage.usage.forecast_answer import runs_out_at as runs_out_at
from airflow_provider_apiusage.usage.forecast_answer import when_free as when_free
from airflow_provider_apiusage.usage.forecast_cells import DAY_SECONDS, SEEN, UNSEEN
from airflow_provider_apiusage.usage.forecast_expiry import Expiry, expiry, latest
from airflow_provider_apiusage.usage.forecast_findings import findings_of
from airflow_provider_apiusage.usage.forecast_history import History, reconstruct
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast, ForecastPoint, Range
from airflow_provider_apiusage.usage.forecast_paths import Paths, Spread
from airflow_provider_apiusage.usage.forecast_slots import DAY, SLOT, Slots, slots_of
from airflow_provider_apiusage.usage.hourly import HOUR
from airflow_provider_apiusage.usage.model import WINDOW, Completeness, Evidence, Interval
from airflow_provider_apiusage.usage.release import KINDS

SPAN = timedelta(days=35)
"""How much of the past a forecast looks at."""

POINTS = tuple(timedelta(seconds=SLOT) * n for n in range(DAY + 1))
"""The instants of a forecast, from its own on."""

MISPLACED = 0.2
"""Share of an ordinary day's calls that readings alone may place at another time; twice as many of few days."""

LATE_SHARE = 0.03
"""Share of the calls of a day that hourly counts may still lack while late rows can come."""


def forecast(evidence: Evidence, *, limit: int | None = None, own: Sequence[tuple[datetime, int]] = ()) -> Forecast:
    """Look 24 hours ahead of ``evidence.at``.

    Works from readings, from hourly counts, from both, and from nothing, which it then says. Anything later than
    ``evidence.at`` or older than :data:`SPAN` is not looked at, and the order of the pieces does not matter.

    :param evidence: what is known; the more days it reaches back (up to 35), the narrower the ranges.
    :param limit: the allocation; default: as last reported.
    :param own: calls of one's own loads, as instant and number: they count, but are not expected to come again.
    :raises ValueError: if an instant is naive.
    """
    at = evidence.at
    require_aware(at)
    evidence = _bounded(evidence)
    leaving = expiry(evidence, at, [at + ahead for ahead in POINTS])
    if limit is None:
        limit = next((r.limit for r in reversed(evidence.readings) if r.limit is not None), None)
    history = reconstruct(
        evidence.readings,
        evidence.hours,
        kinds=KINDS,
        logs_complete=leaving.assumptions.logs_complete,
    )
    if history is None:
        points = tuple(ForecastPoint(at + a, e, None, None) for a, e in zip(POINTS, leaving.expired, strict=True))
        blank = Forecast(evidence.org_id, at, limit, leaving.used, points, Basis.NOTHING, timedelta(0), ())
        return replace(blank, findings=findings_of(blank, leaving, None, 0))
    second = at.timestamp()
    slots = slots_of(history, second, [(when.timestamp(), calls) for when, calls in own])
    paths = Paths(slots)
    spread = Spread(paths.trials())
    made = _Made(slots, paths, spread, second)
    points = _points(at, leaving, made, spread, paths, history, evidence)
    made_from = Forecast(evidence.org_id, at, limit, leaving.used, points, _basis(slots), _reach(evidence, at), ())
    return replace(made_from, findings=findings_of(made_from, leaving, history, spread.scores))


def _bounded(evidence: Evidence) -> Evidence:
    """Return the evidence in order, without what is later than its instant, not over by then, or too old."""
    at, since = evidence.at, evidence.at - SPAN
    readings = sorted(
        (r for r in evidence.readings if since <= r.observed_at <= at),
        key=lambda r: (r.observed_at, r.received_at, r.source, -1 if r.used is None else r.used, r.limit or 0),
    )
    hours = sorted((h for h in evidence.hours if since <= h.starts_at <= at - HOUR), key=lambda h: h.starts_at)
    return replace(evidence, readings=tuple(readings), hours=tuple(hours))


class _Made:
    """Calls made up to any instant, seen or expected.

    :param second: epoch seconds of the forecast's instant.
    """

    def __init__(self, slots: Slots, paths: Paths, spread: Spread, second: float) -> None:
        calls = [others + own for others, own in zip(slots.calls[: slots.seen], slots.own, strict=False)]
        self._sums = [0.0, *accumulate(calls)]
        reach = range(1, slots.now - slots.seen + DAY + 1)
        for ahead, expected in zip(reach, paths.path(slots.seen, reach), strict=True):
            share = spread.yesterday(ahead)
            start = slots.seen - DAY
            if start >= 0 and share > 0:
                expected += share * (slots.made(start, min(start + ahead, slots.now)) - expected)
            self._sums.append(max(self._sums[-1], self._sums[slots.seen] + expected))
        self._start = second - slots.now * SLOT
        self.stale = slots.now - slots.seen
        window = slots.quality[max(0, slots.seen - DAY) : slots.seen]
        self.unseen = sum(1 for quality in window if quality == UNSEEN)

    def until(self, second: float) -> float:
        """Return the calls up to an instant (epoch seconds)."""
        place = (second - self._start) / SLOT
        if place <= 0:
            return 0.0
        slot = min(int(place), len(self._sums) - 2)
        return self._sums[slot] + (self._sums[slot + 1] - self._sums[slot]) * min(1.0, place - slot)


def _points(
    at: datetime, leaving: Expiry, made: _Made, spread: Spread, paths: Paths, history: History, evidence: Evidence
) -> tuple[ForecastPoint, ...]:
    now, bucket = at.timestamp(), history.bucket

    def window(second: float) -> float:
        return (second // bucket * bucket if bucket else second) - DAY_SECONDS

    base, untold = made.until(now) - made.until(window(now)), 0.0
    newest = latest(evidence.readings)
    if newest is not None and newest.used is not None and newest.observed_at > at - WINDOW:
        read = newest.observed_at.timestamp()
        left = made.until(window(now)) - made.until(window(read))
        base = max(0.0, newest.used - left + made.until(now) - made.until(read))
    elif any(h.completeness is not Completeness.SETTLED and h.starts_at > at - WINDOW for h in evidence.hours):
        untold = LATE_SHARE * base
    points: list[ForecastPoint] = []
    new = Range(0, 0, 0)
    origin = paths.slots.seen
    ordinary = paths.ordinary(origin)
    for ahead, (instant, bounds) in enumerate(zip((at + p for p in POINTS), leaving.expired, strict=True)):
        second = instant.timestamp()
        expected = made.until(second) - made.until(now)
        low, high = spread.at(ahead)
        unit = paths.unit(origin, expected, ahead)
        part = ahead / DAY
        astray = MISPLACED * (2 - spread.sure) * (1 - history.pinned) * ordinary * (part * (1 - part)) ** 0.5
        new = Range(
            max(new.low, round(expected - hypot(low * unit, astray))),
            max(new.expected, round(expected)),
            max(new.high, round(expected + hypot(high * unit, astray))),
        )
        gone = _into(made.until(window(second)) - made.until(window(now)), bounds)
        behind = ahead + made.stale + made.unseen
        low, high = spread.at(behind)
        unit = paths.unit(origin, made.until(second) - made.until(now - made.stale * SLOT), behind)
        used = base - gone + expected
        ranged = _used(used, low * unit, high * unit + untold, leaving.used, bounds, new)
        points.append(ForecastPoint(instant, bounds, new, ranged))
    return tuple(points)


def _used(middle: float, low: float, high: float, used: Interval, expired: Interval, new: Range) -> Range:
    """Return the range of what is used, within what the curve allows."""
    least = least_left(used, expired)
    most = None if used.high is None else used.high - expired.low + new.high

    def allowed(value: float) -> int:
        value = max(least, round(value))
        return int(value if most is None else min(value, max(least, most)))

    return Range(allowed(middle + low), allowed(middle), allowed(middle + high))


def _into(value: float, bounds: Interval) -> float:
    value = max(value, bounds.low)
    return value if bounds.high is None else min(value, bounds.high)


def _basis(slots: Slots) -> Basis:
    """Slots, if most times of the next day were seen on an earlier one."""
    seen = sum(
        1
        for place in range(slots.now, slots.now + DAY)
        if any(slots.quality[earlier] == SEEN for earlier in range(place - DAY, -1, -DAY) if earlier < slots.seen)
    )
    return Basis.SLOTS if seen >= DAY / 2 else Basis.RATE


def _reach(evidence: Evidence, at: datetime) -> timedelta:
    """Return how far back the evidence reaches: a reading tells of the 24 hours before it as a whole only."""
    starts = [r.observed_at for r in evidence.readings if r.used is not None][:1]
    starts += [h.starts_at for h in evidence.hours[:1]]
    return at - min(starts)
