"""Sentences that several views share, and reports' texts as the page takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from airflow_provider_apiusage.quota.model import Holder
from airflow_provider_apiusage.reporting.document import Code, Foreign, Strong, Text, prose
from airflow_provider_apiusage.ui import answers
from airflow_provider_apiusage.ui.answers import Prose, Run, Todo
from airflow_provider_apiusage.usage import model
from airflow_provider_apiusage.usage.model import Interval, Severity

SNAPSHOT_EXAMPLE = """\
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator

ApiUsageSnapshotOperator(task_id="snapshot", salesforce_conn_id="salesforce_default")"""

EVENTS_EXAMPLE = """\
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator

ApiUsageSnapshotOperator(task_id="snapshot", salesforce_conn_id="salesforce_default", events="auto")"""

GATE_EXAMPLE = """\
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor

gate = ApiQuotaSensor(task_id="gate", calls=10_000, reserve="10%").as_setup()
release = ApiQuotaReleaseOperator(task_id="release", reservation=gate.output).as_teardown(setups=gate)
gate >> load >> release"""

RECONCILE_EXAMPLE = """\
from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator

ApiUsageReconcileOperator(task_id="reconcile", salesforce_conn_id="salesforce_default")"""

NO_ORG = Todo(
    words="There is nothing to show: nothing was read of any org yet, or you may not read a connection that leads to "
    "one. A task that takes a snapshot every 15 minutes reads an org for 1 API call each time.",
    task="ApiUsageSnapshotOperator",
    example=SNAPSHOT_EXAMPLE,
    docs="usage.md",
)
NO_READING = Todo(
    words="Nothing was read of this org yet. A task that takes a snapshot every 15 minutes reads it for 1 API call "
    "each time.",
    task="ApiUsageSnapshotOperator",
    example=SNAPSHOT_EXAMPLE,
    docs="usage.md",
)
OLD_READING = Todo(
    words="Nothing was read of this org lately. See whether the task that takes snapshots still runs; every 15 minutes "
    "is a good pace.",
    task="ApiUsageSnapshotOperator",
    example=SNAPSHOT_EXAMPLE,
    docs="usage.md",
)
NO_SPENDERS = Todo(
    words="Who made the calls of this time is not known. Event logs tell it, if snapshots read them, as a user with "
    "View Event Log Files.",
    task='ApiUsageSnapshotOperator(events="auto")',
    example=EVENTS_EXAMPLE,
    docs="event-logs.md",
)
NO_GATE = Todo(
    words="No load has asked for calls of this org yet. A gate before a load lets it start when enough calls are left, "
    "and keeps them for it.",
    task="ApiQuotaSensor",
    example=GATE_EXAMPLE,
    docs="gate.md",
)
NO_RECONCILIATION = Todo(
    words="No task has reconciled this org yet. Once a day is a good pace; it spends no API call.",
    task="ApiUsageReconcileOperator",
    example=RECONCILE_EXAMPLE,
    docs="reconciliation.md",
)

_KINDS: Mapping[type, str] = {Strong: "strong", Code: "code", Foreign: "name"}


def runs(text: Text) -> Prose:
    """Return a text of the reports as the page takes it."""
    return [
        Run(text=part, kind="plain") if isinstance(part, str) else Run(text=part.text, kind=_KINDS[type(part)])
        for part in text
    ]


def finding(found: model.Finding) -> answers.Finding:
    """Return a finding as the page takes it."""
    return answers.Finding(code=found.code, severity=found.severity.value, words=runs(prose(found.message)))


def findings(found: Iterable[model.Finding]) -> list[answers.Finding]:
    """Return findings as the page takes them, most severe first."""
    order = list(Severity)
    return [finding(each) for each in sorted(found, key=lambda each: -order.index(each.severity))]


def bounds(interval: Interval | None) -> answers.Bounds | None:
    """Return bounds as the page takes them."""
    return None if interval is None else answers.Bounds(low=interval.low, high=interval.high)


def holder(who: Holder) -> answers.Holder:
    """Return a task instance with its page in Airflow, relative to ours, which is one step below Airflow's root."""
    path = f"../dags/{_quoted(who.dag_id)}/runs/{_quoted(who.run_id)}/tasks/{_quoted(who.task_id)}"
    mapped = who.map_index >= 0
    return answers.Holder(
        dag_id=who.dag_id,
        run_id=who.run_id,
        task_id=who.task_id,
        map_index=who.map_index if mapped else None,
        label=str(who),
        href=f"{path}/mapped/{who.map_index}" if mapped else path,
    )


def _quoted(part: str) -> str:
    return quote(part, safe="")


def age(span: timedelta) -> str:
    """Return how long ago something was: ``12 minutes``, ``3 hours`` or ``2 days``."""
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        number = int(span.total_seconds()) // seconds
        if number >= (2 if unit == "day" else 1):
            return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"
    return "less than a minute"


def cursor(at: datetime, row_id: int) -> str:
    """Return a place in a list as the page gives it back."""
    return f"{at.timestamp():.6f}-{row_id}"


def calls_of(body: Mapping[str, Any]) -> dict[str, int]:
    """Return numbers by limit name."""
    return {str(name): int(calls) for name, calls in body.items()}
