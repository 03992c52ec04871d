"""What will happen to a limit's use in the next day, if nobody is granted anything.

An outlook has three curves on a grid of quarter hours: calls that others are expected to make, by how much they may
exceed that, and calls that leave the window. A reading says where the use stands; the outlook says how it goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from math import sqrt

STEP = 900
"""Seconds between two points of the grid; they lie on quarter hours."""

WINDOW_SECONDS = 86_400

FINE = 60
"""Seconds between two points at which the next hour is looked at."""

CUT = 0.2
"""Share by which others may stay below what is expected of them, where the earliest useful instant is asked for."""

SOONER = 0.1
"""Share by which more of others' calls may leave than is worked out, there."""

NOISE = 2.0
"""Square roots of a number of calls by which it may differ from what is expected by chance alone."""


class OwnCalls:
    """When one's own loads made how many calls, or when these leave.

    :param calls: epoch seconds and numbers, in any order.
    """

    def __init__(self, calls: Iterable[tuple[float, int]] = ()) -> None:
        ordered = sorted(calls)
        self._seconds = [second for second, _ in ordered]
        self._sums = [0, *accumulate(count for _, count in ordered)]

    def between(self, start: float, end: float) -> int:
        """Return the calls later than ``start`` and not later than ``end`` (epoch seconds)."""
        return self._by(end) - self._by(start) if end > start else 0

    def _by(self, second: float) -> int:
        return self._sums[bisect_right(self._seconds, second)]


NO_CALLS = OwnCalls()


