"""Leases as rows of the store, and rows as what they mean."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select

from airflow_provider_apiusage.quota.model import (
    Holder,
    LeaseState,
    OnUnknown,
    QuotaRequest,
    Reservation,
    Reserve,
)
from airflow_provider_apiusage.store.schema import lease

LIVE = (LeaseState.WAITING.value, LeaseState.GRANTED.value)


def of_holder(holder: Holder) -> ColumnElement[bool]:
    """Return the condition that a lease is of this holder, live or not."""
    return and_(
        lease.c.dag_id == holder.dag_id,
        lease.c.run_id == holder.run_id,
        lease.c.task_id == holder.task_id,
        lease.c.map_index == holder.map_index,
    )


def queue(connection: Connection, org_id: str, now: datetime | None = None) -> tuple[QuotaRequest, ...]:
    """Return the waiting requests of an org, first come first; with ``now``, without those that have lapsed."""
    query = select(lease).where(lease.c.org_id == org_id, lease.c.state == LeaseState.WAITING.value)
    if now is not None:
        query = query.where(lease.c.held_until > now)
    return tuple(request_from(row) for row in connection.execute(query.order_by(lease.c.requested_at, lease.c.id)))


def terms(request: QuotaRequest) -> dict[str, Any]:
    """Return the columns that a request may change while it waits."""
    return {
        "needs": dict(request.needs),
        "reserve_calls": dict(request.reserve.calls),
        "reserve_share": request.reserve.share,
        "lease_seconds": request.lease.total_seconds(),
        "max_age_seconds": request.max_age.total_seconds(),
        "on_unknown": request.on_unknown.value,
    }


def holder_from(row: Row[Any]) -> Holder:
    """Return who a lease belongs to."""
    return Holder(row.dag_id, row.run_id, row.task_id, row.map_index)


def request_from(row: Row[Any]) -> QuotaRequest:
    """Return a lease as the request it was made from."""
    return QuotaRequest(
        org_id=row.org_id,
        holder=holder_from(row),
        needs=dict(row.needs),
        requested_at=row.requested_at,
        reserve=Reserve(dict(row.reserve_calls), row.reserve_share),
        lease=timedelta(seconds=row.lease_seconds),
        max_age=timedelta(seconds=row.max_age_seconds),
        on_unknown=OnUnknown(row.on_unknown),
    )


def reservation_from(row: Row[Any]) -> Reservation:
    """Return a lease that was granted as the reservation it is."""
    return Reservation(
        row.reservation_id, row.org_id, holder_from(row), dict(row.needs), row.granted_at, row.held_until
    )
