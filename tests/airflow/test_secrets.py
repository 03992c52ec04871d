"""No secret shows when things go wrong, whatever the flow and whatever the fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor

SECRET_FIELDS = {
    "consumer_secret", "password", "security_token", "private_key", "access_token", "refresh_token",
}  # fmt: skip
FLOWS = ["access_token", "client_credentials", "jwt", "refresh_token", "password_soap", "password_ip", "password_oauth"]
FAULTS = {
    "refused": lambda org: org.faults.order(Fault("unauthorized", path="/limits", count=99)),
    "forbidden": lambda org: org.change({"limits_access": "denied"}),
    "html": lambda org: org.faults.order(Fault("html", path="/limits")),
    "elsewhere": lambda org: org.faults.order(Fault("redirect", location="https://elsewhere.example/", path="/limits")),
}


def secrets_of(connection: dict[str, Any]) -> set[str]:
    fields = {**connection["extra"], "password": connection.get("password")}
    return {str(fields[name]) for name in SECRET_FIELDS if fields.get(name)}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("flow", FLOWS)
def test_no_secret_in_what_a_failing_task_says(
    sandbox: SandboxServer,
    store_file: Path,
    run_dag: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    flow: str,
    fault: str,
) -> None:
    """Logs with their tracebacks, and everything that Airflow keeps of a failed run, hold no secret."""
    connection = sandbox.connection(flow)
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connection))
    FAULTS[fault](sandbox.org)
    with DAG(f"fails_{flow}_{fault}", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot")
        ApiQuotaSensor(task_id="gate", calls=10, on_unknown="fail")
    run = run_dag(dag)
    assert "success" not in {str(ti.state) for ti in run.get_task_instances()}

    said = "".join([*capfd.readouterr(), caplog.text])
    secrets = secrets_of(connection) | set(sandbox.org.sessions._sessions)
    assert "salesforce_default" in said
    assert not [secret for secret in secrets if secret in said]
    assert not [line for secret in secrets for line in secret.split("\\n") if len(line) > 40 and line in said]


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow != "access_token"])
def test_no_secret_in_what_a_refused_login_says(
    sandbox: SandboxServer,
    store_file: Path,
    run_dag: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    flow: str,
) -> None:
    """A wrong credential is not shown either: it may be right for another org."""
    connection = json.loads(json.dumps(sandbox.connection(flow)))
    for field in SECRET_FIELDS - {"private_key"}:
        for place in (connection, connection["extra"]):
            if place.get(field):
                place[field] = f"wrong-{field}-0123456789"
    if connection["extra"].get("private_key"):
        connection["extra"]["consumer_key"] = "of-no-app"
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connection))
    with DAG(f"refused_{flow}", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot")
    run = run_dag(dag)

    said = "".join(capfd.readouterr())
    assert str(run.get_task_instance("snapshot").state) == "failed"
    assert "salesforce_default" in said
    assert not [secret for secret in secrets_of(connection) if secret in said]
