"""React to what snapshots find: this DAG runs after each of them, with its figures.

Costs no API call of its own. Snapshots are taken by ``api_usage_snapshot``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, AssetAlias, task

with DAG(
    dag_id="quota_event_snapshot",
    schedule=[AssetAlias("apiusage_snapshot")],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["apiusage"],
):

    @task.short_circuit
    def is_short(triggering_asset_events: Any = None) -> bool:
        """Go on if less than a fifth is left in any org; an unknown is no reason to."""
        found = [event.extra for events in triggering_asset_events.values() for event in events]
        return any(
            each["remaining"] < each["limit"] / 5
            for each in found
            if each["remaining"] is not None and each["limit"] is not None
        )

    @task
    def slow_down() -> str:
        """Where other DAGs are paused, or their owners told."""
        return "told"

    is_short() >> slow_down()
