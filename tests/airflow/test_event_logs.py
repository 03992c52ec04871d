"""Event logs in DAG runs: beside a snapshot, and one file per mapped task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.event_log import (
    ApiUsageListEventLogsOperator,
    ApiUsageReadEventLogsOperator,
)
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.usage.hourly import Completeness

TUESDAY = datetime(2026, 10, 6, tzinfo=UTC)
DAY = timedelta(days=1)


def xcom(run: Any, task_id: str) -> Any:
    """What a task of a finished run returned."""
    return run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


def state(run: Any, task_id: str) -> str:
    return str(run.get_task_instance(task_id).state)


def counted(org: Any, start: datetime, end: datetime) -> int:
    """Calls that count and are logged in ``[start, end)``, as the org knows them."""
    return sum(
        period.count
        for period in org.ledger.hourly()
        if start <= period.start < end and period.caller.counted and period.caller.logged
    )


def test_a_snapshot_with_event_logs_says_how_much_of_the_last_day_they_told(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """Calls of the last 24 full hours, the hours that are still unknown, and what all of it cost."""
    with DAG("snapshot_events", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot", events="{{ 'auto' }}")
    used_before = connected.org.used
    result = xcom(run_dag(dag), "snapshot")
    again = xcom(run_dag(dag), "snapshot")

    events = result["events"]
    assert result["api_calls"] == connected.org.used - used_before - 1 == 2 + events["files_read"]
    assert (events["from"], events["to"]) == ("2026-10-06T14:00:00+00:00", "2026-10-07T14:00:00+00:00")
    known = counted(connected.org, TUESDAY + timedelta(hours=14), TUESDAY + DAY + timedelta(hours=11))
    assert known <= events["counted"] <= counted(connected.org, TUESDAY + timedelta(hours=14), TUESDAY + DAY * 2)
    assert events["hours"] == {"none": 2, "provisional": 22, "settled": 0}
    assert again["api_calls"] == 1
    assert again["events"] == {**events, "files_read": 0}


def test_without_the_permission_the_snapshot_goes_on(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Limits are kept, and a finding names what the user lacks."""
    connected.org.change({"event_log_access": False})
    with DAG("snapshot_denied", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot", events="auto")
    run = run_dag(dag)

    result = xcom(run, "snapshot")
    assert state(run, "snapshot") == "success"
    assert result["limits"]["DailyApiRequests"]["used"] == 25_001
    assert [finding["code"] for finding in result["findings"]] == ["event-log-denied"]
    assert result["events"]["hours"] == {"none": 24, "provisional": 0, "settled": 0}


def test_an_exhausted_org_is_not_asked_for_its_logs(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """The refusal is the reading; further calls would be refused as well."""
    connected.org.change({"limit": 20_000})
    with DAG("snapshot_exhausted", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot", events="auto")
    requests_before = len(connected.org.requests)
    run = run_dag(dag)

    assert state(run, "snapshot") == "success"
    paths = [entry.path for entry in list(connected.org.requests)[requests_before:]]
    assert not [path for path in paths if "query" in path]


def test_an_unknown_source_fails_with_the_choices(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """A typing error does not cost a call."""
    with DAG("snapshot_typo", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot", events="minutely")
    used_before = connected.org.used

    assert state(run_dag(dag), "snapshot") == "failed"
    assert connected.org.used == used_before


def test_a_report_is_run_once_an_hour_and_after_midnight(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """A snapshot every 15 minutes costs one call, and one more an hour for the report."""
    with DAG("snapshot_report", schedule=None) as dag:
        ApiUsageSnapshotOperator(task_id="snapshot", daily_report=connected.org.settings.report_id)

    def snapshot_after(**duration: float) -> tuple[int, bool]:
        connected.org.clock.advance(timedelta(**duration))
        result = xcom(run_dag(dag), "snapshot")
        return result["api_calls"], bool(result["daily"])

    assert snapshot_after(minutes=0) == (2, True)
    assert snapshot_after(minutes=45) == (1, False)
    assert snapshot_after(minutes=15) == (2, True)
    assert snapshot_after(hours=8, minutes=20) == (2, True)  # 23:50
    assert snapshot_after(minutes=15) == (2, True)  # 00:05


@pytest.mark.parametrize(
    ("families", "coverage", "code"),
    [
        (["SOAP"], "soap", "coverage-confirmed"),
        ([], "soap", "coverage-is-all"),
        ([], "all", "coverage-confirmed"),
        (["SOAP"], "all", "coverage-is-soap"),
    ],
)
def test_the_report_is_held_against_the_event_logs(
    connected: SandboxServer, run_dag: Callable[..., Any], families: list[str], coverage: str, code: str
) -> None:
    """Once a day is settled, a wrong ``coverage`` is a warning that says what to set."""
    org = connected.org
    org.change({"report_families": families, "calls_per_day": 3_000, "event_log_retention_days": 30})
    org.clock.advance(timedelta(days=5))
    with DAG(f"coverage_{code}_{coverage}_{len(families)}", schedule=None) as dag:
        ApiUsageSnapshotOperator(
            task_id="snapshot",
            events="daily",
            daily_report=org.settings.report_id,
            report_options={"coverage": coverage},
        )

    findings = {finding["code"]: finding["severity"] for finding in xcom(run_dag(dag), "snapshot")["findings"]}

    assert findings == {code: "info" if code == "coverage-confirmed" else "warning"}


def backfill(dag_id: str, **options: Any) -> DAG:
    """List the files of a period, then read each in a task of its own."""
    with DAG(dag_id, schedule=None) as dag:
        listed = ApiUsageListEventLogsOperator(task_id="list", start="2026-10-06", end="2026-10-08", **options)
        ApiUsageReadEventLogsOperator.partial(task_id="read", retries=1, retry_delay=timedelta(0)).expand(
            files=listed.output
        )
    return dag


def test_a_backfill_reads_one_file_per_mapped_task(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Each mapped task says what it read and spent; a second run finds nothing to do."""
    run = run_dag(backfill("backfill"))

    tasks = [ti for ti in run.get_task_instances() if ti.task_id == "read"]
    results = [ti.xcom_pull(task_ids="read", map_indexes=ti.map_index) for ti in tasks]
    assert len(tasks) == len(xcom(run, "list")) > 10
    assert {(result["files_read"], result["api_calls"]) for result in results} == {(1, 1)}
    usage = ApiUsageHook().get_event_usage(TUESDAY, TUESDAY + DAY, events=None)
    assert usage.api_calls == 0
    assert set(usage.completeness.values()) == {Completeness.PROVISIONAL}
    told = sum(count.calls for count in usage.counts if count.caller.counted)
    assert told == counted(connected.org, TUESDAY, TUESDAY + DAY) == 20_000

    again = run_dag(backfill("backfill"))
    assert xcom(again, "list") == []
    assert state(again, "list") == "success"


def test_a_mapped_task_whose_file_breaks_is_retried(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """The first try spends its three attempts and fails; the retry reads the file whole."""
    connected.org.faults.order(Fault("truncate", path="/LogFile", count=3))

    run = run_dag(backfill("backfill_broken", events="daily"))

    (task,) = [ti for ti in run.get_task_instances() if ti.task_id == "read"]
    assert (str(task.state), task.try_number) == ("success", 2)
    assert task.xcom_pull(task_ids="read", map_indexes=0)["files_read"] == 1


def test_what_is_no_period_or_file_says_so(connected: SandboxServer, run_dag: Callable[..., Any]) -> None:
    """Both name the field and what belongs there, and cost nothing."""
    hours = {"start": "2026-10-07", "end": "2026-10-06"}
    with pytest.raises(ValueError, match=r"start='2026-10-07', end='2026-10-06' is empty"):
        ApiUsageListEventLogsOperator(task_id="list", **hours).execute({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="start='soon' is no ISO instant"):
        ApiUsageListEventLogsOperator(task_id="list", start="soon", end="2026-10-06").execute({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ApiUsageListEventLogsOperator"):
        ApiUsageReadEventLogsOperator(task_id="read", files=[{"id": "0AT"}]).execute({})  # type: ignore[arg-type]
