"""Windows, days and when calls leave: how evidence becomes statements about the one curve.

The boundaries, stated once. Instants have microseconds (:data:`TICK`), and spans are half-open:
``(start, end]``.

* The rolling window at ``t`` is ``(t - 24 h, t]``: a call made at exactly ``t - 24 h`` has left, one made at
  ``t`` counts.
* A UTC day holds its own 00:00:00 and not the next one: a call at exactly 00:00:00 belongs to the new day.
  Written as a half-open span that is ``(00:00 - 1 tick, 24:00 - 1 tick]``, so neighbouring days share no call
  and miss none.
* The window tail at ``t``, the part of yesterday still in the window, is
  ``(t - 24 h, today 00:00 - 1 tick]``.

Sources: rolling window and release after 24 hours, Salesforce help 000133732 and 002888831; days turning at
00:00 UTC, knowledge article 000003706.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from airflow_provider_apiusage.usage.curve import Curve, Statement, require_aware
from airflow_provider_apiusage.usage.model import (
    STALENESS,
    WINDOW,
    Coverage,
    DailyCount,
    Interval,
    LimitReading,
    ReadingSource,
)

TICK = timedelta(microseconds=1)
"""The smallest step of time: what makes "just before 00:00" an instant."""

RELEASE_LAG = timedelta(hours=1)
"""How long an expired call may stay counted: the figure has been watched to fall mostly on the hour."""


@dataclass(frozen=True, slots=True)
class DayTotal:
    """All users of one UTC day together, as one source showed it at one instant.

    :param day: the UTC day.
    :param calls: the sum over users (and over the several rows of one user).
    :param coverage: which calls the source counts.
    :param source: ``"report"`` or ``"csv"``.
    :param observed_at: when it was read.
    """

    day: date
    calls: int
    coverage: Coverage
    source: str
    observed_at: datetime

    @property
    def finished(self) -> bool:
        """Whether the day was over when it was read."""
        return self.observed_at > day_span(self.day)[1]


def utc_day(instant: datetime) -> date:
    """Return the UTC day that a call made at ``instant`` belongs to.

    :raises ValueError: if ``instant`` is naive.
    """
    require_aware(instant)
    return instant.astimezone(UTC).date()


def day_span(day: date) -> tuple[datetime, datetime]:
    """Return ``(start, end]`` of a UTC day, as the module's conventions write it."""
    midnight = datetime.combine(day, time(), UTC)
    return midnight - TICK, midnight + timedelta(days=1) - TICK


def statements_of_reading(
    reading: LimitReading, staleness: timedelta = STALENESS, *, release_lag: timedelta = timedelta(0)
) -> tuple[Statement, ...]:
    """Say what a reading of ``used`` calls proves about the curve, given that figures may be late.

    Salesforce promises figures that are right within five minutes of a call. So whatever each call's own
    delay was, every counted call was made in ``(t - 24 h - staleness, t]``, which gives a lower bound of that
    longer span, and every call in ``(t - 24 h, t - staleness]`` was counted, which gives an upper bound of
    that shorter span. Neither claims more than the promise, so late figures never make readings contradict
    one another.

    :param reading: an org-wide reading; one of source ``exhausted`` proves only the lower bound, as a soft
        limit may have been passed.
    :param staleness: how late a call may be counted or dropped.
    :param release_lag: how much longer than that an expired call may stay counted (:data:`RELEASE_LAG` if
        releases are taken to happen on the hour).
    :return: none where ``used`` is unknown, else one or two statements.
    :raises ValueError: if ``observed_at`` is naive.
    """
    if reading.used is None or reading.used < 0:
        return ()
    at = reading.observed_at
    source = f"{reading.source.value} reading of {iso_utc(at)} ({reading.used:,} used)"
    at_least = Statement(at - WINDOW - staleness - release_lag, at, reading.used, None, source)
    if reading.source is ReadingSource.EXHAUSTED:
        return (at_least,)
    return at_least, Statement(at - WINDOW, at - staleness, 0, reading.used, source)


def day_totals(counts: Iterable[DailyCount]) -> tuple[DayTotal, ...]:
    """Add up the users of each day, apart for each observation (source and instant).

    An observation that mixes coverages is taken as ``soap``: its sum bounds the day from below.

    :return: one total per day and observation, ordered by day, then instant, then source.
    """
    sums: dict[tuple[date, datetime, str], tuple[int, Coverage]] = {}
    for count in counts:
        key = (count.day, count.observed_at, count.source)
        calls, coverage = sums.get(key, (0, Coverage.ALL))
        sums[key] = (calls + count.calls, coverage if count.coverage is Coverage.ALL else Coverage.SOAP)
    return tuple(
        DayTotal(day, calls, coverage, source, observed_at)
        for (day, observed_at, source), (calls, coverage) in sorted(sums.items(), key=lambda item: item[0])
    )


