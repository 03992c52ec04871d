"""Once a day, put the rolling count of the last 24 hours beside the daily counts of the 7-day report.

Set the Airflow variable ``apiusage_daily_report`` to the id of a saved copy of the report "API Usage Last 7 Days"
(00O...), or to the path or URL of its CSV export. Without it the reconciliation says what is missing.
Costs 2 API calls with a report by id, 1 with a CSV.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator

with DAG(
    dag_id="api_usage_reconcile",
    schedule="30 14 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["apiusage"],
):
    snapshot = ApiUsageSnapshotOperator(
        task_id="snapshot",
        salesforce_conn_id="salesforce_default",
        daily_report="{{ var.value.get('apiusage_daily_report', '') }}",
    )
    reconcile = ApiUsageReconcileOperator(task_id="reconcile", salesforce_conn_id="salesforce_default")

    snapshot >> reconcile
