"""Pruning as a task of a DAG."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apiusage.operators.retention import ApiUsagePruneOperator
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.support.quota import ORG, reading

DAY = timedelta(days=1)
OTHER = "00DBB0000000002"


def store_of(file: Path) -> UsageStore:
    """A store with ten readings of one old hour and one of today, of two orgs."""
    engine = sqlite_engine(file)
    migrate(engine)
    store = UsageStore(engine)
    today = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for org_id in (ORG, OTHER):
        old = [reading(used, today - 60 * DAY + timedelta(minutes=used), org_id=org_id) for used in range(10)]
        store.add_readings([*old, reading(5, today, org_id=org_id)])
    return store


def kept(store: UsageStore, org_id: str) -> int:
    """How many readings of an org are left."""
    return len(store.readings(org_id, API_REQUESTS, datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC)))


def prune(run_dag: Callable[..., Any], dag_id: str, **options: Any) -> dict[str, Any]:
    """Run the operator in a DAG and return its XCom."""
    with DAG(dag_id, schedule=None) as dag:
        ApiUsagePruneOperator(task_id="prune", **options)
    run = run_dag(dag)
    assert str(run.state) == "success"
    result: dict[str, Any] = run.get_task_instance("prune").xcom_pull(task_ids="prune")
    return result


def test_the_store_is_pruned_without_an_org(
    store_file: Path, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Salesforce connection is needed, no call is spent; the XCom tells by table what went and what is left."""
    monkeypatch.delenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", raising=False)
    store = store_of(store_file)

    result = prune(run_dag, "prune_all")

    assert result["api_calls"] == 0
    assert result["removed"]["reading"] + result["kept"]["reading"] == 22
    assert kept(store, ORG) + kept(store, OTHER) == result["kept"]["reading"]
    assert result["kept"]["reading"] in (4, 6)  # the hour after midnight keeps its first reading as well
    assert set(result["removed"]) == set(result["kept"])
    assert json.loads(json.dumps(result)) == result
    assert set(prune(run_dag, "prune_again")["removed"].values()) == {0}


def test_how_long_and_of_whom_is_said_by_the_dag(store_file: Path, run_dag: Callable[..., Any]) -> None:
    """A longer time for details keeps them, a shorter one in all drops them, and only of the org that is named."""
    store = store_of(store_file)

    assert prune(run_dag, "prune_long", keep_details=90 * DAY)["removed"]["reading"] == 0
    removed = prune(run_dag, "prune_short", keep_details=7 * DAY, keep=50 * DAY, org_id=OTHER)["removed"]

    assert removed["reading"] == 10
    assert (kept(store, ORG), kept(store, OTHER)) == (11, 1)


def test_a_store_by_connection_is_the_one_that_is_pruned(
    store_file: Path, tmp_path: Path, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default store stays as it is."""
    other = tmp_path / "other.db"
    monkeypatch.setenv("AIRFLOW_CONN_USAGE_STORE", json.dumps({"conn_type": "sqlite", "host": str(other)}))
    default, named = store_of(store_file), store_of(other)

    prune(run_dag, "prune_named", store_conn_id="usage_store")

    assert kept(default, ORG) == 11
    assert kept(named, ORG) < 11


def test_too_short_a_time_is_refused_when_the_dag_is_read() -> None:
    """An author learns it at once, not after a week."""
    with pytest.raises(ValueError, match="keep_details is 1 day"), DAG("prune_wrong", schedule=None):
        ApiUsagePruneOperator(task_id="prune", keep_details=DAY)
