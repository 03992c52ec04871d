"""Leases as rows of the store, and rows as what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select

from airflow_provider_apiusage.quota.drawing import Draws, covers, draws_from_json, settled, unseen
from airflow_provider_apiusage.quota.model import (
    Holder,
    LeaseState,
    OnUnknown,
    QuotaRequest,
    Reservation,
    Reserve,
)
from airflow_provider_apiusage.quota.order import in_order
from airflow_provider_apiusage.store.schema import lease

LIVE = (LeaseState.WAITING.value, LeaseState.GRANTED.value)
TERMS = (
    "needs",
    "reserve_calls",
    "reserve_share",
    "lease_seconds",
    "max_age_seconds",
    "on_unknown",
    "priority",
    "estimate",
)


def of_holder(holder: Holder) -> ColumnElement[bool]:
    """Return the condition that a lease is of this holder, live or not."""
    return and_(
        lease.c.dag_id == holder.dag_id,
        lease.c.run_id == holder.run_id,
        lease.c.task_id == holder.task_id,
        lease.c.map_index == holder.map_index,
    )


def holder_columns() -> tuple[ColumnElement[Any], ...]:
    """Return the columns that name a holder."""
    return lease.c.dag_id, lease.c.run_id, lease.c.task_id, lease.c.map_index


def queue(connection: Connection, org_id: str, now: datetime | None = None) -> tuple[QuotaRequest, ...]:
    """Return the waiting requests of an org in the order of service; with ``now``, without those that have lapsed."""
    query = select(lease).where(lease.c.org_id == org_id, lease.c.state == LeaseState.WAITING.value)
    if now is not None:
        query = query.where(lease.c.held_until > now)
    rows = connection.execute(query.order_by(lease.c.requested_at, lease.c.id))
    return tuple(in_order(map(request_from, rows)))


def terms(request: QuotaRequest) -> dict[str, Any]:
    """Return the columns that a request may change while it waits."""
    return {
        "needs": dict(request.needs),
        "reserve_calls": dict(request.reserve.calls),
        "reserve_share": request.reserve.share,
        "lease_seconds": request.lease.total_seconds(),
        "max_age_seconds": request.max_age.total_seconds(),
        "on_unknown": request.on_unknown.value,
        "priority": request.priority,
        "estimate": None if request.estimate is None else dict(request.estimate),
    }


def terms_from(row: Row[Any]) -> dict[str, Any]:
    """Return those columns of a lease."""
    return {name: getattr(row, name) for name in TERMS}


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
        priority=row.priority,
        estimate=row.estimate,
    )


def reservation_from(row: Row[Any]) -> Reservation:
    """Return a lease that was granted as the reservation it is."""
    return Reservation(row.reservation_id, row.org_id, holder_from(row), held_of(row), row.granted_at, row.held_until)


def held_of(row: Row[Any]) -> dict[str, int]:
    """Return what a granted lease holds: what was asked for, unless some was given back or added since."""
    return dict(row.needs if row.held is None else row.held)


def draws_of(row: Row[Any]) -> Draws:
    """Return what was drawn from a lease."""
    return draws_from_json(row.draws)


def unseen_of(row: Row[Any], name: str, seen_since: datetime) -> int:
    """Return what a reading may not show yet of one limit; see :func:`unseen`."""
    return unseen(held_of(row), draws_of(row), name, seen_since)


def serves(row: Row[Any], needs: Mapping[str, int]) -> bool:
    """Tell whether a granted lease is what a holder asks for, and still has enough that is not spent."""
    return bool(row.needs == dict(needs)) and covers(held_of(row), draws_of(row), needs)


def ending(row: Row[Any], state: LeaseState, now: datetime) -> dict[str, Any]:
    """Return the columns of a lease that ends: what is released and was never spent is given back at once."""
    values: dict[str, Any] = {"state": state.value, "ended_at": now}
    if state is LeaseState.RELEASED:
        draws = draws_of(row)
        values["held"] = settled(held_of(row), draws) if draws.closed else row.held
    return values
