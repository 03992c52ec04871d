"""Read a period of event logs, one file per task, on as many workers as there are.

Start it by hand with the period, or leave it as it is for the last 30 days: the longest that Salesforce keeps the
files (with Event Monitoring; one day without). Costs 1 API call to list the files, and 1 for each file. A task that
fails leaves nothing of its file behind, and a file that was read before costs nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_apiusage.operators.event_log import (
    ApiUsageListEventLogsOperator,
    ApiUsageReadEventLogsOperator,
)

with DAG(
    dag_id="api_usage_backfill",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={
        "start": Param("", type="string", description="First day, such as 2026-10-01; blank: 30 days ago"),
        "end": Param("", type="string", description="The day after the last; blank: today"),
    },
    tags=["apiusage"],
):
    files = ApiUsageListEventLogsOperator(
        task_id="list_files",
        start="{{ params.start or (dag_run.run_after - macros.timedelta(days=30)).isoformat() }}",
        end="{{ params.end or dag_run.run_after.isoformat() }}",
    )
    ApiUsageReadEventLogsOperator.partial(
        task_id="read_file",
        retries=3,
        retry_delay=timedelta(minutes=5),
        max_active_tis_per_dagrun=4,
    ).expand(files=files.output)
