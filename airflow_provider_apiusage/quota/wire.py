"""Requests, reservations and decisions as JSON: for XCom, for a trigger's arguments, for the decision log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_apiusage.quota.model import (
    Holder,
    LimitFigures,
    OnUnknown,
    QuotaRequest,
    Reservation,
    Reserve,
)

_FIGURES = tuple(each.name for each in fields(LimitFigures))


def request_to_json(request: QuotaRequest) -> dict[str, Any]:
    """Return a request as JSON-safe values; :func:`request_from_json` is its inverse."""
    return {
        "org_id": request.org_id,
        "holder": asdict(request.holder),
        "needs": dict(request.needs),
        "requested_at": request.requested_at.isoformat(),
        "reserve": {"calls": dict(request.reserve.calls), "share": request.reserve.share},
        "lease": request.lease.total_seconds(),
        "max_age": request.max_age.total_seconds(),
        "on_unknown": request.on_unknown.value,
        "priority": request.priority,
        "estimate": None if request.estimate is None else dict(request.estimate),
    }


def request_from_json(wire: Mapping[str, Any]) -> QuotaRequest:
    """Return the request that :func:`request_to_json` wrote."""
    return QuotaRequest(
        org_id=wire["org_id"],
        holder=Holder(**wire["holder"]),
        needs=dict(wire["needs"]),
        requested_at=datetime.fromisoformat(wire["requested_at"]),
        reserve=Reserve(dict(wire["reserve"]["calls"]), wire["reserve"]["share"]),
        lease=timedelta(seconds=wire["lease"]),
        max_age=timedelta(seconds=wire["max_age"]),
        on_unknown=OnUnknown(wire["on_unknown"]),
        priority=wire.get("priority", 0),  # requests that began to wait under an older version have none
        estimate=wire.get("estimate"),
    )


def reservation_to_json(reservation: Reservation) -> dict[str, Any]:
    """Return a reservation as the XCom that a load and its release work with."""
    return {
        "reservation_id": reservation.reservation_id,
        "org_id": reservation.org_id,
        "needs": dict(reservation.needs),
        "granted_at": reservation.granted_at.isoformat(),
        "held_until": reservation.held_until.isoformat(),
        "holder": str(reservation.holder),
    }


def figures_to_json(figures: LimitFigures) -> dict[str, Any]:
    """Return the figures of a decision, instants as ISO text."""
    values = ((name, getattr(figures, name)) for name in _FIGURES)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values}
