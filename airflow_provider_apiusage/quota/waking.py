"""When a request that waits should be looked at again, and whether a reading made now may well open the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_apiusage.quota.headroom import View, deficit, must_expire
from airflow_provider_apiusage.quota.model import LimitFigures
from airflow_provider_apiusage.quota.outlook import CUT

SHORTEST = timedelta(seconds=10)
"""Two readings made because one may open the gate are at least so far apart."""

OLDEST = timedelta(minutes=30)
"""While somebody waits, a reading is never older: others may have made fewer calls, and a limit may be raised."""

LATE_MARKS = tuple(timedelta(seconds=s) for s in (0, 30, 60, 120, 240))
"""After a mark at which calls are due to be released together: when to look, as it may be late."""

STEPS_WHILE_STALE = 5
"""Readings made while a figure may stand still are a fifth of that time apart."""


@dataclass(frozen=True, slots=True)
class Waking:
    """When to come back.

    :param at: the earliest useful instant (our clock).
    :param look: whether a reading made now may well open the gate.
    """

    at: datetime
    look: bool


def shortest_pause(staleness: timedelta) -> timedelta:
    """Return how far apart readings are at least.

    :param staleness: how old the org's figures may be when they are read.
    """
    return max(SHORTEST, staleness / STEPS_WHILE_STALE)


def waking(short: Sequence[tuple[LimitFigures, View]]) -> Waking | None:
    """Return when all limits that are short can have come free; ``None`` if nothing tells.

    :param short: figures of the limits of which too little is free, with what is known of them.
    """
    found = [_of_limit(figures, view) for figures, view in short if view.outlook is not None]
    if len(found) < len(short) or not found:
        return None
    return Waking(max(each.at for each in found), all(each.look for each in found))


def _of_limit(figures: LimitFigures, view: View) -> Waking:
    outlook, knowledge, reading = view.outlook, view.knowledge, view.reading
    assert outlook is not None
    assert view.ahead is not None
    missing, now = deficit(figures), knowledge.now
    pause = shortest_pause(knowledge.staleness)
    earliest = max(now, reading.received_at + pause)
    renewed_at = knowledge.figure(figures.name).renewed_at
    if renewed_at is not None:
        earliest = max(earliest, renewed_at - reading.skew)
    latest = max(earliest, reading.received_at + OLDEST)
    if missing <= view.may_be_more or now >= latest:
        return Waking(earliest, earliest <= now or renewed_at is None)
    free = (figures.remaining or 0) - (figures.reserve or 0) - (figures.outstanding or 0) - figures.need
    calm = None
    if figures.peak is not None:
        calm = free + (1 - (knowledge.rules.kept_at_peak or 0)) * (figures.reserve or 0)
    opens = view.ahead.opens_at(free, calm)
    bound = knowledge.opens_at(figures.name, expire) if (expire := must_expire(figures)) else None
    if opens is None:
        at = latest
    elif max(opens, bound or opens) - reading.skew <= now:
        return Waking(earliest, earliest <= now or renewed_at is None)
    else:
        at = min(latest, max(earliest, opens - reading.skew))
    if bound is not None and bound - reading.skew > at:
        at = min(latest, bound - reading.skew)
    last, coming = outlook.last_mark(view.now), outlook.next_mark(view.now)
    if last is None or coming is None:
        return Waking(at, False)
    perhaps = (1 - CUT) * missing
    # An org that misses marks releases at the next one what was due before.
    if outlook.late or perhaps <= outlook.gone_at(coming):
        at = min(at, max(earliest, coming - reading.skew))
    due = perhaps <= outlook.gone_at(last) and not view.released(last)
    if due or outlook.late:
        late = [last - reading.skew + late for late in (LATE_MARKS if due else LATE_MARKS[:1])]
        if any(reading.received_at < instant <= now for instant in late):
            return Waking(earliest, earliest <= now or renewed_at is None)
        at = min([at, *(instant for instant in late if instant >= earliest)])
    return Waking(at, False)
