"""Once a day, put the rolling count of the last 24 hours beside the daily counts of the 7-day report.

Set the Airflow variable ``apiusage_daily_report`` to the id of a saved copy of the report "API Usage Last 7 Days"
(00O...), or to the path or URL of its CSV export. Without it the reconciliation says what is missing.
Set the variable ``apiusage_reports`` to a folder (a path, or a URL such as ``s3://aws_default@bucket/reports``) to have
each reconciliation written there as Markdown and as an HTML page with charts.
Costs 2 API calls with a report by id, 1 with a CSV.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator

FOLDER = "{% set folder = var.value.get('apiusage_reports', '') %}"
# Not `ds` or `ts`: a run that was triggered by hand may have no logical date.
NAME = "folder ~ '/api_usage_' ~ dag_run.run_after.strftime('%Y%m%dT%H%M%S')"
MARKDOWN = FOLDER + "{{ " + NAME + " ~ '.md' if folder }}"
HTML = FOLDER + "{{ " + NAME + " ~ '.html' if folder }}"

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
    reconcile = ApiUsageReconcileOperator(
        task_id="reconcile",
        salesforce_conn_id="salesforce_default",
        markdown_path=MARKDOWN,
        html_path=HTML,
    )

    snapshot >> reconcile
