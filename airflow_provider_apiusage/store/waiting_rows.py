"""The queue of an org as rows: read once per turn, with no more work for each that waits than must be.

Thousands may wait for hours, and every turn looks at them all. What they ask for stays the same meanwhile, so the text
of a row is understood once, and remembered with the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Text, cast, select, type_coerce

from airflow_provider_apiusage.quota.model import Holder, LeaseState, OnUnknown, QuotaRequest, Reserve
from airflow_provider_apiusage.store.schema import lease

REMEMBERED = 20_000
"""Requests of this process; about a kilobyte each."""


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One request that waits.

    :param id: of the row.
    :param request: as it stands in the store.
    :param held_until: when it leaves the queue unless it is renewed (our clock).
    """

    id: int
    reservation_id: str
    request: QuotaRequest
    held_until: datetime


def waiting_rows(connection: Connection, org_id: str) -> dict[Holder, WaitingRow]:
    """Return all that wait for quota of an org, whoever joined first comes first."""
    as_text: Callable[[Any, Any], Any] = type_coerce if connection.dialect.name == "sqlite" else cast
    c = lease.c
    found = connection.execute(
        select(
            c.id, c.reservation_id, c.held_until,
            c.dag_id, c.run_id, c.task_id, c.map_index, c.requested_at, as_text(c.needs, Text),
            as_text(c.reserve_calls, Text), c.reserve_share, c.lease_seconds, c.max_age_seconds, c.on_unknown,
            c.priority, as_text(c.estimate, Text),
        )
        .where(c.org_id == org_id, c.state == LeaseState.WAITING.value)
        .order_by(c.requested_at, c.id)
    )  # fmt: skip
    rows = [WaitingRow(row[0], row[1], _request(org_id, *row[3:]), row[2]) for row in found]
    return {row.request.holder: row for row in rows}


@lru_cache(REMEMBERED)
def _request(
    org_id: str,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int,
    requested_at: datetime,
    needs: str,
    reserve_calls: str,
    reserve_share: float,
    lease_seconds: float,
    max_age_seconds: float,
    on_unknown: str,
    priority: int,
    estimate: str | None,
) -> QuotaRequest:
    return QuotaRequest(
        org_id=org_id,
        holder=Holder(dag_id, run_id, task_id, map_index),
        needs=json.loads(needs),
        requested_at=requested_at,
        reserve=Reserve(json.loads(reserve_calls), reserve_share),
        lease=timedelta(seconds=lease_seconds),
        max_age=timedelta(seconds=max_age_seconds),
        on_unknown=OnUnknown(on_unknown),
        priority=priority,
        estimate=None if estimate is None else json.loads(estimate),
    )