@dataclass(frozen=True)
class Outlook:
    """How the use of one limit goes on from an instant.

    :param at: the org's instant at which it was made.
    :param first: epoch second of the first point, not after ``at``.
    :param new: calls of others from the first point up to each point, as expected.
    :param margin: by how many calls their true number up to each point may exceed that, in 97 cases of 100.
    :param gone: calls of others that have left the window from the first point up to each point, as reconstructed.
    :param bucket: seconds within which the org releases calls together; 0 for each by itself.
    :param marks: seconds within which it may do so, as far as is known; ``bucket`` or more.
    :param own: when calls of one's own loads leave, which is known to the minute.
    :param late: seconds by which an org that misses marks at times must be expected to be behind at a peak.
    """

    at: datetime
    first: int
    new: Sequence[float]
    margin: Sequence[float]
    gone: Sequence[float]
    bucket: int = 0
    marks: int = 0
    own: OwnCalls = NO_CALLS
    late: int = 0

    def new_between(self, start: datetime, end: datetime) -> float:
        """Return the calls that others are expected to make in a span; beyond the grid, none.

        :param start: the org's instant.
        :param end: the org's instant; before ``start`` there are none.
        """
        return max(0.0, _at(self.new, self._place(end)) - _at(self.new, self._place(start)))

    def gone_between(self, start: datetime, end: datetime) -> float:
        """Return the calls that are to leave the window in a span.

        :param start: the org's instant.
        :param end: the org's instant; before ``start`` there are none.
        """
        return max(0.0, self._gone_by(end.timestamp()) - self._gone_by(start.timestamp()))

    def highest(self, since: datetime, *, margin: float = 1.0) -> float:
        """Return by how much the use may exceed, at its peak, what it is at an instant.

        A call that is granted now stays for 24 hours, so the peak is looked for that far ahead, and further by a bucket
        and by how late the org may be.

        :param since: the org's instant.
        :param margin: how much of the margin counts.
        """
        return max((rise for _, rise in self._rises(since, margin)), default=0.0)

    def ahead(self, since: datetime, now: datetime) -> Ahead:
        """Return how the use goes on from a reading.

        :param since: the org's instant of the reading.
        :param now: the org's present instant.
        """
        start, at = since.timestamp(), now.timestamp()
        new, gone = _at(self.new, self._place(since)), self._gone_by(start)
        near = [at + FINE * n for n in range(1 if self.bucket else 3600 // FINE)]
        seconds = [*near, *(s for s in range(self.first, self.first + STEP * len(self.new), STEP) if s > near[-1])]
        made = [_at(self.new, (second - self.first) / STEP) - new for second in seconds]
        left = [self._gone_by(second) - gone for second in seconds]
        ours = [self._own_by(second) - self._own_by(start) for second in seconds]
        change = [
            (1 - CUT) * m - NOISE * sqrt(max(0.0, m)) - g - SOONER * max(0.0, g - own)
            for m, g, own in zip(made, left, ours, strict=True)
        ]
        peak, peaks = float("-inf"), []
        for second, m in zip(reversed(seconds), reversed(made), strict=True):
            peak = max(peak, m + _at(self.margin, (second - self.first) / STEP) - self._gone_late(second, gone))
            peaks.append(peak)
        peaks.reverse()
        return Ahead(since, [second - start for second in seconds], change, peaks, steps=bool(self.bucket))

    def last_mark(self, now: datetime) -> datetime | None:
        """Return when calls were last due to be released together; ``None`` if each surely goes by itself."""
        every = max(self.bucket, self.marks)
        if not every:
            return None
        second = now.timestamp()
        return now - timedelta(seconds=second - second // every * every)

    def next_mark(self, now: datetime) -> datetime | None:
        """Return when calls are next due to be released together; ``None`` if each surely goes by itself."""
        last = self.last_mark(now)
        return None if last is None else last + timedelta(seconds=max(self.bucket, self.marks))

    def gone_at(self, mark: datetime) -> float:
        """Return the calls that are released at a mark, if calls are released together.

        :param mark: the org's instant.
        """
        return self.gone_between(mark - timedelta(seconds=max(self.bucket, self.marks)), mark)

    def gone_by_mark_before(self, mark: datetime, since: datetime) -> float:
        """Return the calls that were released since an instant at the marks before a mark; 0 if there are none.

        :param mark: the org's instant; that mark is not among them.
        :param since: the org's instant.
        """
        return self.gone_between(since, mark - timedelta(seconds=max(self.bucket, self.marks)))

    def _rises(self, since: datetime, margin: float) -> list[tuple[int, float]]:
        start = since.timestamp()
        new = _at(self.new, self._place(since))
        gone = self._gone_by(start)
        until = start + WINDOW_SECONDS + self.bucket + self.late
        rises = []
        for n in range(max(0, int((start - self.first) // STEP)), len(self.new)):
            second = self.first + n * STEP
            if second > until:
                break
            second = max(second, int(start))
            left = self._gone_late(second, gone)
            place = (second - self.first) / STEP
            rises.append((second, _at(self.new, place) - new + margin * _at(self.margin, place) - left))
        return rises

    def _place(self, instant: datetime) -> float:
        return (instant.timestamp() - self.first) / STEP

    def _gone_by(self, second: float) -> float:
        return _at(self.gone, (self._mark(second) - self.first) / STEP) + self._own_by(second)

    def _gone_late(self, second: float, gone: float) -> float:
        """Return what has left by then at least, beyond ``gone`` calls, though the org may miss marks."""
        return max(0.0, self._gone_by(second - self.late) - gone) if self.late else self._gone_by(second) - gone

    def _own_by(self, second: float) -> int:
        return self.own.between(0, self._mark(second))

    def _mark(self, second: float) -> float:
        return second // self.bucket * self.bucket if self.bucket else second


@dataclass(frozen=True)
class Ahead:
    """How the use goes on from a reading.

    :param since: the org's instant of the reading.
    :param seconds: since then: now, each minute of an hour unless calls leave together, and each point of the grid.
    :param change: of the use by then, if others make :data:`CUT` fewer calls than expected, and :data:`SOONER` more of
        theirs leave.
    :param peaks: by how much the use, margin included, may exceed that of the reading at its peak from then on.
    :param steps: whether calls leave together at the points of the grid, and not in between.
    """

    since: datetime
    seconds: Sequence[float]
    change: Sequence[float]
    peaks: Sequence[float]
    steps: bool

    def opens_at(self, free: float, calm: float | None) -> datetime | None:
        """Return the first instant from which the use can have fallen far enough; ``None`` if it is not in sight.

        A gate that looks then looks early rather than late; not so at the peak, which is a matter of the outlook and
        not of the next reading.

        :param free: calls by which the use may have risen since the reading (negative: by which it must fall).
        :param calm: calls by which, at its later peak, the use may exceed that of the reading; ``None`` if that does
            not matter.
        """
        for n, (second, change, peak) in enumerate(zip(self.seconds, self.change, self.peaks, strict=True)):
            if change > free or (calm is not None and peak > calm):
                continue
            before = self.change[n - 1] if n else change
            if not self.steps and before > free > change:
                part = (before - free) / (before - change)
                second = self.seconds[n - 1] + part * (second - self.seconds[n - 1])
            return self.since + timedelta(seconds=second)
        return None


def _at(curve: Sequence[float], place: float) -> float:
    if place <= 0:
        return curve[0]
    if place >= len(curve) - 1:
        return curve[-1]
    low = int(place)
    return curve[low] + (curve[low + 1] - curve[low]) * (place - low)
