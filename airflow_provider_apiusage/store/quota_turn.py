"""The one transaction in which the gate looks and takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, update

from airflow_provider_apiusage.quota.model import Holder, LeaseState, LimitFigures, QuotaRequest, Reservation
from airflow_provider_apiusage.quota.order import PastGrant, in_order
from airflow_provider_apiusage.quota.policy import Reported
from airflow_provider_apiusage.store import quota_batch as batch
from airflow_provider_apiusage.store.lease_history import grants_since
from airflow_provider_apiusage.store.lease_outstanding import outstanding
from airflow_provider_apiusage.store.lease_rows import LIVE
from airflow_provider_apiusage.store.quota_batch import Decided, Joined
from airflow_provider_apiusage.store.schema import lease, org, reading
from airflow_provider_apiusage.store.standing_figure import figure_as_of
from airflow_provider_apiusage.store.usage_store import latest_readings, readings_between
from airflow_provider_apiusage.store.waiting_rows import WaitingRow, waiting_rows
from airflow_provider_apiusage.usage.model import STALENESS, WINDOW, LimitReading, ReadingSource

NEVER = datetime.max.replace(tzinfo=UTC)


class Turn:
    """One transaction under an org's lock; see ``QuotaLedger.turn``."""

    def __init__(self, connection: Connection, org_id: str) -> None:
        self._connection = connection
        self.org_id = org_id
        self._queue: dict[Holder, WaitingRow] | None = None  # read once: nobody else changes it during the turn

    def lapse(self, now: datetime) -> None:
        """End the leases whose time is up; at exactly ``held_until`` it is up. They ended then, not now."""
        self._queue = None
        self._connection.execute(
            update(lease)
            .where(lease.c.org_id == self.org_id, lease.c.state.in_(LIVE), lease.c.held_until <= now)
            .values(state=LeaseState.LAPSED.value, ended_at=lease.c.held_until)
        )

    def join(self, request: QuotaRequest, now: datetime, waits_until: datetime) -> Reservation | None:
        """Enter the queue, or renew what the holder has: the same reservation, or its place in the queue.

        Call :meth:`lapse` first. A request that lapsed because its holder came back too late keeps its place for a
        day. A reservation that is still held is renewed by the request's ``lease``; one for other
        needs, as when a task was cleared and asks for more, or one of which a load has spent a part already, is
        released, and the request queues anew.

        :param request: what is asked for; needs and terms of a waiting request are brought up to date.
        :param now: our clock.
        :param waits_until: when the request leaves the queue unless it asks again.
        :returns: the reservation, if the holder has one; ``None`` if it is waiting now.
        """
        return self.join_all([request], now, waits_until).held.get(request.holder)

    def join_all(
        self,
        requests: Iterable[QuotaRequest],
        now: datetime,
        waits_until: datetime,
        *,
        seen: Mapping[Holder, datetime] = MappingProxyType({}),
        enough: datetime = NEVER,
    ) -> Joined:
        """Let many enter the queue, or renew what they have, as :meth:`join` does for one.

        :param seen: until when requests waited, as the caller left them; what another process has renewed since is
            renewed again, so that it can tell that it is not the only one.
        :param enough: what waits as long as that, and as it was left, is not renewed now.
        """
        joined, changed = batch.join_all(
            self._connection, self.org_id, self._waiting, requests, now, waits_until, seen, enough
        )
        if changed:
            self._queue = None
        return joined

    def queue(self) -> tuple[QuotaRequest, ...]:
        """Return the waiting requests, first come first."""
        return tuple(in_order(row.request for row in self._waiting.values()))

    def latest_readings(self, names: Collection[str]) -> dict[str, LimitReading]:
        """Return the latest org-wide reading of each limit; absent where there is none."""
        return latest_readings(self._connection, self.org_id, names)

    def last_read_at(self) -> datetime | None:
        """Return when the org was last read on purpose (our clock), whatever came of it; headers do not count."""
        # One question per source: each is answered by the last entry of an index, however many readings there are.
        of_source = [self._last_from(source) for source in (ReadingSource.LIMITS, ReadingSource.EXHAUSTED)]
        return max((instant for instant in of_source if instant is not None), default=None)

    def reported(self) -> Reported | None:
        """Return which limits the org told when ``/limits`` was last read; ``None`` if it never was."""
        at = self._last_from(ReadingSource.LIMITS)
        if at is None:
            return None
        # The limit is in no index: with the name alone, SQLite would rather go through one that holds all of the org.
        names = select(reading.c.name, reading.c.limit).where(
            reading.c.org_id == self.org_id,
            reading.c.source == ReadingSource.LIMITS.value,
            reading.c.received_at == at,
            reading.c.scope == "",
        )
        return Reported(at, frozenset(self._connection.execute(names).scalars()))

    def _last_from(self, source: ReadingSource) -> datetime | None:
        found: datetime | None = self._connection.execute(
            select(func.max(reading.c.received_at)).where(
                reading.c.org_id == self.org_id, reading.c.source == source.value
            )
        ).scalar_one()
        return found

    def readings(self, name: str, since: datetime, until: datetime) -> tuple[LimitReading, ...]:
        """Return the org-wide readings of one limit with ``since <= observed_at <= until``, oldest first."""
        return readings_between(self._connection, self.org_id, name, since, until)

    def outstanding(
        self,
        readings: Mapping[str, LimitReading],
        names: Collection[str],
        now: datetime,
        ages: Mapping[str, timedelta] | None = None,
    ) -> dict[str, int]:
        """Return, by limit, what is granted and may not show in its latest reading yet.

        That is every reservation held, and every one that ended (released or lapsed) after the instant that the
        reading shows: its calls may be missing there. Without a reading, everything that ended within the last 24
        hours counts. What a load had drawn by the instant that the reading shows is there; see
        :mod:`.standing_figure` for figures that stand still, and clocks of ours that differ.

        :param readings: from :meth:`latest_readings`.
        :param names: the limits asked about.
        :param now: our clock.
        :param ages: by limit name, how old the figure may have been when the reading arrived; :data:`STALENESS` where
            nothing is told.
        """
        shown = {
            name: figure_as_of(self._connection, readings[name], now) - (ages or {}).get(name, STALENESS)
            if name in readings
            else now - WINDOW
            for name in names
        }
        return outstanding(self._connection, self.org_id, shown)

    def reading_would_settle(
        self,
        readings: Mapping[str, LimitReading],
        names: Collection[str],
        now: datetime,
        staleness: timedelta = STALENESS,
    ) -> bool:
        """Tell whether a reading made now would end the doubt about calls of a reservation that has ended.

        :param readings: the latest ones; each name is in it.
        :param names: the limits asked about.
        :param now: our clock.
        :param staleness: how old the org's figures may be when they are read.
        """
        oldest = min(readings[name].received_at for name in names)
        found = self._connection.execute(
            select(lease.c.id)
            .where(
                lease.c.org_id == self.org_id,
                lease.c.granted_at.is_not(None),
                lease.c.ended_at > oldest - staleness,
                lease.c.ended_at <= now - staleness,
            )
            .limit(1)
        )
        return found.first() is not None

    def grants_since(self, since: datetime) -> tuple[PastGrant, ...]:
        """Return what was granted after an instant (our clock), whether it has ended or not."""
        return grants_since(self._connection, self.org_id, since)

    def grant(self, request: QuotaRequest, now: datetime) -> Reservation:
        """Turn the holder's waiting request into a reservation.

        :raises LookupError: if the holder is not waiting.
        """
        return self.grant_all([request], now)[request.holder]

    def grant_all(self, requests: Iterable[QuotaRequest], now: datetime) -> dict[Holder, Reservation]:
        """Turn waiting requests into reservations.

        :raises LookupError: if one of the holders is not waiting.
        """
        granted = batch.grant_all(self._connection, self.org_id, self._waiting, requests, now)
        self._forget(granted)
        return granted

    def refuse(self, request: QuotaRequest, now: datetime) -> None:
        """Take the holder's waiting request out of the queue for good.

        :raises LookupError: if the holder is not waiting.
        """
        self.refuse_all([request], now)

    def refuse_all(self, requests: Iterable[QuotaRequest], now: datetime) -> None:
        """Take waiting requests out of the queue for good.

        :raises LookupError: if one of the holders is not waiting.
        """
        rows = [batch.waiting_row(self._waiting, request.holder, self.org_id) for request in requests]
        batch.end_waiting(self._connection, rows, LeaseState.REFUSED, now)
        self._forget(row.request.holder for row in rows)

    def leave(self, holder: Holder, now: datetime, *, release: bool = False, keep_place: bool = False) -> None:
        """Take the holder's waiting request out of the queue; nothing to take out is no error.

        :param release: whether a reservation is given back as well, instead of staying.
        :param keep_place: whether it stands where it stood if it asks again within a day.
        """
        live = self._live(holder)
        self._queue = None
        if live is not None and live.state == LeaseState.WAITING.value:
            state = LeaseState.LAPSED if keep_place else LeaseState.WITHDRAWN
            batch.end_all(self._connection, [live], state, now)
        elif live is not None and release and live.held_until > now:
            batch.end_all(self._connection, [live], LeaseState.RELEASED, now)

    def leave_all(self, left: Mapping[Holder, datetime], now: datetime) -> None:
        """Take out those who have gone, and give back what they hold, unless somebody else has taken them over.

        :param left: holders, and until when the lease of each ran when it was last renewed for who has gone.
        """
        batch.leave_all(self._connection, self.org_id, left, now)
        self._queue = None

    def record(
        self, request: QuotaRequest, now: datetime, kind: str, reason: str, figures: Sequence[LimitFigures]
    ) -> None:
        """Keep a decision with the figures it was made from.

        A wait that is decided again for the same reason is not kept again: a gate that polls for hours leaves one row
        per change, not one per turn.

        :param kind: ``"grant"``, ``"wait"`` or ``"refuse"``.
        :raises LookupError: if the holder neither waits nor holds anything.
        """
        self.record_all([Decided(request, kind, reason, figures)], now)

    def record_all(self, decided: Sequence[Decided], now: datetime) -> Mapping[Holder, datetime]:
        """Keep decisions with the figures they were made from, as :meth:`record` does for one.

        :returns: when the last decision of each that is kept was made; now, if it is this one.
        :raises LookupError: if one of the holders neither waits nor holds anything.
        """
        return batch.record_all(self._connection, self.org_id, self._waiting, decided, now)

    def signs(self) -> tuple[datetime | None, ...]:
        """Return what :meth:`QuotaLedger.signs` does; what comes later than this question is news to who asks it."""
        return batch.signs(self._connection, self.org_id)

    def claim_poll(self, now: datetime, until: datetime) -> bool:
        """Claim the right to read the org; one process has it at a time.

        :param now: our clock.
        :param until: when the claim ends by itself.
        :returns: whether it is ours now.
        """
        claimed = self._connection.execute(
            update(org)
            .where(
                org.c.org_id == self.org_id, or_(org.c.poll_claimed_until.is_(None), org.c.poll_claimed_until <= now)
            )
            .values(poll_claimed_until=until)
        )
        return claimed.rowcount == 1

    def claimed_until(self) -> datetime | None:
        """Return when the present claim to read the org ends, or ended; ``None`` if it was given back."""
        found: datetime | None = self._connection.execute(
            select(org.c.poll_claimed_until).where(org.c.org_id == self.org_id)
        ).scalar_one_or_none()
        return found

    def end_claim(self, claimed_until: datetime, until: datetime | None) -> None:
        """Let a claim end at another time; one that is not ours any more stays as it is.

        :param claimed_until: what :meth:`claim_poll` was called with, which tells our claim from others.
        :param until: when it ends instead; ``None`` for at once.
        """
        self._connection.execute(
            update(org)
            .where(org.c.org_id == self.org_id, org.c.poll_claimed_until == claimed_until)
            .values(poll_claimed_until=until)
        )

    @property
    def _waiting(self) -> dict[Holder, WaitingRow]:
        """The org's queue, first come first."""
        if self._queue is None:
            self._queue = waiting_rows(self._connection, self.org_id)
        return self._queue

    def _live(self, holder: Holder) -> Row[Any] | None:
        return batch.live_rows(self._connection, self.org_id, [holder]).get(holder)

    def _forget(self, holders: Iterable[Holder]) -> None:
        for holder in holders:
            self._waiting.pop(holder, None)
