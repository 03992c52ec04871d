"""What will happen to a limit's use in the next day, if nobody is granted anything.

An outlook has three curves on a grid of quarter hours: calls that others are expected to make, by how much they may
exceed that, and calls that leave the window. A reading says where the use stands; the outlook says how it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt

STEP = 900
"""Seconds between two points of the grid; they lie on quarter hours."""

WINDOW_SECONDS = 86_400

CUT = 0.3
"""Share by which others may stay below what is expected of them, where the earliest useful instant is asked for."""

NOISE = 3.0
"""Square roots of a number of calls by which it may differ from what is expected by chance alone."""


@dataclass(frozen=True)
class Outlook:
    """How the use of one limit goes on from an instant.

    :param at: the org's instant at which it was made.
    :param first: epoch second of the first point, not after ``at``.
    :param new: calls of others from the first point up to each point, as expected.
    :param margin: by how many calls their true number up to each point may exceed that, in 98 cases of 100.
    :param gone: calls that have left the window from the first point up to each point, as reconstructed.
    :param bucket: seconds within which the org releases calls together; 0 for each by itself.
    :param late: seconds by which releases were seen to be late.
    """

    at: datetime
    first: int
    new: Sequence[float]
    margin: Sequence[float]
    gone: Sequence[float]
    bucket: int = 0
    late: int = 0

    def new_between(self, start: datetime, end: datetime) -> float:
        """Return the calls that others are expected to make in a span; beyond the grid, none."""
        return max(0.0, _at(self.new, self._place(end)) - _at(self.new, self._place(start)))

    def gone_between(self, start: datetime, end: datetime) -> float:
        """Return the calls that are to leave the window in a span."""
        return max(0.0, self._gone_by(end.timestamp()) - self._gone_by(start.timestamp()))

    def highest(self, since: datetime, *, margin: float = 1.0) -> float:
        """Return by how much the use may exceed, at its peak, what it is at an instant; calls may leave late.

        A call that is granted now stays for 24 hours, so the peak is looked for that far ahead, and a bucket further.

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
        seconds = [at, *(s for s in range(self.first, self.first + STEP * len(self.new), STEP) if s > at)]
        made = [_at(self.new, (second - self.first) / STEP) - new for second in seconds]
        left = [self._gone_by(second) - gone for second in seconds]
        change = [(1 - CUT) * m - NOISE * sqrt(max(0.0, m)) - g for m, g in zip(made, left, strict=True)]
        peak, peaks = float("-inf"), []
        for second, m, g in zip(reversed(seconds), reversed(made), reversed(left), strict=True):
            peak = max(peak, m + _at(self.margin, (second - self.first) / STEP) - g)
            peaks.append(peak)
        peaks.reverse()
        return Ahead(since, [second - start for second in seconds], change, peaks, steps=bool(self.bucket))

    def last_mark(self, now: datetime) -> datetime | None:
        """Return when calls were last due to be released together; ``None`` if each goes by itself."""
        if not self.bucket:
            return None
        second = now.timestamp()
        return now - timedelta(seconds=second - second // self.bucket * self.bucket)

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
            left = max(gone, self._gone_by(second - self.late)) - gone
            place = (second - self.first) / STEP
            rises.append((second, _at(self.new, place) - new + margin * _at(self.margin, place) - left))
        return rises

    def _place(self, instant: datetime) -> float:
        return (instant.timestamp() - self.first) / STEP

    def _gone_by(self, second: float) -> float:
        if self.bucket:
            second = second // self.bucket * self.bucket
        return _at(self.gone, (second - self.first) / STEP)


@dataclass(frozen=True)
class Ahead:
    """How the use goes on from a reading.

    :param since: the org's instant of the reading.
    :param seconds: since then: now, and each later point of the grid.
    :param change: of the use by then, if others make :data:`CUT` fewer calls than expected.
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
