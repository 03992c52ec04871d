"""The one transaction in which the gate looks and takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, Select, func, insert, or_, select, update

from airflow_provider_apiusage.quota.model import Holder, LeaseState, LimitFigures, QuotaRequest, Reservation
from airflow_provider_apiusage.quota.policy import Reported
from airflow_provider_apiusage.quota.wire import figures_to_json
from airflow_provider_apiusage.store.lease_rows import LIVE, of_holder, queue, reservation_from, terms
from airflow_provider_apiusage.store.schema import decision, lease, org, reading
from airflow_provider_apiusage.store.usage_store import latest_readings, readings_between
from airflow_provider_apiusage.usage.model import STALENESS, WINDOW, LimitReading, ReadingSource


class Turn:
    """One transaction under an org's lock; see ``QuotaLedger.turn``."""

    def __init__(self, connection: Connection, org_id: str) -> None:
        self._connection = connection
        self.org_id = org_id

    def lapse(self, now: datetime) -> None:
        """End the leases whose time is up; at exactly ``held_until`` it is up. They ended then, not now."""
        self._connection.execute(
            update(lease)
            .where(lease.c.org_id == self.org_id, lease.c.state.in_(LIVE), lease.c.held_until <= now)
            .values(state=LeaseState.LAPSED.value, ended_at=lease.c.held_until)
        )

    def join(self, request: QuotaRequest, now: datetime, waits_until: datetime) -> Reservation | None:
        """Enter the queue, or renew what the holder has: the same reservation, or its place in the queue.

        Call :meth:`lapse` first. A request that lapsed because its holder came back too late keeps its place for a
        day. A reservation that is still held is renewed by the request's ``lease``; one for other
        needs, as when a task was cleared and asks for more, is released, and the request queues anew.

        :param request: what is asked for; needs and terms of a waiting request are brought up to date.
        :param now: our clock.
        :param waits_until: when the request leaves the queue unless it asks again.
        :returns: the reservation, if the holder has one; ``None`` if it is waiting now.
        """
        live = self._live(request.holder)
        if live is not None and live.state == LeaseState.GRANTED.value and live.needs != dict(request.needs):
            self._end(live, LeaseState.RELEASED, now)
            live = None
        if live is None:
            values = {
                **terms(request),
                "reservation_id": str(uuid4()),
                "org_id": self.org_id,
                "dag_id": request.holder.dag_id,
                "run_id": request.holder.run_id,
                "task_id": request.holder.task_id,
                "map_index": request.holder.map_index,
                "state": LeaseState.WAITING.value,
                "requested_at": self._place_of(request, now),
                "held_until": waits_until,
            }
            self._connection.execute(insert(lease).values(values))
            return None
        if live.state == LeaseState.GRANTED.value:
            held_until = max(live.held_until, now + request.lease)
            self._connection.execute(update(lease).where(lease.c.id == live.id).values(held_until=held_until))
            return replace(reservation_from(live), held_until=held_until)
        self._connection.execute(
            update(lease).where(lease.c.id == live.id).values(**terms(request), held_until=waits_until)
        )
        return None

    def queue(self) -> tuple[QuotaRequest, ...]:
        """Return the waiting requests, first come first."""
        return queue(self._connection, self.org_id)

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
        self, readings: Mapping[str, LimitReading], names: Collection[str], now: datetime
    ) -> dict[str, int]:
        """Return, by limit, what is granted and may not show in its latest reading yet.

        That is every reservation held, and every one that ended (released or lapsed) less than :data:`STALENESS` before
        the reading arrived, or after it: its calls may still be missing there. Without a reading, everything that ended
        within the last 24 hours counts.

        :param readings: from :meth:`latest_readings`.
        :param names: the limits asked about.
        :param now: our clock.
        """
        earliest = min(
            [readings[name].received_at - STALENESS if name in readings else now - WINDOW for name in names],
            default=now,
        )
        # Two questions, not one with "or": each has an index that passes over the history of the org.
        needs = select(lease.c.needs, lease.c.state, lease.c.ended_at).where(lease.c.org_id == self.org_id)
        held = [
            *self._connection.execute(needs.where(lease.c.state == LeaseState.GRANTED.value)),
            *self._connection.execute(needs.where(lease.c.granted_at.is_not(None), lease.c.ended_at > earliest)),
        ]
        totals = dict.fromkeys(names, 0)
        for row in held:
            for name in names:
                seen_since = readings[name].received_at - STALENESS if name in readings else now - WINDOW
                if row.state == LeaseState.GRANTED.value or row.ended_at > seen_since:
                    totals[name] += row.needs.get(name, 0)
        return totals

    def reading_would_settle(self, readings: Mapping[str, LimitReading], names: Collection[str], now: datetime) -> bool:
        """Tell whether a reading made now would end the doubt about calls of a reservation that has ended.

        :param readings: the latest ones; each name is in it.
        :param names: the limits asked about.
        :param now: our clock.
        """
        oldest = min(readings[name].received_at for name in names)
        found = self._connection.execute(
            select(lease.c.id)
            .where(
                lease.c.org_id == self.org_id,
                lease.c.granted_at.is_not(None),
                lease.c.ended_at > oldest - STALENESS,
                lease.c.ended_at <= now - STALENESS,
            )
            .limit(1)
        )
        return found.first() is not None

    def grant(self, request: QuotaRequest, now: datetime) -> Reservation:
        """Turn the holder's waiting request into a reservation.

        :raises LookupError: if the holder is not waiting.
        """
        live = self._waiting(request.holder)
        held_until = now + request.lease
        self._connection.execute(
            update(lease)
            .where(lease.c.id == live.id)
            .values(state=LeaseState.GRANTED.value, granted_at=now, held_until=held_until)
        )
        return replace(reservation_from(live), granted_at=now, held_until=held_until)

    def refuse(self, request: QuotaRequest, now: datetime) -> None:
        """Take the holder's waiting request out of the queue for good.

        :raises LookupError: if the holder is not waiting.
        """
        self._end(self._waiting(request.holder), LeaseState.REFUSED, now)

    def leave(self, holder: Holder, now: datetime, *, release: bool = False) -> None:
        """Take the holder's waiting request out of the queue; nothing to take out is no error.

        :param release: whether a reservation is given back as well, instead of staying.
        """
        live = self._live(holder)
        if live is not None and live.state == LeaseState.WAITING.value:
            self._end(live, LeaseState.WITHDRAWN, now)
        elif live is not None and release and live.held_until > now:
            self._end(live, LeaseState.RELEASED, now)

    def record(
        self, request: QuotaRequest, now: datetime, kind: str, reason: str, figures: Sequence[LimitFigures]
    ) -> None:
        """Keep a decision with the figures it was made from.

        A wait that is decided again for the same reason is not kept again: a gate that polls for hours leaves one row
        per change, not one per turn.

        :param kind: ``"grant"``, ``"wait"`` or ``"refuse"``.
        :raises LookupError: if the holder neither waits nor holds anything.
        """
        row = self._live(request.holder)
        if row is None:
            raise LookupError(f"{request.holder} neither waits for quota of org {self.org_id} nor holds any.")
        last = self._connection.execute(
            select(decision.c.kind, decision.c.reason)
            .where(decision.c.reservation_id == row.reservation_id)
            .order_by(decision.c.id.desc())
            .limit(1)
        ).one_or_none()
        if last is not None and (last.kind, last.reason) == (kind, reason):
            return
        self._connection.execute(
            insert(decision).values(
                org_id=self.org_id,
                reservation_id=row.reservation_id,
                decided_at=now,
                kind=kind,
                reason=reason,
                figures=[figures_to_json(each) for each in figures],
            )
        )

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

    def _place_of(self, request: QuotaRequest, now: datetime) -> datetime:
        """Return when a request that enters the queue joined it: earlier, if the holder's last one only lapsed."""
        last = self._connection.execute(
            self._leases_of(request.holder)
            .where(lease.c.ended_at > now - WINDOW)
            .order_by(lease.c.ended_at.desc(), lease.c.id.desc())
            .limit(1)
        ).one_or_none()
        if last is None or last.state != LeaseState.LAPSED.value or last.granted_at is not None:
            return request.requested_at
        asked_at: datetime = last.requested_at
        return min(asked_at, request.requested_at)

    def _live(self, holder: Holder) -> Row[Any] | None:
        return self._connection.execute(self._leases_of(holder).where(lease.c.state.in_(LIVE))).one_or_none()

    def _leases_of(self, holder: Holder) -> Select[Any]:
        return select(lease).where(lease.c.org_id == self.org_id, of_holder(holder))

    def _waiting(self, holder: Holder) -> Row[Any]:
        live = self._live(holder)
        if live is None or live.state != LeaseState.WAITING.value:
            raise LookupError(f"{holder} is not waiting for quota of org {self.org_id}.")
        return live

    def _end(self, row: Row[Any], state: LeaseState, now: datetime) -> None:
        self._connection.execute(update(lease).where(lease.c.id == row.id).values(state=state.value, ended_at=now))
