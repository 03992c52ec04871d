"""Requests and reservations as leases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, select, update

from airflow_provider_apiusage.quota.model import Holder, LeaseState, QuotaRequest, Reservation
from airflow_provider_apiusage.store import lease_spending as spending
from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.lease_rows import LIVE, holder_from, of_holder, queue, reservation_from
from airflow_provider_apiusage.store.lease_spending import Drawn, Extended, Judge, Released, past_run_from
from airflow_provider_apiusage.store.quota_batch import signs
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.schema import decision, lease, org
from airflow_provider_apiusage.store.usage_store import lock_org
from airflow_provider_apiusage.usage.cost_history import PastRun

__all__ = ["Drawn", "Extended", "Judge", "QuotaLedger", "Released"]


class QuotaLedger:
    """Requests, reservations and decisions of all orgs in one store.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """What it reads and writes."""
        return self._engine

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

    def release(
        self,
        reservation_id: str,
        now: datetime,
        *,
        calls: Mapping[str, int] | None = None,
        holding: Mapping[str, int] | None = None,
    ) -> Released | None:
        """End a reservation, or give back a part of it; one that has ended stays as it is.

        If every load that drew from it has told its final total, what is not spent is free at once. Otherwise all of it
        stays outstanding until a reading must show what was spent.

        :param reservation_id: of the reservation.
        :param now: our clock.
        :param calls: give back so much only, by limit name, and hold the rest; of what is spent, nothing is given back.
        :param holding: with ``calls``: what the caller takes to be held, so that saying it twice gives back once.
        :returns: ``None`` if there is no such reservation.
        :raises ValueError: if ``calls`` is negative.
        """
        with self._locked(reservation_id) as (connection, row):
            if row is None:
                return None
            if calls is not None:
                return spending.give_back(connection, row, calls, now, holding)
            return spending.release(connection, row, now)

    def draw(
        self,
        reservation_id: str,
        spent: Mapping[str, int],
        now: datetime,
        *,
        by: str = "load",
        closed: bool = False,
        failed: bool = False,
        estimate: Mapping[str, int] | None = None,
    ) -> Drawn | None:
        """Take in what a load has spent so far, and let the reservation hold for a whole lease from now on.

        It is a running total: telling it again, late or out of order changes nothing. Draws after the end are kept for
        the history, but renew nothing.

        :param reservation_id: of the reservation.
        :param spent: the load's total so far, by limit name, of whatever it can count.
        :param now: when it took that total (our clock).
        :param by: names the load among those that share the reservation; their totals are added up.
        :param closed: whether this is its final total.
        :param failed: whether it ended before its work was done.
        :param estimate: what the formula said before any correction, where that is not what was asked for.
        :returns: ``None`` if there is no such reservation.
        """
        with self._locked(reservation_id) as (connection, row):
            if row is None:
                return None
            return spending.draw(connection, row, spent, now, by=by, closed=closed, failed=failed, estimate=estimate)

    def extend(
        self,
        reservation_id: str,
        more: Mapping[str, int],
        now: datetime,
        *,
        holding: Mapping[str, int] | None = None,
        judge: Judge | None = None,
    ) -> Extended | None:
        """Add to a reservation if it fits now, by the policy's word on a new request; otherwise say no.

        Who waits in the queue is not asked: their load has not begun, this one has.

        :param reservation_id: of the reservation.
        :param more: what to add, by limit name, each at least 1.
        :param now: our clock.
        :param holding: what the caller takes to be held, so that saying it twice adds once.
        :param judge: decides; by default the policy, knowing the readings only. ``reservations.top_up`` gives one that
            knows all that the gate does.
        :returns: ``None`` if there is no such reservation.
        :raises ValueError: if ``more`` is less than 1.
        """
        with self._locked(reservation_id) as (connection, row):
            if row is None:
                return None
            return spending.extend(connection, row, more, now, holding, judge)

    def org_of(self, reservation_id: str) -> str | None:
        """Return the 15-character id of the org that a reservation is about; ``None`` if there is none."""
        with looking(self._engine) as connection:
            found: str | None = connection.execute(
                select(lease.c.org_id).where(lease.c.reservation_id == reservation_id)
            ).scalar_one_or_none()
            return found

    def past_runs(self, org_id: str, dag_id: str, task_id: str, most: int = 20) -> tuple[PastRun, ...]:
        """Return what the latest metered runs of a gate came to, oldest first, for ``estimate_from_history``.

        :param dag_id: of the gate.
        :param task_id: of the gate, whatever its run and map index.
        :param most: how many.
        """
        query = (
            select(lease)
            .where(
                lease.c.org_id == org_id,
                lease.c.dag_id == dag_id,
                lease.c.task_id == task_id,
                lease.c.spent.is_not(None),
                lease.c.ended_at.is_not(None),
            )
            .order_by(lease.c.ended_at.desc(), lease.c.id.desc())
            .limit(most)
        )
        with looking(self._engine) as connection:
            return tuple(past_run_from(row) for row in reversed(connection.execute(query).all()))

    @contextmanager
    def _locked(self, reservation_id: str) -> Iterator[tuple[Connection, Row[Any] | None]]:
        """Open one transaction that holds the lock of a reservation's org, with its row; ``None`` if there is none."""
        of_reservation = lease.c.reservation_id == reservation_id
        with writing(self._engine) as connection:
            org_id = connection.execute(select(lease.c.org_id).where(of_reservation)).scalar_one_or_none()
            if org_id is None:
                yield connection, None
                return
            lock_org(connection, org_id)
            yield connection, connection.execute(select(lease).where(of_reservation)).one()

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

    def leave(self, holder: Holder, now: datetime, *, release: bool = False, keep_place: bool = False) -> None:
        """Take a holder's waiting request out of the queue, of whichever org; nothing to take out is no error.

        :param holder: who gives up.
        :param now: our clock.
        :param release: whether what it holds is given back as well.
        :param keep_place: whether it stands where it stood if it asks again within a day.
        """
        orgs = select(org.c.org_id)  # a way into the index, whose first column is the org
        live = select(lease.c.org_id).where(lease.c.org_id.in_(orgs), lease.c.state.in_(LIVE), of_holder(holder))
        with writing(self._engine) as connection:
            for org_id in sorted(connection.execute(live).scalars()):
                lock_org(connection, org_id)
                Turn(connection, org_id).leave(holder, now, release=release, keep_place=keep_place)

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

    def signs(self, org_id: str) -> tuple[datetime | None, ...]:
        """Return what is another after anybody has read the org, kept a header, or given calls back.

        It takes no lock and a few steps, so that who waits can look often.
        """
        with looking(self._engine) as connection:
            return signs(connection, org_id)

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
