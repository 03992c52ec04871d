"""The operators in DAG runs, against the sandbox org and a SQLite store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.sandbox import SandboxServer


def xcom(run: Any, task_id: str) -> Any:
    """What a task of a finished run returned."""
    return run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


def state(run: Any, task_id: str) -> str:
    return str(run.get_task_instance(task_id).state)


def test_a_snapshot_is_kept_and_announced(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """One call, a small XCom, and an asset event with the figures."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with DAG("snapshot_once", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot")
    used_before = connected.org.used
    run = run_dag(dag)

    result = xcom(run, "snapshot")
    assert result["api_calls"] == connected.org.used - used_before == 1
    assert result["limits"]["DailyApiRequests"]["limit"] == connected.org.settings.limit
    assert result["daily"] == {}
    with create_session() as session:
        uri = f"salesforce-usage://{result['org_id']}/snapshot"
        query = (
            select(AssetEvent)
            .join(AssetModel, AssetEvent.asset_id == AssetModel.id)
            .where(AssetModel.uri == uri, AssetEvent.source_dag_id == "snapshot_once")
        )
        (event,) = session.scalars(query).all()
    assert event.extra["used"] == result["limits"]["DailyApiRequests"]["used"]


def test_several_orgs_are_mapped_over_one_task(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """A mapped snapshot keeps one for each connection, and announces each beside the user's own outlet."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.sdk import Asset
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with DAG("snapshot_mapped", schedule=None) as dag:
        ApiUsageSnapshotOperator.partial(task_id="snapshot", outlets=[Asset("of_the_user")]).expand(
            salesforce_conn_id=["salesforce_default", "salesforce_default"]
        )
    run = run_dag(dag)

    assert [str(ti.state) for ti in run.get_task_instances()] == ["success", "success"]
    with create_session() as session:
        counts = dict(
            session.execute(
                select(AssetModel.name, func.count())
                .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
                .where(AssetEvent.source_dag_id == "snapshot_mapped")
                .group_by(AssetModel.name)
            ).all()
        )
    assert counts == {"of_the_user": 2, f"apiusage_{connected.org.identity.org_id}_snapshot": 2}


def events_of(dag_id: str) -> int:
    """How many asset events a DAG's tasks have emitted."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        query = select(func.count()).select_from(AssetEvent).where(AssetEvent.source_dag_id == dag_id)
        return int(session.execute(query).scalar_one())


def test_a_retried_snapshot_is_kept_once(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """A task that kept its snapshot and then died returns and announces the same one on its next try, for no call."""
    with DAG("snapshot_twice", schedule=None) as dag:
        task = ApiUsageSnapshotOperator(task_id="snapshot")
    original, results = task.execute, []

    def dies_once(context: Any) -> Any:
        results.append(original(context))
        if len(results) == 1:
            raise RuntimeError("the worker went away after the snapshot was kept")
        return results[-1]

    task.execute = dies_once
    task.retries = 1
    task.retry_delay = timedelta(0)
    used_before = connected.org.used
    run = run_dag(dag)

    assert state(run, "snapshot") == "success"
    first, second = results
    assert first["observed_at"] == second["observed_at"]
    assert (first["api_calls"], second["api_calls"]) == (1, 0)
    assert events_of("snapshot_twice") == 1
    assert connected.org.used - used_before == 1


@pytest.mark.parametrize("shape", ["TABULAR", "SUMMARY", "MATRIX"])
def test_the_seeds_example_in_every_shape_of_the_report(
    connected: SandboxServer, run_dag: Callable[..., Any], shape: str
) -> None:
    """25,000 rolling, 15,000 today and 20,000 yesterday give a tail of 10,000, whatever the report looks like."""
    connected.org.change({"report_shape": shape, "staleness_seconds": 300})
    with DAG(f"seed_{shape.lower()}", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="reconcile", fresh=True, daily_report=connected.org.settings.report_id)

    result = xcom(run_dag(dag), "reconcile")

    assert {name: result[name] for name in ("rolling", "today", "yesterday", "coverage", "consistent")} == {
        "rolling": 25_000, "today": 15_000, "yesterday": 20_000, "coverage": "soap", "consistent": True,
    }  # fmt: skip
    assert result["window_tail"] == {"low": 0, "high": 20_000, "estimate": 10_000}
    assert result["residual"] == {"low": 0, "high": 10_000}
    assert result["at"].startswith("2026-10-07T14:30:00")
    assert result["api_calls"] == 2


def test_calls_that_the_report_leaves_out_are_counted_at_least(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """With 25,000 REST calls on top, at least 15,000 of the 50,000 cannot be in a SOAP-only report."""
    from airflow_provider_apiusage.sandbox import Caller

    org = connected.org
    caller = Caller(user=org.identity.client_user.id, family="REST")
    org.add_calls(25_000, at=org.now() - timedelta(hours=1), caller=caller)
    with DAG("soap_only", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="reconcile", fresh=True, daily_report=org.settings.report_id)

    result = xcom(run_dag(dag), "reconcile")

    assert 50_000 < result["rolling"] <= 50_002  # our own calls are counted too
    assert result["residual"] == {"low": result["rolling"] - 35_000, "high": result["rolling"] - 15_000}
    assert result["consistent"] is True
    (finding,) = [f for f in result["findings"] if f["code"] == "soap-only-report"]
    assert f"{result['rolling'] - 35_000:,}" in finding["message"]


def test_a_csv_export_serves_as_the_report(
    connected: SandboxServer, run_dag: Callable[..., Any], tmp_path: Any
) -> None:
    """The exported report, read from a file: the same result for one call less."""
    import requests

    connected.org.change({"staleness_seconds": 300})
    org = connected.org
    session = org.sessions.open(org.identity.client_user)
    exported = requests.get(
        f"{connected.url}/{org.settings.report_id}?isdtp=p1&export=1&enc=UTF-8&xf=csv",
        cookies={"sid": session.token},
        timeout=30,
    )
    file = tmp_path / "usage.csv"
    file.write_bytes(exported.content)
    with DAG("seed_csv", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="reconcile", fresh=True, daily_report=str(file))

    result = xcom(run_dag(dag), "reconcile")

    assert (result["rolling"], result["today"], result["yesterday"]) == (25_000, 15_000, 20_000)
    assert result["window_tail"]["estimate"] == 10_000
    assert result["api_calls"] == 1


def test_reconciling_without_a_snapshot_says_what_to_do(
    connected: SandboxServer, run_dag: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing kept yet is an error that names the task to add, not a result of zeros."""
    with DAG("nothing_yet", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="reconcile")

    run = run_dag(dag)

    assert state(run, "reconcile") == "failed"


def test_a_report_that_cannot_be_read_loses_nothing_else(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """The limits are kept, and a finding says what became of the report."""
    connected.org.change({"report_access": "denied"})
    with DAG("no_report", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot", daily_report=connected.org.settings.report_id)

    result = xcom(run_dag(dag), "snapshot")

    assert result["limits"]["DailyApiRequests"]["used"] >= 25_000
    assert result["findings"] == [{"code": "daily-report-unread", "severity": "warning"}]


def test_an_exhausted_org_still_gives_a_snapshot(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """An org that refuses even ``/limits`` says that nothing remains, and that is kept."""
    connected.org.change({"limit": 20_000, "hard_limit": 20_000, "limit_header_on_errors": False})
    with DAG("exhausted", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot")

    result = xcom(run_dag(dag), "snapshot")

    assert result["limits"]["DailyApiRequests"]["remaining"] == 0
    assert result["findings"] == [{"code": "allowance-exhausted", "severity": "error"}]


def test_sources_that_contradict_each_other_fail_only_if_asked(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """More calls today than in the last 24 hours cannot be; the task fails with ``fail_on``."""
    report = connected.org.settings.report_id
    connected.org.change({"limit_overrides": {"DailyApiRequests": {"Max": 100_000, "Remaining": 90_000}}})
    with DAG("contradiction", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="lenient", fresh=True, daily_report=report)
        ApiUsageReconcileOperator(task_id="strict", fresh=True, daily_report=report, fail_on="error")

    run = run_dag(dag)

    assert state(run, "lenient") == "success"
    assert xcom(run, "lenient")["consistent"] is False
    assert state(run, "strict") == "failed"
