"""Requests and reservations as leases, and the one transaction in which the gate looks and takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, Row, func, insert, or_, select, update

from airflow_provider_apiusage.quota.model import (
    Holder,
    LeaseState,
    LimitFigures,
    QuotaRequest,
    Reservation,
)
from airflow_provider_apiusage.quota.wire import figures_to_json
from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.lease_rows import (
    holder_from,
    of_holder,
    queue,
    reservation_from,
    terms,
)
from airflow_provider_apiusage.store.schema import decision, lease, org, reading
from airflow_provider_apiusage.store.usage_store import latest_readings, lock_org, readings_between
from airflow_provider_apiusage.usage.model import STALENESS, WINDOW, LimitReading, ReadingSource

LIVE = (LeaseState.WAITING.value, LeaseState.GRANTED.value)


@dataclass(frozen=True, slots=True)
class Released:
    """What releasing a reservation did: whether it was still held, and where it stands now."""

    reservation_id: str
    released: bool
    state: LeaseState


class QuotaLedger:
    """Requests, reservations and decisions of all orgs in one store.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def turn(self, org_id: str) -> Iterator[Turn]:
        """Open one transaction that holds the org's lock; leaving it without an exception commits.

        Whatever is read in it stays true until it ends: no other turn of the org runs meanwhile, in any process.

        :param org_id: the 15-character org id.
        :raises StoreUnavailableError: if the store cannot be written.
        """
        with writing(self._engine) as connection:
            lock_org(connection, org_id)
            yield Turn(connection, org_id)

    def release(self, reservation_id: str, now: datetime) -> Released | None:
        """End a reservation; one that has ended stays as it is.

        :param reservation_id: of the reservation.
        :param now: our clock.
        :returns: ``None`` if there is no such reservation.
        """
        of_reservation = lease.c.reservation_id == reservation_id
        with writing(self._engine) as connection:
            org_id = connection.execute(select(lease.c.org_id).where(of_reservation)).scalar_one_or_none()
            if org_id is None:
                return None
            lock_org(connection, org_id)
            ended = connection.execute(
                update(lease)
                .where(of_reservation, lease.c.state == LeaseState.GRANTED.value, lease.c.held_until > now)
                .values(state=LeaseState.RELEASED.value, ended_at=now)
            )
            state = connection.execute(select(lease.c.state).where(of_reservation)).scalar_one()
        if ended.rowcount == 0 and state == LeaseState.GRANTED.value:
            state = LeaseState.LAPSED.value  # past its end, though no turn has written that down yet
        return Released(reservation_id, ended.rowcount == 1, LeaseState(state))

    def reservations(self, org_id: str, now: datetime) -> tuple[Reservation, ...]:
        """Return what is held at an instant, oldest grant first."""
        query = select(lease).where(
            lease.c.org_id == org_id, lease.c.state == LeaseState.GRANTED.value, lease.c.held_until > now
        )
        with looking(self._engine) as connection:
            return tuple(reservation_from(row) for row in connection.execute(query.order_by(lease.c.granted_at)))

    def waiting(self, org_id: str, now: datetime) -> tuple[QuotaRequest, ...]:
        """Return the queue at an instant, first come first."""
        with looking(self._engine) as connection:
            return queue(connection, org_id, now)

    def decisions(self, org_id: str, most: int = 100) -> tuple[Mapping[str, Any], ...]:
        """Return the latest decisions, newest first: holder, when, what, why, and the figures."""
        query = (
            select(decision, lease.c.dag_id, lease.c.run_id, lease.c.task_id, lease.c.map_index)
            .join(lease, lease.c.reservation_id == decision.c.reservation_id)
            .where(decision.c.org_id == org_id)
            .order_by(decision.c.decided_at.desc(), decision.c.id.desc())
            .limit(most)
        )
        with looking(self._engine) as connection:
            return tuple(
                {
                    "holder": str(holder_from(row)),
                    "decided_at": row.decided_at,
                    "kind": row.kind,
                    "reason": row.reason,
                    "figures": row.figures,
                }
                for row in connection.execute(query)
            )


class Turn:
    """One transaction under an org's lock; see :meth:`QuotaLedger.turn`."""

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

        Call :meth:`lapse` first. A reservation that is still held is renewed by the request's ``lease``; one for other
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
                "requested_at": request.requested_at,
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
        of_source = [
            self._connection.execute(
                select(func.max(reading.c.received_at)).where(
                    reading.c.org_id == self.org_id, reading.c.source == source.value
                )
            ).scalar_one()
            for source in (ReadingSource.LIMITS, ReadingSource.EXHAUSTED)
        ]
        return max((instant for instant in of_source if instant is not None), default=None)

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

    def withdraw(self, holder: Holder, now: datetime) -> None:
        """Take the holder's waiting request out of the queue; a reservation stays, and nothing is no error."""
        live = self._live(holder)
        if live is not None and live.state == LeaseState.WAITING.value:
            self._end(live, LeaseState.WITHDRAWN, now)

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

    def _live(self, holder: Holder) -> Row[Any] | None:
        return self._connection.execute(of_holder(self.org_id, holder).where(lease.c.state.in_(LIVE))).one_or_none()

    def _waiting(self, holder: Holder) -> Row[Any]:
        live = self._live(holder)
        if live is None or live.state != LeaseState.WAITING.value:
            raise LookupError(f"{holder} is not waiting for quota of org {self.org_id}.")
        return live

    def _end(self, row: Row[Any], state: LeaseState, now: datetime) -> None:
        self._connection.execute(update(lease).where(lease.c.id == row.id).values(state=state.value, ended_at=now))
