"""How old an org's figures are when they are read, learned from readings that running loads leave behind.

A load that makes calls moves the figure. Where the readings of answers to its calls, a minute apart, say the same
number again and again, the org keeps the figure for a while, and for how long shows in the longest of those runs. Where
the figure moves, but follows by minutes what loads have spent and what of that has left the window, it is late by so
much. Otherwise it is fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from airflow_provider_apiusage.quota.outlook import OwnCalls
from airflow_provider_apiusage.usage.model import STALENESS, WINDOW, LimitReading, ReadingSource

NEAR = timedelta(minutes=2)
"""Two readings of a running load are at most so far apart."""

ENOUGH = 12
"""Pairs of readings from which anything is concluded."""

CHANCE = 0.1
"""Share of pairs that may agree by chance although the figure is fresh."""

SLACK = timedelta(minutes=1)
"""By how much what was learned from readings a minute apart may be wrong."""

CLEARLY = 0.9
"""Late figures fit what loads have spent by so much better, as a share of the difference, if they are late."""

SPENT = 1_000
"""Calls that loads must have made while they were heard for their figures to tell anything."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """How old an org's figures may be when they are read.

    :param most: that old at most; Salesforce's promise, unless the org has shown how old they are.
    :param stands: whether the org keeps a figure for that long, and then makes another one.
    """

    most: timedelta = STALENESS
    stands: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """What is known of the figure of the latest reading of one limit.

    :param age: how old it may have been when it was read.
    :param renewed_at: when the org may show another one at the earliest (the org's time); ``None`` if at any time.
    """

    age: timedelta
    renewed_at: datetime | None = None


def staleness_of(readings: Sequence[LimitReading], own: OwnCalls, marks: int = 0) -> Staleness | None:
    """Return how old figures may be; ``None`` if the readings do not show it.

    :param readings: org-wide, of one limit, in the order of time.
    :param own: what one's own loads have spent, since a day before the first reading.
    :param marks: seconds within which the org releases calls together; 0 for each by itself.
    """
    heard = [(r.observed_at.timestamp(), r.used) for r in readings if r.source is ReadingSource.HEADER and r.used]
    pairs = [(a, b) for a, b in pairwise(heard) if 0 < b[0] - a[0] <= NEAR.total_seconds()]
    if len(pairs) < ENOUGH:
        return None
    if sum(a[1] == b[1] for a, b in pairs) > CHANCE * len(pairs):
        longest, since = 0.0, 0.0
        for before, (a, b) in zip([None, *pairs], pairs, strict=False):
            if a[1] != b[1]:
                continue
            if before is None or before[1] != a or before[0][1] != a[1]:
                since = a[0]
            longest = max(longest, b[0] - since)
        return Staleness(min(STALENESS, timedelta(seconds=longest) + SLACK), stands=True)
    if sum(own.between(a[0], b[0]) for a, b in pairs) < SPENT:
        return None

    def ours(second: float) -> int:
        left = (second // marks * marks if marks else second) - WINDOW.total_seconds()
        return own.between(left, second)

    lags = [minute * SLACK.total_seconds() for minute in range(STALENESS // SLACK + 1)]
    # What others' calls add or take away is the same for every lag, and may be much at once: no squares.
    misfits = [sum(abs(b[1] - a[1] - ours(b[0] - lag) + ours(a[0] - lag)) for a, b in pairs) for lag in lags]
    best = misfits.index(min(misfits))
    if not best or misfits[best] > CLEARLY * misfits[0]:
        return Staleness(timedelta(0))
    return Staleness(min(STALENESS, (best + 1) * SLACK))


def figure_of(readings: Sequence[LimitReading], staleness: Staleness) -> Figure:
    """Return how old the figure of the latest reading may have been.

    Where an org keeps a figure for a while, a reading shortly before that said another number shows that it has made
    another one since, so this one is not older than that. Not if the numbers change to and fro: then they come from
    several places, each with its own age.

    :param readings: org-wide, of one limit, since :attr:`Staleness.most` and more before the latest, oldest first.
    :param staleness: of the org.
    """
    known = [r for r in readings if r.used is not None]
    if not known or not staleness.stands:
        return Figure(staleness.most)
    latest, others = known[-1], [r for r in known if r.used != known[-1].used]
    if not others or any(r.used == latest.used and r.observed_at <= others[-1].observed_at for r in known):
        return Figure(staleness.most)
    before = others[-1].observed_at
    age = min(staleness.most, latest.observed_at - before)
    stands = sum(r.used == latest.used for r in known) > 1
    return Figure(age, before + staleness.most - SLACK if stands else None)
