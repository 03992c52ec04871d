"""Keep an org's API usage every 15 minutes, and so at 00:00 UTC as well.

The reading at midnight is worth the most: at that instant the rolling count equals the whole day just ended.
Costs 96 API calls a day.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator

with DAG(
    dag_id="api_usage_snapshot",
    schedule="*/15 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["apiusage"],
):
    ApiUsageSnapshotOperator(task_id="snapshot", salesforce_conn_id="salesforce_default")
