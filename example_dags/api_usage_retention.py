"""Once a week, keep the store small: details for five weeks, the rest thinned out for 400 days.

Costs no API call. Runs beside snapshots and gates without disturbing them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_apiusage.operators.retention import ApiUsagePruneOperator

with DAG(
    dag_id="api_usage_retention",
    schedule="40 3 * * SUN",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["apiusage"],
):
    ApiUsagePruneOperator(
        task_id="prune",
        keep_details=timedelta(days=35),
        keep=timedelta(days=400),
        retries=2,
    )
