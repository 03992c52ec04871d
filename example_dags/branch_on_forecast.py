"""A load that runs now if the org will have calls enough, and else is left to the night, instead of waiting.

The forecast reads what ``api_usage_snapshot`` has kept and spends no call. It reserves nothing: the load goes through
``ApiQuotaSensor`` as well if others may take the calls meanwhile. Trigger it with figures of your own:
``{"calls": 30000, "reserve": "10%"}``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_apiusage.operators.forecast import ApiUsageForecastOperator

with DAG(
    dag_id="branch_on_forecast",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "calls": Param(20_000, type="integer", minimum=1, description="API calls the load may spend"),
        "reserve": Param("10%", type="string", description="what stays free for people: calls or a share"),
    },
    tags=["apiusage"],
):
    forecast = ApiUsageForecastOperator(
        task_id="forecast",
        salesforce_conn_id="salesforce_default",
        calls="{{ params.calls }}",
        reserve="{{ params.reserve }}",
    )

    @task.branch
    def choose(outlook: dict[str, Any]) -> str:
        """Load now if the calls are free with 90 % confidence, and nobody runs dry expectedly; else later."""
        return "load_now" if outlook["free_now"] and not outlook["runs_out"]["expected_at"] else "load_later"

    @task
    def load_now() -> str:
        """Where the load is."""
        return "loaded"

    @task
    def load_later(outlook: dict[str, Any]) -> str | None:
        """Where the load is put off: until when, to trigger another run or to tell people."""
        return outlook["likely_at"]

    choose(forecast.output) >> [load_now(), load_later(forecast.output)]
