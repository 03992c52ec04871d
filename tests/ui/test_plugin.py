"""The plugin: loaded by every Airflow process, so it is nothing until an API server is asked for the page."""

from __future__ import annotations

import subprocess
import sys

from airflow_provider_apiusage.ui.plugin import ApiUsagePlugin

PROBE = """
import asyncio, sys
import airflow.sdk
from airflow_provider_apiusage.ui.plugin import ApiUsagePlugin
heavy = {"fastapi", "airflow.api_fastapi.core_api.security", "airflow_provider_apiusage.ui.app", "alembic"}
print("heavy", sorted(heavy & set(sys.modules)))
sent = []
async def send(message): sent.append(message)
async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
scope = {"type": "http", "method": "GET", "path": "/api/orgs", "root_path": "", "query_string": b"", "headers": [],
         "scheme": "http", "server": ("localhost", 80), "http_version": "1.1", "state": {}, "extensions": {}}
asyncio.run(ApiUsagePlugin.fastapi_apps[0]["app"](scope, receive, send))
print("status", sent[0]["status"])
"""


def test_the_page_is_imported_with_the_first_request() -> None:
    """Loading the plugin brings no FastAPI and no the store; the first request brings the page, and needs a log-in."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)

    assert [line for line in done.stdout.splitlines() if line.startswith(("heavy", "status"))] == [
        "heavy []",
        "status 401",
    ]


def test_airflow_takes_each_view_as_it_is() -> None:
    """Airflow's own models take the views; places are told by what Airflow fills in, each in the place that has it."""
    from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse

    views = [ExternalViewResponse.model_validate(view) for view in ApiUsagePlugin.external_views]

    told = {view.destination: [name for name in ("DAG_ID", "RUN_ID", "TASK_ID") if name in view.href] for view in views}
    assert told == {
        "nav": [], "dag": ["DAG_ID"], "dag_run": ["DAG_ID", "RUN_ID"], "task": ["DAG_ID", "TASK_ID"],
        "task_instance": ["DAG_ID", "RUN_ID", "TASK_ID"],
    }  # fmt: skip
