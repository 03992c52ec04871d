"""``ApiUsageReconcileOperator`` in DAG runs: what it returns, keeps, writes, and when it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.sandbox import SandboxServer

Run = Callable[..., Any]
SUM = "Wednesday 15,000 + some calls from Tuesday 10,000 (of 20,000)"


def xcom(run: Any, task_id: str) -> Any:
    """What a task of a finished run returned."""
    return run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


def state(run: Any, task_id: str) -> str:
    return str(run.get_task_instance(task_id).state)


def test_the_seeds_page_is_in_the_log_and_in_both_reports(
    connected: SandboxServer, run_dag: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """25,000 in the last 24 hours, 15,000 on Wednesday, 20,000 on Tuesday: the sum line by line, wherever one looks."""
    connected.org.change({"staleness_seconds": 300})
    with DAG("reports", schedule=None) as dag:
        ApiUsageReconcileOperator(
            task_id="reconcile",
            fresh=True,
            daily_report=connected.org.settings.report_id,
            report_options={"coverage": "all"},
            markdown_path=f"file://{tmp_path}/reports/{{{{ dag.dag_id }}}}.md",
            html_path=ObjectStoragePath(f"file://{tmp_path}/reports/usage.html"),
        )

    run = run_dag(dag)

    result = xcom(run, "reconcile")
    assert (result["rolling"], result["today"], result["yesterday"]) == (25_000, 15_000, 20_000)
    assert set(result["reports"]) == {"markdown", "html"}
    markdown = (tmp_path / "reports" / "reports.md").read_text()
    page = (tmp_path / "reports" / "usage.html").read_text()
    logged = "".join(capfd.readouterr())
    for text in (markdown, page, logged):
        for figure in ("25,000", "15,000", "20,000", "10,000"):
            assert figure in text
        assert "some calls from Tuesday" in text
        assert "API requests, last 24 hours" in text
    assert f"{SUM} = 25,000 (API requests, last 24 hours)" in logged


def test_the_xcom_is_small_and_the_store_has_the_rest(connected: SandboxServer, run_dag: Run) -> None:
    """A week of logs and readings: the XCom stays under 4 kB, the days are in the store."""
    connected.org.change({"event_log_retention_days": 30, "calls_per_day": 20_000})
    hook = ApiUsageHook()
    for _ in range(8):
        connected.org.clock.advance(timedelta(hours=18))
        hook.store.add(hook.take_snapshot(daily_report=connected.org.settings.report_id))
        hook.read_events("daily")
    with DAG("small", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="reconcile")

    result = xcom(run_dag(dag), "reconcile")

    assert len(json.dumps(result)) < 4_096
    assert "days" not in result
    kept = hook.store.latest_reconciliation(result["org_id"])
    assert kept is not None
    assert [day["day"] for day in kept["days"]][-1] == result["at"][:10]
    assert len(kept["days"]) == 7
    holders = {holder["key"]: holder for holder in result["holders"]}
    assert holders
    assert all(holder["all_back_at"] > result["at"] for holder in holders.values())


@pytest.mark.parametrize(
    ("fail_on", "expected"), [(None, "success"), ("error", "success"), ("warning", "failed"), ("info", "failed")]
)
def test_a_task_fails_on_findings_that_are_grave_enough(
    connected: SandboxServer, run_dag: Run, fail_on: str | None, expected: str
) -> None:
    """A missing report is a warning: it fails the task if asked, after the result is kept."""
    with DAG(f"fail_on_{fail_on}", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="reconcile", fresh=True, fail_on=fail_on)

    run = run_dag(dag)

    assert state(run, "reconcile") == expected
    assert ApiUsageHook().store.latest_reconciliation(ApiUsageHook().get_org_id()) is not None


def test_a_severity_that_is_none_is_refused(connected: SandboxServer, run_dag: Run) -> None:
    """The message names the field and the three that there are; no call is spent."""
    used = connected.org.used
    with DAG("no_severity", schedule=None) as dag:
        ApiUsageReconcileOperator(task_id="reconcile", fresh=True, fail_on="fatal")

    run = run_dag(dag)

    assert state(run, "reconcile") == "failed"
    assert connected.org.used == used


def test_a_report_that_cannot_be_written_loses_nothing_else(
    connected: SandboxServer, run_dag: Run, tmp_path: Path
) -> None:
    """A path where a file stands in the way fails the task; the reconciliation is kept all the same."""
    (tmp_path / "file").write_text("in the way")
    with DAG("unwritable", schedule=None) as dag:
        snapshot = ApiUsageSnapshotOperator(task_id="snapshot")
        snapshot >> ApiUsageReconcileOperator(task_id="reconcile", html_path=f"file://{tmp_path}/file/usage.html")

    run = run_dag(dag)

    assert state(run, "reconcile") == "failed"
    assert ApiUsageHook().store.latest_reconciliation(ApiUsageHook().get_org_id()) is not None
