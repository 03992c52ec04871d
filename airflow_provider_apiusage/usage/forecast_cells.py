"""Readings and hourly counts -> how many calls were made when, as far back as they reach.

Let ``C(t)`` be all counted calls up to ``t``. A reading says ``used(t) = C(t) - C(w(t))``, where the window begins at
``w(t) = t - 24 h``, or 24 hours before the last mark if an org releases calls on marks. So between two readings

    made = change of used + calls that left = used(t2) - used(t1) + C(w(t2)) - C(w(t1))

and what left is known from the day before. The first day of readings has none: its calls are spread evenly, and what
that misplaces comes back every 24 hours, until an hour without calls (a weekend does) or an hourly count puts it
right. Where an hourly count is known, it stands.

Calls are kept in cells of five minutes in UTC, as floating-point numbers: these are estimates, not bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor

from airflow_provider_apiusage.usage.model import Completeness, HourTotal

CELL = 300
"""Seconds of a cell."""
HOUR_CELLS = 12
DAY_CELLS = 288
DAY_SECONDS = 86_400

SEEN, GUESSED, UNSEEN = 2, 1, 0
"""How well a cell is known: told by evidence near it; part of a known total that was spread; not at all."""

BLURRED_AFTER = 3 * 3600
"""Readings further apart than so many seconds tell a total, but not when in between."""

LATE = 300
"""Seconds by which a figure may be old."""

PACE = 3600
"""Seconds over which the pace is taken that tells which of two readings of a figure fits."""

SLIPS = 4 * 3600
"""Seconds for which an org that releases calls on the hour was watched to release none (2016)."""

SLIPPED = 0.5
"""By what share a late release must explain a figure better than one in time, to be taken for one."""

LATE_ROWS = 1.25
"""How much fuller than told an hour may be taken to be whose log may still grow."""

LEAK = 0.5
"""Share of the gap between the figure and the cells of its window that is made up for within a day."""


Own = Callable[[float, float], float]
"""(start, end) in epoch seconds -> calls that are no concern of the cells."""


def no_calls(_start: float, _end: float) -> float:
    """Return 0: there are none."""
    return 0.0


class Cells:
    """The cells while they are being filled.

    ``doubt`` is how badly they explain the figures; ``lateness``, of an org that misses marks, by how many seconds each
    figure (epoch seconds) was behind.

    :param span: their indexes.
    :param pins: hourly counts by the index of their first cell.
    :param bucket: seconds within which calls are released together; 0 for each by itself.
    :param logs_complete: whether a settled log is taken to show every call.
    :param own: calls of one's own between two instants that figures contain and cells do not; they are known.
    :param slips: whether the org misses marks at times, and releases at a later one what was due.
    """

    def __init__(
        self,
        span: range,
        pins: dict[int, HourTotal],
        bucket: float,
        logs_complete: bool,
        own: Own = no_calls,
        *,
        slips: bool = False,
    ) -> None:
        self.first, self.pins, self.bucket, self.logs_complete = span[0], pins, bucket, logs_complete
        self.own, self.slips = own, slips
        self.calls = [0.0] * len(span)
        self.known = [UNSEEN] * len(span)
        self.doubt = 0.0
        self.lateness: list[tuple[float, float]] = []

    def follow(self, figures: Sequence[tuple[float, int]], shape: Sequence[Sequence[float]] | None) -> None:
        """Fill the cells from the figures, oldest first, and from hourly counts where there are some.

        :param shape: as :meth:`shape` returns it, for totals that no reading places; ``None`` for evenly.
        """
        covered_from = self._window_start(figures[0][0]) / CELL if figures else 0.0
        covered_to = figures[-1][0] / CELL if figures else 0.0
        for hour in self.pins:
            if hour + HOUR_CELLS <= covered_from or hour >= covered_to:
                self._settle(hour, alone=True)
        window = owed = pace = 0.0
        before_at, before, began, in_time = 0.0, 0.0, 0.0, 0.0
        for at, told in figures:
            begin = self._window_start(at)
            used = max(0.0, told - self.own(begin, at))
            if begin >= before_at:
                if before_at:
                    unseen = self._between(before_at - DAY_SECONDS, before_at) * (begin - before_at) / DAY_SECONDS
                    self._spread(unseen, before_at, begin, shape, UNSEEN)
                self._spread(used, begin, at, shape, GUESSED)
                in_time = at
                owed, pace = 0.0, used / DAY_SECONDS
            else:
                gap = at - before_at
                begin = max(began, begin)
                leak = LEAK * (before - window + owed) * gap / DAY_SECONDS
                made = used - before - owed + leak + self._between(began, begin)
                for earlier, clearly in self._earlier(at, gap, began, begin, in_time):
                    others = max(0.0, told - self.own(earlier, at))
                    other = others - before - owed + leak + self._between(began, earlier)
                    if abs(other - pace * gap) < clearly * abs(made - pace * gap):
                        made, begin, used = other, earlier, others
                behind = max(0.0, self._window_start(at) - begin)
                if not behind:
                    in_time = at
                if self.slips and at % self.bucket >= LATE:
                    self.lateness.append((at, behind))
                owed = max(0.0, -made)
                self._spread(max(0.0, made), before_at, at, shape, SEEN if gap <= BLURRED_AFTER else GUESSED)
                share = min(1.0, gap / PACE)
                pace += (max(0.0, made) / gap - pace) * share
                self.doubt += owed + abs(max(0.0, made) - pace * gap)
            window = self._between(begin, at)
            before_at, before, began = at, used, begin
        if figures and int(covered_to) // HOUR_CELLS * HOUR_CELLS in self.pins:
            self._settle(int(covered_to) // HOUR_CELLS * HOUR_CELLS)

    def _earlier(
        self, at: float, gap: float, began: float, begin: float, in_time: float
    ) -> Iterator[tuple[float, float]]:
        """Yield where the window of a figure may begin instead, and how much better that must explain it.

        The figure may be of before the mark: then what left at the mark is in it still. Or the org releases late, but
        for hours at most.

        :param began: where the window of the figure before began.
        :param begin: where it begins if all that was due has left.
        :param in_time: when a figure last showed all that was due.
        """
        if not self.bucket or gap > 2 * self.bucket:
            return
        if at % self.bucket < LATE:
            yield max(began, begin - self.bucket), 1.0
        if self.slips and at - in_time <= SLIPS:
            mark = begin - self.bucket
            while mark > began:
                yield mark, SLIPPED
                mark -= self.bucket
            if began < begin:
                yield began, SLIPPED

    def shape(self, until: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean calls by cell of the day, on weekdays and at weekends, of the last seven days."""
        last = int(until) // CELL
        sums = [[0.0] * DAY_CELLS, [0.0] * DAY_CELLS]
        for cell in range(max(self.first, last - 7 * DAY_CELLS), last):
            kind = weekend(cell)
            sums[kind][cell % DAY_CELLS] += self.calls[cell - self.first] / (2 if kind else 5)
        floor_ = 1e-9 + 0.05 * (sum(sums[0]) + sum(sums[1])) / (2 * DAY_CELLS)
        return tuple(x + floor_ for x in sums[0]), tuple(x + floor_ for x in sums[1])

    def _between(self, start: float, end: float) -> float:
        low, high = start / CELL - self.first, end / CELL - self.first
        a, b = floor(low), floor(high)
        if a == b:
            return self._at(a) * (high - low)
        return self._at(a) * (a + 1 - low) + sum(self.calls[max(0, a + 1) : max(0, b)]) + self._at(b) * (high - b)

    def _at(self, place: int) -> float:
        return self.calls[place] if 0 <= place < len(self.calls) else 0.0

    def _window_start(self, at: float) -> float:
        return (at // self.bucket * self.bucket if self.bucket else at) - DAY_SECONDS

    def _spread(
        self, total: float, start: float, end: float, shape: Sequence[Sequence[float]] | None, known: int
    ) -> None:
        """Put calls between two instants; where that is long, hourly counts first and the rest by shape."""
        if end <= start:
            return
        low, high = start / CELL - self.first, end / CELL - self.first
        long = high - low > 2 * HOUR_CELLS
        whole = range(ceil((low + self.first) / HOUR_CELLS), floor((high + self.first) / HOUR_CELLS))
        pinned = {hour * HOUR_CELLS for hour in whole if hour * HOUR_CELLS in self.pins} if long else set()
        for hour in sorted(pinned):
            total -= self._settle(hour, alone=True)
        shares = []
        for place in range(max(0, floor(low)), min(len(self.calls), ceil(high))):
            cell = self.first + place
            if cell // HOUR_CELLS * HOUR_CELLS not in pinned:
                weight = shape[weekend(cell)][cell % DAY_CELLS] if long and shape else 1.0
                shares.append((place, weight * (min(place + 1, high) - max(place, low))))
        weights = sum(share for _, share in shares)
        for place, share in shares:
            self.calls[place] += max(0.0, total) * share / weights
            self.known[place] = known
        # Hours that are over by now, and were not told as a whole above.
        for hour in range(floor((low + self.first) / HOUR_CELLS), floor((high + self.first) / HOUR_CELLS)):
            if hour * HOUR_CELLS in self.pins and hour * HOUR_CELLS not in pinned:
                self._settle(hour * HOUR_CELLS)

    def _settle(self, hour: int, *, alone: bool = False) -> float:
        """Make the cells of an hour add up to what its log allows, and return that.

        :param hour: index of its first cell.
        :param alone: whether nothing but the log tells of it.
        """
        places = range(hour - self.first, min(hour - self.first + HOUR_CELLS, len(self.calls)))
        was = 0.0 if alone else sum(self.calls[place] for place in places)
        total = self._told(self.pins[hour], None if alone else was)
        for place in places:
            self.calls[place] = self.calls[place] * total / was if was > 0 else total / len(places)
            self.known[place] = SEEN
        return total

    def _told(self, hour: HourTotal, otherwise: float | None) -> float:
        """Return the calls of an hour: within what its log allows, as near as possible to what readings tell."""
        low, high = hour.calls.low, hour.calls.high
        if hour.completeness is not Completeness.SETTLED or not self.logs_complete or high is None:
            return float(low) if otherwise is None else min(max(otherwise, low), LATE_ROWS * low + 1)
        return (low + high) / 2 if otherwise is None else min(max(otherwise, low), high)


def weekend(cell: int) -> bool:
    """Tell whether a cell lies on a Saturday or Sunday of UTC; 1970-01-01 was a Thursday."""
    return (cell // DAY_CELLS + 3) % 7 >= 5
