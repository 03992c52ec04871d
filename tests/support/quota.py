"""Builders of what a gate works with: readings, requests and figures of one org on a Wednesday afternoon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_apiusage.quota.model import Holder, OnUnknown, QuotaRequest, Reserve
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource

ORG = "00DAA0000000001"
NOW = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
BATCHES = "DailyBulkApiBatches"
LEASE = timedelta(hours=1)
MAX_AGE = timedelta(minutes=15)


def minutes(number: float) -> timedelta:
    """Return a duration."""
    return timedelta(minutes=number)


def reading(
    used: int | None,
    at: datetime = NOW,
    *,
    limit: int | None = 100_000,
    remaining: int | None = None,
    name: str = API_REQUESTS,
    org_id: str = ORG,
    source: ReadingSource = ReadingSource.LIMITS,
    received_at: datetime | None = None,
    scope: str = "",
) -> LimitReading:
    """Return a reading; what remains follows from limit and use unless it is given."""
    if remaining is None and limit is not None and used is not None:
        remaining = limit - used
    return LimitReading(org_id, name, source, at, received_at or at, limit, remaining, used, scope)


def holder(number: int | str, map_index: int = -1) -> Holder:
    """Return one of many holders."""
    return Holder("salesforce_load", f"scheduled__2026-10-07T{number}", "gate", map_index)


def request(
    who: int | str | Holder,
    needs: int | dict[str, int] = 10_000,
    at: datetime = NOW,
    *,
    reserve: int | float | dict[str, int] = 0,
    lease: timedelta = LEASE,
    max_age: timedelta = MAX_AGE,
    on_unknown: OnUnknown = OnUnknown.WAIT,
    org_id: str = ORG,
    priority: int = 0,
) -> QuotaRequest:
    """Return a request; a whole number as need or reserve is calls of ``DailyApiRequests``, a fraction a share."""
    if isinstance(reserve, dict):
        kept = Reserve(reserve)
    else:
        kept = Reserve(share=reserve) if isinstance(reserve, float) else Reserve({API_REQUESTS: reserve})
    return QuotaRequest(
        org_id=org_id,
        holder=who if isinstance(who, Holder) else holder(who),
        needs=needs if isinstance(needs, dict) else {API_REQUESTS: needs},
        requested_at=at,
        reserve=kept,
        lease=lease,
        max_age=max_age,
        on_unknown=on_unknown,
        priority=priority,
    )
