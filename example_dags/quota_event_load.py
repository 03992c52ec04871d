"""A load that is started by quota instead of by the clock: whenever 20,000 calls become available.

The watcher waits in the triggerer, without a worker. It reserves nothing, so the load asks the gate itself: others may
have been quicker. It runs once for each time that calls become available, not for as long as they are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_apiusage.taskflow import quota_gate
from airflow_provider_apiusage.triggers.quota_event import ApiQuotaEventTrigger

CALLS = 20_000

enough_calls = Asset(
    "salesforce_calls_available",
    watchers=[
        AssetWatcher(
            name="enough_calls",
            trigger=ApiQuotaEventTrigger("salesforce_default", calls=CALLS, reserve="10%", edges="available"),
        )
    ],
)

with DAG(
    dag_id="quota_event_load",
    schedule=[enough_calls],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["apiusage"],
):

    @task
    def load(reservation: dict[str, Any], triggering_asset_events: Any = None) -> dict[str, Any]:
        """Where the load is; what started it is at hand."""
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        told = [event.extra["payload"] for events in triggering_asset_events.values() for event in events]
        with ApiUsageHook("salesforce_default", reservation=reservation) as hook:
            hook.conn.query("SELECT Id FROM Account LIMIT 1")
        return {"started_by": told, "spent": hook.spent["DailyApiRequests"]}

    with quota_gate(calls=CALLS, reserve="10%") as gate:
        load(gate.reservation)
