"""Calls by slot of 15 minutes, and what a span of slots is expected to bring.

A span is forecast from the same span on earlier days: yesterday and a week ago weigh most, weekdays tell of weekdays
and weekends of weekends; a span over midnight is two. Half of the forecast is their weighted median, which no single
burst can move; the other half is their mean, capped at twice the median, which knows that bursts come. Whole spans are
compared, not slots: what noise moves from one slot to the next stays within its span.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from airflow_provider_apiusage.usage.forecast_cells import CELL, GUESSED, UNSEEN, weekend
from airflow_provider_apiusage.usage.forecast_history import History

SLOT = 900
"""Seconds of a slot."""
DAY = 96
"""Slots of a day."""

LAGS = ((1, 3.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 1.0), (6, 1.0), (7, 3.0), (14, 1.5), (21, 1.0), (28, 1.0))
"""Days back, and how much each weighs."""
OTHER_KIND = 0.1
"""What a weekday weighs for a weekend and the other way round."""
BLURRED = 0.5
"""What a span weighs that begins or ends where only a total around it is known."""
CAP = 2.0
"""The mean counts for at most so many times the median."""


@dataclass(frozen=True)
class Slots:
    """Calls by slot on a grid that ends at the instant asked about.

    :param calls: by slot, without one's own; what is not seen is forecast.
    :param own: one's own calls, by slot.
    :param quality: of each slot.
    :param weekends: whether each slot begins at a weekend, a day ahead included.
    :param midnights: slots that begin a UTC day, a day ahead included.
    :param seen: how many slots are seen, from the first one on.
    :param late: as :attr:`History.late`.
    """

    calls: tuple[float, ...]
    own: tuple[float, ...]
    quality: tuple[int, ...]
    weekends: tuple[bool, ...]
    midnights: tuple[int, ...]
    seen: int
    late: float = 0.0

    @property
    def now(self) -> int:
        """The first slot after the instant asked about."""
        return len(self.calls)

    @cached_property
    def sums(self) -> tuple[float, ...]:
        """Calls up to each slot."""
        return tuple(accumulate(self.calls, initial=0.0))

    @cached_property
    def unseen(self) -> tuple[int, ...]:
        """Slots up to each slot of which nothing is seen."""
        return tuple(accumulate((int(q == UNSEEN) for q in self.quality), initial=0))

    def made(self, start: int, end: int) -> float:
        """Return the calls of the slots from ``start`` on, before ``end``."""
        return self.sums[end] - self.sums[start]

    def usual(self, start: int, end: int, known: int) -> float | None:
        """Return the calls expected of slots, from what was known before slot ``known``; ``None`` if nothing was."""
        first = bisect_right(self.midnights, start)
        total = 0.0
        while True:
            stop = min(end, self.midnights[first]) if first < len(self.midnights) else end
            part = self._typical(start, stop, known)
            if part is None:
                return None
            total += part
            if stop == end:
                return total
            start, first = stop, first + 1

    def _typical(self, start: int, end: int, known: int) -> float | None:
        found, weights, weighted = [], 0.0, 0.0
        kind, sums, unseen, quality = self.weekends[start], self.sums, self.unseen, self.quality
        for days, weight in LAGS:
            a, b = start - days * DAY, end - days * DAY
            if a < 0:
                break
            if b > known or unseen[a] != unseen[b]:
                continue
            if self.weekends[a] != kind:
                weight *= OTHER_KIND
            if quality[a] == GUESSED or quality[b - 1] == GUESSED:
                weight *= BLURRED
            value = sums[b] - sums[a]
            found.append((value, weight))
            weights += weight
            weighted += value * weight
        if not found:
            return None
        median = weighted_median(found, weights)
        return (median + min(weighted / weights, CAP * median)) / 2

    def rate(self, known: int) -> float:
        """Return the mean calls of a slot over the last day before slot ``known``."""
        places = [p for p in range(max(0, known - DAY), known) if self.quality[p] != UNSEEN]
        return sum(self.calls[p] for p in places) / len(places) if places else 0.0


def slots_of(history: History, at: float, own: Sequence[tuple[float, int]] = ()) -> Slots:
    """Cut a history into slots; slots of which nothing is seen get what is usual.

    Before its first call an org was not in use: that nobody called it then says nothing of what is to come, so it
    counts as not seen. An org that nobody has called yet is as it is.

    :param history: of all calls.
    :param at: epoch seconds of the instant asked about.
    :param own: calls that are not to be forecast: when (epoch seconds), and how many.
    """
    now = int((at - history.first * CELL) // SLOT)
    start = at - now * SLOT
    edges = [start + SLOT * n for n in range(now + 1)]
    calls = [after - before for before, after in pairwise(map(history.total, edges))]
    quality = [history.quality(before, after) for before, after in pairwise(edges)]
    unused = next((n for n, made in enumerate(calls) if made), 0)
    quality[:unused] = [UNSEEN] * unused
    ours = [0.0] * now
    for second, count in own:
        place = int((second - start) // SLOT)
        if 0 <= place < now:
            ours[place] += min(count, calls[place])
            calls[place] -= min(count, calls[place])
    days = [int((start + SLOT * n) // (SLOT * DAY)) for n in range(now + 2 * DAY)]
    weekends = tuple(weekend(day * DAY * SLOT // CELL) for day in days)
    midnights = tuple(n for n in range(1, len(days)) if days[n] != days[n - 1])
    seen = min(now, max(0, int((history.seen_until - start + 1) // SLOT)))
    told = Slots(tuple(calls), tuple(ours), tuple(quality), weekends, midnights, seen)
    for place in range(now):
        if quality[place] == UNSEEN:
            usual = told.usual(place, place + 1, place)
            calls[place] = calls[place] if usual is None else usual
    return Slots(tuple(calls), tuple(ours), tuple(quality), weekends, midnights, seen, history.late)


def weighted_median(found: list[tuple[float, float]], weights: float) -> float:
    """Return the value at which half of the weight is reached.

    :param found: values and weights, at least one.
    :param weights: all weights together.
    """
    reached = 0.0
    for value, weight in sorted(found):
        reached += weight
        if reached >= weights / 2:
            return value
    return max(found)[0]
