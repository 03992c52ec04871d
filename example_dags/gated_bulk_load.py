"""A Bulk load that starts only when the org has enough API calls left, and says how many it reserved.

The gate is the setup, the release is the teardown: the reservation is given back whether the load works or not. While
the gate waits, it holds no worker. Trigger it with figures of your own:
``{"calls": 5000, "reserve": "10%", "records": 200}``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task

from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor

with DAG(
    dag_id="gated_bulk_load",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "calls": Param(50, type="integer", minimum=1, description="API calls the load may spend"),
        "reserve": Param("10%", type="string", description="what stays free for people: calls or a share"),
        "records": Param(200, type="integer", minimum=1, description="Accounts to insert"),
    },
    tags=["apiusage"],
):
    gate = ApiQuotaSensor(
        task_id="gate",
        salesforce_conn_id="salesforce_default",
        calls="{{ params.calls }}",
        reserve="{{ params.reserve }}",
        timeout=24 * 60 * 60,
    )

    @task
    def load() -> dict[str, Any]:
        """Insert Accounts by Bulk 2.0 through the same connection that the gate asked."""
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        hook = ApiUsageHook("salesforce_default")
        records = [{"Name": f"Account {n}"} for n in range(get_current_context()["params"]["records"])]
        results = hook.conn.bulk2.Account.insert(records=records)
        return {
            "processed": sum(result["numberRecordsProcessed"] for result in results),
            "failed": sum(result["numberRecordsFailed"] for result in results),
            "api_calls": hook.api_calls,
        }

    release = ApiQuotaReleaseOperator(task_id="release", reservation=gate.output)

    gate.as_setup() >> load() >> release.as_teardown(setups=gate)
