"""What a page's Python takes for granted: names that a reader has, in front of an org and its store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import requests
from airflow.sdk import DAG, Param, chain, task

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.event_log import (
    ApiUsageListEventLogsOperator,
    ApiUsageReadEventLogsOperator,
)
from airflow_provider_apiusage.operators.forecast import ApiUsageForecastOperator
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.quota.model import Grant, Holder, QuotaRequest
from airflow_provider_apiusage.quota.wire import reservation_to_json
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor
from airflow_provider_apiusage.usage.cost import estimate_cost
from airflow_provider_apiusage.usage.cost_history import estimate_from_history
from tests.support.quota import request

__all__ = [
    "DAG",
    "ApiQuotaReleaseOperator",
    "ApiQuotaSensor",
    "ApiUsageForecastOperator",
    "ApiUsageHook",
    "ApiUsageListEventLogsOperator",
    "ApiUsageReadEventLogsOperator",
    "ApiUsageReconcileOperator",
    "ApiUsageSnapshotOperator",
    "Param",
    "chain",
    "datetime",
    "estimate_cost",
    "estimate_from_history",
    "task",
    "timedelta",
    "timezone",
]

HOLDER = Holder("elt", "manual__2026-10-07", "load_contacts", 3)
"""Who holds the reservation."""


def _granted(hook: ApiUsageHook, asked: QuotaRequest) -> dict[str, Any]:
    decision = hook.gate(timedelta(minutes=5)).turn(asked)
    assert isinstance(decision, Grant), decision
    return reservation_to_json(decision.reservation)


def given(server: SandboxServer, store: Path) -> dict[str, Any]:
    """Return the names, made anew: a snapshot is in the store, and a reservation is held.

    :param store: the file of the store.
    """
    names = {name: globals()[name] for name in __all__}
    hook = ApiUsageHook()
    hook.store.add(hook.take_snapshot())
    org_id = hook.get_org_id()
    reservation = _granted(hook, request(HOLDER, 5_000, datetime.now(UTC), org_id=org_id))
    now = server.org.clock.now().replace(minute=0, second=0, microsecond=0)
    rows = [{"Name": f"Account {number}"} for number in range(3)]
    return names | {
        "hook": hook,
        "org_id": org_id,
        "start": now - timedelta(hours=6),
        "end": now,
        "rows": rows,
        "parts": [rows, rows],
        "count": lambda: len(rows),
        "past_runs": hook.ledger.past_runs(org_id, dag_id="nightly", task_id="gate"),
        "reservation": reservation,
        "session": requests.Session(),
        "url": server.url,
        "store": str(store),
    }
