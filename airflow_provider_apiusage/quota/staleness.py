"""How long an org's figure stands still, learned from readings that running loads leave behind.

A load that makes calls moves the figure. So where the readings of answers to its calls, a minute apart, say the same
number again and again, the org keeps the figure for a while, and for how long shows in the longest of those runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from airflow_provider_apiusage.usage.model import STALENESS, LimitReading, ReadingSource

NEAR = timedelta(minutes=2)
"""Two readings of a running load are at most so far apart."""

ENOUGH = 12
"""Pairs of readings from which anything is concluded."""

CHANCE = 0.1
"""Share of pairs that may agree by chance although the figure is fresh."""


def staleness_of(readings: Sequence[LimitReading]) -> timedelta:
    """Return how old a figure may be when it is read: zero if it is fresh, five minutes if nobody knows.

    :param readings: org-wide, of one limit, of the last day, in the order of time.
    """
    heard = [r for r in readings if r.source is ReadingSource.HEADER and r.used is not None]
    pairs = [(a, b) for a, b in pairwise(heard) if timedelta(0) < b.observed_at - a.observed_at <= NEAR]
    if len(pairs) < ENOUGH:
        return STALENESS
    if sum(a.used == b.used for a, b in pairs) <= CHANCE * len(pairs):
        return timedelta(0)
    longest, run = timedelta(0), timedelta(0)
    for a, b in pairs:
        run = run + (b.observed_at - a.observed_at) if a.used == b.used else timedelta(0)
        longest = max(longest, run)
    return min(STALENESS, longest + NEAR / 2)
