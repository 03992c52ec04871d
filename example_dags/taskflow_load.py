"""The gate in one line: around several tasks, and around one.

``quota_gate`` reserves the calls before the first task of the block and gives back what is left after the last one,
whether they work or not. ``@task.quota_gated`` does it for one Python task, which waits without a worker.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_apiusage.taskflow import quota_gate, quota_gated

with DAG(
    dag_id="taskflow_load",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["apiusage"],
):

    @task
    def load(reservation: dict[str, Any], name: str) -> int:
        """Spend some of what was reserved; each mapped task draws from the same reservation."""
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        with ApiUsageHook("salesforce_default", reservation=reservation) as hook:
            hook.conn.query(f"SELECT Id FROM {name} LIMIT 1")
            return hook.spent["DailyApiRequests"]

    @task
    def total(spent: list[int]) -> int:
        """Add up what they have spent."""
        return sum(spent)

    with quota_gate(calls=500, reserve="10%", salesforce_conn_id="salesforce_default") as gate:
        total(load.partial(reservation=gate.reservation).expand(name=["Account", "User"]))

    # ``@task.quota_gated`` is the same; the import lets type checkers know it.
    @quota_gated(calls=100, salesforce_conn_id="salesforce_default", retries=2)
    def small_load(hook: Any = None) -> int:
        """The hook draws from what this very task was granted."""
        hook.conn.query("SELECT Id FROM Account LIMIT 1")
        return int(hook.spent["DailyApiRequests"])

    gate >> small_load()
