"""The main job in a real Airflow, with a real scheduler and a real triggerer, over TLS."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from example_dags.demo.standalone import StandaloneAirflow
from tests.e2e.conftest import EXAMPLES, Metrics, environment_for

pytestmark = pytest.mark.e2e

SECRET_FIELDS = ("consumer_secret", "password", "security_token", "private_key", "access_token", "refresh_token")


def test_snapshot_reconcile_and_gate(
    sandbox: SandboxServer, start_airflow: Callable[..., StandaloneAirflow], tmp_path: Path, metrics: Metrics
) -> None:
    """The seed's example comes out of a real run; a gated load waits in the triggerer, is let through and released."""
    org = sandbox.org
    org.change({"limit": 27_000, "hard_limit": 27_000})
    dags = [EXAMPLES / name for name in ("api_usage_snapshot.py", "api_usage_reconcile.py", "gated_bulk_load.py")]
    settings = environment_for(
        sandbox,
        AIRFLOW_VAR_APIUSAGE_DAILY_REPORT=org.settings.report_id,
        AIRFLOW__APIUSAGE__POLL_INTERVAL="1",
        AIRFLOW__METRICS__STATSD_ON="True",
        AIRFLOW__METRICS__STATSD_HOST="127.0.0.1",
        AIRFLOW__METRICS__STATSD_PORT=str(metrics.port),
        AIRFLOW__METRICS__METRICS_ALLOW_LIST="apiusage",  # the scheduler alone would flood the socket
    )
    airflow = start_airflow(dags, settings)

    # Snapshot: one call for the limits, and an asset event.
    run = airflow.trigger("api_usage_snapshot")
    used_before = org.used
    assert airflow.wait_for_run("api_usage_snapshot", run) == "success"
    snapshot = airflow.xcom("api_usage_snapshot", run, "snapshot")
    assert snapshot["api_calls"] == 1
    assert org.used - used_before == 1
    assert snapshot["org_id"] == org.identity.org_id
    assert snapshot["limits"]["DailyApiRequests"]["limit"] == 27_000
    assert snapshot["limits"]["DailyApiRequests"]["used"] in (used_before, used_before + 1)
    assert snapshot["observed_at"].startswith("2026-10-07T14:30:00")

    gauge = f"apiusage.{org.identity.org_id}.DailyApiRequests"
    assert metrics.value(f"{gauge}.used") == snapshot["limits"]["DailyApiRequests"]["used"]
    assert metrics.value(f"{gauge}.limit") == 27_000

    # Reconciliation: the worked example of the seed, give or take the calls of the snapshots themselves.
    run = airflow.trigger("api_usage_reconcile")
    assert airflow.wait_for_run("api_usage_reconcile", run) == "success"
    result = airflow.xcom("api_usage_reconcile", run, "reconcile")
    assert 25_000 <= result["rolling"] <= 25_004
    assert result["today"] == 15_000
    assert result["yesterday"] == 20_000
    assert result["window_tail"]["low"] == 0
    assert result["window_tail"]["high"] == 20_000
    assert result["window_tail"]["estimate"] == result["rolling"] - 15_000
    assert result["consistent"] is True
    assert result["coverage"] == "soap"
    assert result["api_calls"] == 0
    table = airflow.log("api_usage_reconcile", run, "reconcile")
    for part in ("Wednesday", "15,000", "Tuesday", "20,000"):
        assert part in table

    # The gate: held by a real triggerer, let through when the window has moved on.
    run = airflow.trigger("gated_bulk_load", {"calls": 5_000, "reserve": "10%", "records": 200})
    airflow.wait_for_state("gated_bulk_load", run, "gate", "deferred")
    log = airflow.log("gated_bulk_load", run, "gate")
    assert re.search(r"Waiting: .*5,000", log)
    assert airflow.states("gated_bulk_load", run)["load"] is None
    org.clock.advance(timedelta(hours=9))
    assert airflow.wait_for_run("gated_bulk_load", run) == "success"
    reservation = airflow.xcom("gated_bulk_load", run, "gate")
    assert reservation["needs"] == {"DailyApiRequests": 5_000}
    log = airflow.log("gated_bulk_load", run, "gate")
    assert "Granted: " in log
    assert "The triggerer was granted" not in log  # the triggerer has ended the task: no worker took it up again
    loaded = airflow.xcom("gated_bulk_load", run, "load")
    assert (loaded["processed"], loaded["failed"]) == (200, 0)
    released = airflow.xcom("gated_bulk_load", run, "release")
    assert released == {
        "reservation_id": reservation["reservation_id"],
        "released": True,
        "state": "released",
        "api_calls": 0,
        "spent": None,
        "given_back": None,
    }

    # What fails, fails with a reason: a need that can never fit, and an org that knows nobody any more.
    run = airflow.trigger("gated_bulk_load", {"calls": 1_000_000})
    assert airflow.wait_for_run("gated_bulk_load", run) == "failed"
    assert "1,000,000 needed can never fit" in airflow.log("gated_bulk_load", run, "gate")
    org.faults.order(Fault("unauthorized", path="/limits"))
    run = airflow.trigger("api_usage_snapshot")
    assert airflow.wait_for_run("api_usage_snapshot", run) == "failed"

    # No secret anywhere that Airflow keeps or shows: logs, the metadata database (XComs, serialized DAGs and triggers).
    secrets = {
        value
        for connection in sandbox.connections().values()
        for field, value in {**connection["extra"], "password": connection.get("password")}.items()
        if field in SECRET_FIELDS and value
    }
    secrets |= set(org.sessions._sessions)  # everything it ever gave out
    assert len(secrets) >= 6
    searched = 0
    for file in (tmp_path / "airflow").rglob("*"):
        if file.is_file() and (file.suffix in (".log", ".db", ".db-wal")):
            content = file.read_bytes()
            searched += 1
            assert not [secret for secret in secrets if secret.encode() in content], file
    assert searched >= 8
