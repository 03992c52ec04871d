"""Readings and hourly counts -> a :class:`History`: how many calls were made when; see :mod:`.forecast_cells`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise
from math import ceil, floor, inf
from statistics import median

from airflow_provider_apiusage.usage.forecast_cells import (
    CELL,
    DAY_CELLS,
    DAY_SECONDS,
    HOUR_CELLS,
    UNSEEN,
    Cells,
    Own,
    no_calls,
)
from airflow_provider_apiusage.usage.model import HourTotal, LimitReading

HOUR = timedelta(hours=1)

SLIPPING = 0.6
"""By what share missed marks must explain the readings better than marks that are kept, to be believed."""

CLOSE = 1200
"""Seconds between figures, at most, from which a mark that was missed can be told from calls that others made."""

OFTEN = 0.9
"""Share of the figures of an org that misses marks which were not later than is reckoned with."""

TRIED = 960
"""How many of the latest readings decide which kind of release explains them best: those of ten days."""


@dataclass(frozen=True, slots=True)
class History:
    """Calls by cell.

    :param first: index of the first cell: its first instant in epoch seconds, divided by :data:`CELL`.
    :param sums: calls up to the beginning of each cell, and after the last.
    :param known: for each cell, how well it is known.
    :param seen_until: epoch seconds up to which there is evidence.
    :param pinned: share of the hours of the last seven days whose calls event logs tell.
    :param bucket: seconds within which the org is taken to release calls together; 0 for each by itself.
    :param slips: whether the org is taken to miss marks at times.
    :param late: by how many seconds it then was behind at most in nine cases of ten, in the last seven days.
    """

    first: int
    sums: tuple[float, ...]
    known: tuple[int, ...]
    seen_until: float
    pinned: float
    bucket: float
    slips: bool = False
    late: float = 0.0

    def total(self, second: float) -> float:
        """Return the calls made from the first cell up to an instant (epoch seconds); straight lines within cells."""
        place = second / CELL - self.first
        if place <= 0:
            return 0.0
        if place >= len(self.known):
            return self.sums[-1]
        cell = floor(place)
        return self.sums[cell] + (self.sums[cell + 1] - self.sums[cell]) * (place - cell)

    def quality(self, start: float, end: float) -> int:
        """Return how well the cells between two instants (epoch seconds) are known: that of the worst."""
        low, high = floor(start / CELL) - self.first, ceil(end / CELL) - self.first
        if low < 0 or high > len(self.known) or end > self.seen_until:
            return UNSEEN
        return min(self.known[low:high], default=UNSEEN)


def reconstruct(
    readings: Iterable[LimitReading],
    hours: Iterable[HourTotal],
    *,
    kinds: Sequence[timedelta],
    logs_complete: bool = True,
    own: Own = no_calls,
    slips: bool | None = None,
) -> History | None:
    """Return when calls were made.

    :param readings: of one limit, org-wide; in any order. One without ``used`` says nothing here.
    :param hours: of the event logs, in any order.
    :param kinds: spans within which the org may release calls together; the one that explains the readings best is
        taken.
    :param logs_complete: whether a settled log is taken to show every call.
    :param own: calls that readings contain and that are to be left out; hourly counts are without them.
    :param slips: whether the org misses marks at times; ``None`` for whatever explains the readings better.
    :returns: ``None`` if there is nothing to go by.
    """
    figures = _thin(readings)
    pins = {int(h.starts_at.timestamp()) // CELL: h for h in hours}
    starts = [int(at) // CELL - DAY_CELLS - HOUR_CELLS for at, _ in figures[:1]] + sorted(pins)[:1]
    ends = [ceil(at / CELL) for at, _ in figures[-1:]] + [hour + HOUR_CELLS for hour in sorted(pins)[-1:]]
    if not starts:
        return None
    span = range(min(starts) // HOUR_CELLS * HOUR_CELLS, max(ends) + 1)
    tells_marks = _usual_gap(figures[-TRIED:]) <= CLOSE
    tried = [
        _filled(span, pins, kind.total_seconds(), logs_complete, own, figures[-TRIED:], slips=late)
        for kind in kinds
        for late in ((False, True) if slips is None and kind >= HOUR and tells_marks else (bool(slips),))
    ]
    best = min(tried, key=lambda cells: (cells.doubt / (SLIPPING if cells.slips else 1), cells.bucket))
    # The first day can be spread better once it is known how days look.
    shape = best.shape(figures[-1][0]) if figures and figures[-1][0] - figures[0][0] >= 3 * DAY_SECONDS else None
    best = _filled(span, pins, best.bucket, logs_complete, own, figures, shape, slips=best.slips)
    seen_until = max([at for at, _ in figures[-1:]] + [float(end * CELL) for end in ends[-1:] if pins])
    week = range(int(seen_until) // CELL - 7 * DAY_CELLS, int(seen_until) // CELL)
    pinned = sum(1 for hour in pins if hour in week) / (7 * 24)
    sums = tuple(accumulate(best.calls, initial=0.0))
    return History(span[0], sums, tuple(best.known), seen_until, min(1.0, pinned), best.bucket, best.slips, _late(best))


def _filled(
    span: range,
    pins: dict[int, HourTotal],
    bucket: float,
    logs_complete: bool,
    own: Own,
    figures: Sequence[tuple[float, int]],
    shape: Sequence[Sequence[float]] | None = None,
    *,
    slips: bool,
) -> Cells:
    cells = Cells(span, pins, bucket, logs_complete, own, slips=slips)
    cells.follow(figures, shape)
    return cells


def _usual_gap(figures: Sequence[tuple[float, int]]) -> float:
    """Return the median of the seconds between two figures."""
    return median([after - before for (before, _), (after, _) in pairwise(figures)] or [inf])


def _late(cells: Cells) -> float:
    until = cells.lateness[-1][0] if cells.lateness else 0.0
    found = sorted(late for at, late in cells.lateness if at >= until - 7 * DAY_SECONDS)
    return found[int(OFTEN * len(found))] if found else 0.0


def _thin(readings: Iterable[LimitReading]) -> list[tuple[float, int]]:
    """Return the last figure of each quarter of an hour (the highest of one instant), oldest first."""
    last: dict[int, tuple[float, int]] = {}
    for reading in readings:
        if reading.used is not None and reading.used >= 0:
            figure = (reading.observed_at.timestamp(), reading.used)
            quarter = int(figure[0]) // (3 * CELL)
            last[quarter] = max(last.get(quarter, figure), figure)
    return [last[quarter] for quarter in sorted(last)]
