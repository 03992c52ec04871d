"""Whether a new reading could change what the gate has decided, and so is worth its call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_apiusage.quota.headroom import must_expire
from airflow_provider_apiusage.quota.model import QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import Approve, Verdict
from airflow_provider_apiusage.quota.waking import shortest_pause
from airflow_provider_apiusage.usage.model import LimitReading


@dataclass(frozen=True, slots=True)
class ReadingHelps:
    """Tells it of the verdicts of one turn.

    :param readings: the latest.
    :param now: our clock.
    :param poll_interval: the shortest time between two readings, unless something tells that one may open the gate.
    :param staleness: how old the org's figures may be when they are read.
    :param last_read_at: when the org was last read on purpose (our clock); ``None`` if never.
    :param would_settle: whether a reading of these limits would end the doubt about calls of reservations that have
        ended.
    """

    readings: Mapping[str, LimitReading]
    now: datetime
    poll_interval: timedelta
    staleness: timedelta
    last_read_at: datetime | None
    would_settle: Callable[[tuple[str, ...]], bool]

    def __call__(self, request: QuotaRequest, verdict: Verdict) -> bool:
        """Tell it of one request.

        Not if the org was read within ``poll_interval``, or ``max_age`` if that is shorter; where an outlook tells that
        a reading may open the gate, that comes down to seconds. Not while outlook or window tell that too few calls can
        have left it, and not while only other loads' reservations stand in the way; but never longer than half an hour
        where there is an outlook, and ``max_age`` where there is none, since a limit may be raised.
        """
        now, last, names = self.now, self.last_read_at, tuple(sorted(request.needs))
        foreseen = verdict.look if isinstance(verdict, Wait) else None
        known = [self.readings[name] for name in names if name in self.readings]
        all_read = len(known) == len(names)
        settles = foreseen is not None and all_read and self.would_settle(names)
        soon = [shortest_pause(self.staleness)] if foreseen or settles else []
        if last is not None and now - last < min([self.poll_interval, request.max_age, *soon]):
            return False
        stale = not all_read or max(now - r.received_at for r in known) > request.max_age
        if isinstance(verdict, Approve):
            return stale  # allowed blind: look first
        if isinstance(verdict, Refuse) or settles:
            return True
        if foreseen is not None:
            return foreseen
        if stale:
            return True
        if self.would_settle(names):
            return True
        if verdict.opens_at is not None:
            return now + max(r.skew for r in known) >= verdict.opens_at
        return any(must_expire(each) for each in verdict.figures)
