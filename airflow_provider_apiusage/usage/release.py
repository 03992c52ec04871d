"""How long an expired call stays counted: what readings prove about how an org releases calls.

Salesforce says that a call made at 12:36 on Tuesday is released at 12:36 on Wednesday (help 000133732). A user who
watched the figure for days saw it fall mostly on the hour, and at times on the quarter (2016). So three kinds of orgs
are taken to exist: those that release each call by itself, those that release on quarter hours and those that release
on hours. A figure can only fall when something is released, so each fall between two readings rules out every kind
that has no mark between them. Until something is ruled out, the coarsest kind is assumed: bounds are wider, and true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_provider_apiusage.usage.model import STALENESS, LimitReading, ReadingSource

KINDS = (timedelta(hours=1), timedelta(minutes=15), timedelta(0))
"""The spans within which an org may release calls together, coarsest first; zero for each call by itself."""

LATEST_RELEASE = timedelta(hours=4)
"""The longest that an org was watched not to release anything."""

ENOUGH = 3
"""How many falls must speak against a kind before it is ruled out: one may be an accident of caching."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Release:
    """What is assumed of an org's releases.

    :param lag: how long an expired call may stay counted.
    :param falls: how many falls of the figure were looked at.
    """

    lag: timedelta
    falls: int


def learn_release(readings: Iterable[LimitReading], staleness: timedelta = STALENESS) -> Release:
    """Return the coarsest kind of release that the falls of the rolling figure leave possible.

    Two readings are compared only if they are at least ``staleness`` apart: the later one then shows a state that is
    not before that of the earlier one. What fell was released after ``staleness`` before the earlier one.

    :param readings: org-wide readings of one limit, in any order.
    :param staleness: how late a figure may be.
    """
    known = sorted(
        (r.observed_at, r.used) for r in readings if r.used is not None and r.source is not ReadingSource.EXHAUSTED
    )
    against = dict.fromkeys(KINDS, 0)
    falls = earlier = 0
    for at, used in known:
        while earlier + 1 < len(known) and known[earlier + 1][0] <= at - staleness:
            earlier += 1
        before_at, before = known[earlier]
        if before_at > at - staleness or used >= before:
            continue
        falls += 1
        for kind in KINDS:
            if kind and not _has_mark(before_at - staleness, at, kind):
                against[kind] += 1
    lag = next(kind for kind in KINDS if against[kind] < ENOUGH)
    return Release(lag, falls)


def _has_mark(start: datetime, end: datetime, kind: timedelta) -> bool:
    """Return whether a multiple of ``kind`` since 00:00 UTC lies in ``(start, end]``."""
    return (start - _EPOCH) // kind < (end - _EPOCH) // kind
