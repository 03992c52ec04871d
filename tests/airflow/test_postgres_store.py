"""The store on PostgreSQL, through an Airflow connection, from the worker's side and from the triggerer's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk import DAG, timezone

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.quota.model import Holder, QuotaRequest
from airflow_provider_apiusage.quota.wire import request_to_json
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger
from tests.support.postgres import fresh_database, postgres_server


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres_store(server: Any, connected: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    """``[apiusage] store_conn_id`` names a ``postgres`` connection to an empty database."""
    with fresh_database(server) as url:
        connection = {
            "conn_type": "postgres",
            "host": url.query.get("host", url.host),
            "login": url.username,
            "password": url.password or "",
            "schema": url.database,
            **({"port": url.port} if url.port else {}),
        }
        monkeypatch.setenv("AIRFLOW_CONN_APIUSAGE_STORE", json.dumps(connection))
        monkeypatch.setenv("AIRFLOW__APIUSAGE__STORE_CONN_ID", "apiusage_store")
        yield connected


def test_a_dag_keeps_everything_in_postgresql(postgres_store: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Snapshot, gate and release of a real run, with nothing of it in the default SQLite file."""
    with DAG("on_postgresql", schedule=None) as dag:
        snapshot = ApiUsageSnapshotOperator(task_id="snapshot")
        gate = ApiQuotaSensor(task_id="gate", calls=100)
        snapshot >> gate >> ApiQuotaReleaseOperator(task_id="release", reservation=gate.output)
    run = run_dag(dag)

    assert {str(ti.state) for ti in run.get_task_instances()} == {"success"}
    hook = ApiUsageHook()
    assert hook._engine.dialect.name == "postgresql"
    assert hook.store.orgs() == (postgres_store.org.identity.org_id,)
    (decision,) = hook.ledger.decisions(postgres_store.org.identity.org_id)
    assert decision["kind"] == "grant"


async def test_a_trigger_reaches_postgresql(postgres_store: SandboxServer) -> None:
    """The triggerer looks the connection up asynchronously and speaks to the database in a thread."""
    org_id = postgres_store.org.identity.org_id
    request = QuotaRequest(org_id, Holder("dag", "run", "gate"), {"DailyApiRequests": 10}, timezone.utcnow())
    trigger = ApiQuotaTrigger("salesforce_default", None, request_to_json(request), 1.0)
    (event,) = [event.payload async for event in trigger.run()]

    assert event["status"] == "granted"
    assert len(ApiUsageHook().ledger.reservations(org_id, timezone.utcnow())) == 1
