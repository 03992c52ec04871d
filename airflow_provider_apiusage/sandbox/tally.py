"""Counts by whole second, summed quickly over any span of time."""

from __future__ import annotations

from itertools import pairwise

DAY = 86_400
HOUR = 3_600
MINUTE = 60
_SIZES = (1, MINUTE, HOUR)


def window_start(at: int, bucket: int = 1, window: int = DAY) -> int:
    """Return the second after which a call still counts at ``at``.

    A call made in second ``s`` counts at ``at`` if ``window_start(at) < s <= at``. With ``bucket == 1`` that is
    the exact rolling window ``(at - 24 h, at]``. With a larger bucket, calls leave together once the youngest
    of their bucket ``(k * bucket, (k + 1) * bucket]`` is 24 hours old, so none leaves early and each leaves
    less than one bucket late.

    :param at: seconds since 1970-01-01 UTC.
    :param bucket: seconds in a bucket of expiry.
    :param window: seconds in the window.
    """
    return (at - window) // bucket * bucket


class Tally:
    """How many calls were made in each second. Not thread-safe; its owner locks."""

    def __init__(self) -> None:
        self._counts: dict[int, dict[int, int]] = {size: {} for size in _SIZES}
        self.total = 0

    def add(self, second: int, count: int) -> None:
        """Add ``count`` calls made in ``second``."""
        self.total += count
        for size, counts in self._counts.items():
            start = second // size * size
            counts[start] = counts.get(start, 0) + count

    def between(self, after: int, until: int) -> int:
        """Return the calls made later than ``after`` and not later than ``until``."""
        low, high = after + 1, until + 1
        total = 0
        for size, larger in pairwise(_SIZES):
            up, down = -(-low // larger) * larger, high // larger * larger
            if up >= down:
                return total + self._sum(size, low, high)
            total += self._sum(size, low, up) + self._sum(size, down, high)
            low, high = up, down
        return total + self._sum(_SIZES[-1], low, high)

    def seconds(self, after: int, until: int) -> list[tuple[int, int]]:
        """Return ``(second, count)`` of every second with calls in ``(after, until]``, in order of time."""
        counts = self._counts[1]
        if until - after < len(counts):
            return [(second, counts[second]) for second in range(after + 1, until + 1) if second in counts]
        return sorted((second, count) for second, count in counts.items() if after < second <= until)

    def at_most(self, after: int, until: int) -> int:
        """Return a cheap upper bound of ``between``: whole hours, both edges rounded outwards."""
        return self._sum(HOUR, (after + 1) // HOUR * HOUR, until + 1)

    def forget_before(self, second: int) -> None:
        """Drop what was counted before ``second``; ``total`` keeps it."""
        for counts in self._counts.values():
            for start in [start for start in counts if start < second]:
                del counts[start]

    def _sum(self, size: int, low: int, high: int) -> int:
        counts = self._counts[size]
        return sum(counts.get(start, 0) for start in range(low, high, size))