def statements_of_total(total: DayTotal, staleness: timedelta = STALENESS) -> tuple[Statement, ...]:
    """Say what the count of a UTC day proves about the curve.

    A source that counts every call gives the finished day exactly. A day still running when it was read is
    counted up to then: at least that many calls by the instant of the reading, at most that many by
    ``staleness`` before it. A source that is blind to some calls gives the lower bounds only.

    :param total: the day; one read before it began proves nothing.
    :param staleness: how late the source may count a call.
    """
    start, day_end = day_span(total.day)
    end = min(day_end, total.observed_at)
    if end < start or total.calls < 0:
        return ()
    source = f"{total.source} of {iso_utc(total.observed_at)} ({total.calls:,} calls on {total.day})"
    counted_by = min(day_end, total.observed_at - staleness)
    if total.coverage is not Coverage.ALL or counted_by < start:
        return (Statement(start, end, total.calls, None, source),)
    if counted_by == end:
        return (Statement(start, end, total.calls, total.calls, source),)
    return Statement(start, end, total.calls, None, source), Statement(start, counted_by, 0, total.calls, source)


def statements_of_daily_counts(counts: Iterable[DailyCount], staleness: timedelta = STALENESS) -> tuple[Statement, ...]:
    """Say what daily counts prove about the curve; see :func:`statements_of_total`.

    :param counts: of any days and observations; users are added up.
    :param staleness: how late the source may count a call; zero takes a running day as exact up to its
        reading.
    """
    return tuple(s for total in day_totals(counts) for s in statements_of_total(total, staleness))


def window_tail(curve: Curve, at: datetime) -> Interval:
    """Return how many calls of yesterday can still be inside the window at ``at``.

    :raises CurveConflict: if the statements contradict one another.
    """
    return curve.bounds(at - WINDOW, day_span(utc_day(at))[0])


def expired_by(curve: Curve, at: datetime, t: datetime) -> Interval:
    """Return how many calls inside the window at ``at`` have left it by ``t``: those in ``(at - 24 h, t - 24
    h]``.

    :param t: aware instant, not before ``at``.
    :raises ValueError: if ``t`` comes before ``at``.
    :raises CurveConflict: if the statements contradict one another.
    """
    return curve.bounds(at - WINDOW, t - WINDOW)


def consumption(curve: Curve, start: datetime, end: datetime) -> Interval:
    """Return how many calls were made in ``(start, end]``: what was spent, which no difference of figures tells.

    Of two readings, ``consumption = change of used + what expired in between``: a figure that stands still may hide
    as many new calls as old ones have left. The curve knows both.

    :param start: aware instant.
    :param end: aware instant, not before ``start``.
    :raises CurveConflict: if the statements contradict one another.
    """
    return curve.bounds(start, end)


def earliest_expiry(curve: Curve, at: datetime, calls: int) -> datetime | None:
    """Return the first instant by which ``calls`` of the calls used at ``at`` can have left the window.

    Asking before that instant is pointless: no curve that fits the evidence has freed so many.

    :param calls: how many must leave; 0 or fewer have left already.
    :return: an instant in ``[at, at + 24 h]``, exact to a tick; ``None`` if the window cannot hold that many
        calls.
    :raises CurveConflict: if the statements contradict one another.
    """
    if calls <= 0:
        return at
    start = at - WINDOW
    if not _reaches(curve.bounds(start, at).high, calls):
        return None
    # The upper bound at an instant is the one at the next knot, so it steps up one tick after a knot.
    first = bisect_right(curve.knots, start)
    last = bisect_left(curve.knots, at)
    step = bisect_left(
        range(first, last),
        True,
        key=lambda index: _reaches(curve.bounds(start, curve.knots[index]).high, calls),
    )
    before = start if step == 0 else curve.knots[first + step - 1]
    return before + TICK + WINDOW


def latest_expiry(curve: Curve, at: datetime, calls: int) -> datetime | None:
    """Return the instant by which ``calls`` of the calls used at ``at`` must have left the window.

    :param calls: how many must leave; 0 or fewer have left already.
    :return: an instant in ``[at, at + 24 h]``: at the latest every call has left 24 hours after ``at``;
        ``None`` if the window cannot hold that many calls.
    :raises CurveConflict: if the statements contradict one another.
    """
    if calls <= 0:
        return at
    start = at - WINDOW
    if not _reaches(curve.bounds(start, at).high, calls):
        return None
    # The lower bound at an instant is the one at the knot before it, so it steps up at a knot.
    first = bisect_right(curve.knots, start)
    last = bisect_right(curve.knots, at)
    step = bisect_left(range(first, last), True, key=lambda index: curve.bounds(start, curve.knots[index]).low >= calls)
    return at + WINDOW if first + step == last else curve.knots[first + step] + WINDOW


def _reaches(high: int | None, calls: int) -> bool:
    return high is None or high >= calls


def iso_utc(instant: datetime) -> str:
    """Return an instant to the second, in UTC: ``2026-10-07T14:30:00Z``."""
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
