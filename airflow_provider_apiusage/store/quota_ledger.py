"""Requests and reservations as leases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select, update

from airflow_provider_apiusage.quota.model import Holder, LeaseState, QuotaRequest, Reservation
from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.lease_rows import LIVE, holder_from, of_holder, queue, reservation_from
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.schema import decision, lease, org
from airflow_provider_apiusage.store.usage_store import lock_org


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

    def renew(self, reservation_id: str, lease_for: timedelta, now: datetime) -> Reservation | None:
        """Let a reservation hold for a whole lease from now on, if it has not ended.

        :param reservation_id: of the reservation.
        :param lease_for: how long it holds from now; one that holds longer already stays as it is.
        :param now: our clock.
        :returns: the reservation, or ``None`` if it has ended or never was.
        """
        held = select(lease).where(
            lease.c.reservation_id == reservation_id,
            lease.c.state == LeaseState.GRANTED.value,
            lease.c.held_until > now,
        )
        with writing(self._engine) as connection:
            row = connection.execute(held).one_or_none()
            if row is None:
                return None
            lock_org(connection, row.org_id)
            row = connection.execute(held).one_or_none()
            if row is None:
                return None
            held_until = max(row.held_until, now + lease_for)
            connection.execute(update(lease).where(lease.c.id == row.id).values(held_until=held_until))
            return replace(reservation_from(row), held_until=held_until)

    def leave(self, holder: Holder, now: datetime, *, release: bool = False) -> None:
        """Take a holder's waiting request out of the queue, of whichever org; nothing to take out is no error.

        :param holder: who gives up.
        :param now: our clock.
        :param release: whether what it holds is given back as well.
        """
        orgs = select(org.c.org_id)  # a way into the index, whose first column is the org
        live = select(lease.c.org_id).where(lease.c.org_id.in_(orgs), lease.c.state.in_(LIVE), of_holder(holder))
        with writing(self._engine) as connection:
            for org_id in sorted(connection.execute(live).scalars()):
                lock_org(connection, org_id)
                Turn(connection, org_id).leave(holder, now, release=release)

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
