"""DAGs that quota starts, in a real Airflow with its scheduler and its triggerer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_apiusage.sandbox import SandboxServer
from example_dags.demo.standalone import StandaloneAirflow
from tests.e2e.conftest import EXAMPLES, environment_for

pytestmark = pytest.mark.e2e

LOAD, REACTS = "quota_event_load", "quota_event_snapshot"


def runs(airflow: StandaloneAirflow, dag_id: str) -> list[tuple[str, str]]:
    """Kind and state of all runs of a DAG."""
    found = airflow._call("GET", f"dags/{dag_id}/dagRuns")["dag_runs"]
    return [(run["run_type"], run["state"]) for run in found]


def level(airflow: StandaloneAirflow) -> str | None:
    """What Airflow keeps with the asset of the watcher."""
    (asset,) = airflow._call("GET", "assets", params={"name_pattern": "salesforce_calls_available"})["assets"]
    kept = airflow._call("GET", f"assets/{asset['id']}/state-store")["asset_state_store"]
    return kept[0]["value"] if kept else None


def test_a_dag_is_run_once_for_each_time_that_calls_become_available(
    sandbox: SandboxServer, start_airflow: Callable[..., StandaloneAirflow]
) -> None:
    """Gone, available, gone, available: two runs; what their own loads reserve and give back makes no third."""
    org = sandbox.org
    org.change({"limit": 27_000, "hard_limit": 100_000})
    airflow = start_airflow(
        [EXAMPLES / f"{name}.py" for name in (LOAD, REACTS, "api_usage_snapshot")],
        environment_for(sandbox, AIRFLOW__APIUSAGE__POLL_INTERVAL="1", AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE="True"),
    )
    used = org.used
    for dag_id in (LOAD, REACTS):
        airflow._call("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def succeeded(dag_id: str, count: int) -> Callable[[], Any]:
        return lambda: runs(airflow, dag_id) == [("asset_triggered", "success")] * count

    def snapshot() -> None:
        run = airflow.trigger("api_usage_snapshot")
        assert airflow.wait_for_run("api_usage_snapshot", run) == "success"

    airflow.wait_for("the watcher's first look", lambda: org.used > used, 60)
    assert runs(airflow, LOAD) == []
    org.clock.advance(timedelta(hours=21))
    airflow.wait_for("the first run", succeeded(LOAD, 1), 90)
    run_id = airflow._call("GET", f"dags/{LOAD}/dagRuns")["dag_runs"][0]["dag_run_id"]
    ((told,), spent) = airflow.xcom(LOAD, run_id, "quota_gate.load").values()
    assert (told["org"], told["level"], told["calls"]) == (org.identity.org_id, "available", 20_000)
    assert 20_000 <= told["available"] < 40_000  # so the load itself has held more than was left
    assert spent == 1
    assert level(airflow) == "available"

    org.change({"limit": 3_500})
    snapshot()
    airflow.wait_for("calls to be gone", lambda: level(airflow) == "gone", 90)
    assert runs(airflow, LOAD) == [("asset_triggered", "success")]
    org.change({"limit": 27_000})
    snapshot()
    airflow.wait_for("the second run", succeeded(LOAD, 2), 90)
    assert level(airflow) == "available"

    # What the snapshots found has started a DAG each time, which went by the figures: 3,500 calls were too few.
    def reacted() -> bool:
        found = airflow._call("GET", f"dags/{REACTS}/dagRuns")["dag_runs"]
        return any(airflow.states(REACTS, run["dag_run_id"])["slow_down"] == "success" for run in found)

    airflow.wait_for("the reaction", reacted, 60)
