"""Alerts in DAG runs: what the sandbox org uses, told by real notifiers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG, BaseNotifier, timezone

from airflow_provider_apiusage.hooks.alerting import labels_of, notify
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.alert import (
    ApiUsageAlertOperator,
    no_snapshot_for,
    rises_by,
    runs_out_before,
    used_above,
)
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections
from airflow_provider_apiusage.usage.alerts_edges import evaluate
from airflow_provider_apiusage.usage.alerts_judging import AlertEvidence, Foretold
from airflow_provider_apiusage.usage.model import Snapshot
from tests.airflow.test_forecast import states, watch, xcom
from tests.support.mail import mail_server
from tests.support.quota import NOW, ORG, reading

HOUR = timedelta(hours=1)
USED, RISE, SHORT, MISSING = RULES = (
    used_above(0.8),
    rises_by(0.15, within=HOUR),
    runs_out_before("23:00"),
    no_snapshot_for(HOUR),
)
FULL = AlertEvidence(ORG, NOW, {USED.limit_name: (reading(1, NOW - HOUR), reading(90_000))}, NOW, Foretold(NOW, NOW))
EMPTY = AlertEvidence(ORG, NOW)


class FileNotifier(BaseNotifier):
    """Adds a line to a file, or fails with a secret while the file ``broken`` is beside it."""

    template_fields = ("text",)

    def __init__(self, path: str, text: str = "{{ alert.state }}: {{ alert.title }} ({{ dag.dag_id }})") -> None:
        super().__init__()
        self.path, self.text = path, text

    def notify(self, context: Any) -> None:
        if Path(self.path).with_name("broken").exists():
            raise ConnectionError("https://hooks.example.com/hunter2")
        with Path(self.path).open("a") as file:
            file.write(f"{self.text}\n")


class AsyncNotifier(FileNotifier):
    """Has an asynchronous side only."""

    notify = BaseNotifier.notify

    async def async_notify(self, context: Any) -> None:
        FileNotifier.notify(self, context)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def events_of(dag_id: str) -> list[dict[str, Any]]:
    """The extras of the asset events of a DAG, oldest first."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(AssetEvent).where(AssetEvent.source_dag_id == dag_id).order_by(AssetEvent.id)
        return [event.extra for event in session.scalars(query)]


def test_alerts_are_told_once_by_any_notifier(
    connected: SandboxServer, run_dag: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three rules open as the org fills up, and resolve when its limit is raised: a notifier of one's own and
    Airflow's e-mail tell each once, asset events carry the figures, and no call is spent."""
    file = tmp_path / "told"
    with mail_server() as (port, mails):
        extra = {"disable_tls": True, "disable_ssl": True}
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp))
        with DAG("alerts_once", schedule=None) as dag:
            ApiUsageAlertOperator(
                task_id="alerts",
                rules=RULES,
                notifiers=[
                    FileNotifier(str(file)),
                    SmtpNotifier(
                        from_email="airflow@example.com",
                        to="team@example.com",
                        subject="[{{ alert.severity }}] {{ alert.title }}",
                        html_content="<p>{{ alert.message }}</p>",
                    ),
                ],
            )
        connected.org.change({"limit": 80_000, "hard_limit": 200_000})
        watch(connected, 3, lambda _: 20_000)
        used = connected.org.used

        opened = xcom(run_dag(dag), "alerts")
        again = xcom(run_dag(dag), "alerts")
        assert connected.org.used == used
        connected.org.change({"limit": 500_000, "hard_limit": 500_000})
        watch(connected, 1, lambda _: 0)
        resolved = xcom(run_dag(dag), "alerts")

    names = [rule.name for rule in (USED, RISE, SHORT)]
    assert [each["rule"] for each in opened["opened"]] == names
    assert (opened["open"], opened["resolved"], opened["told"], opened["api_calls"]) == (names, [], 6, 0)
    assert opened["opened"][0]["value"] == 1.0
    assert len(json.dumps(opened)) < 3_000
    assert (again["opened"], again["resolved"], again["open"], again["told"]) == ([], [], names, 0)
    assert [each["rule"] for each in resolved["resolved"]] == names
    assert resolved["open"] == []
    assert lines(file) == [
        *(f"opened: {name} (alerts_once)" for name in names),
        *(f"resolved: Resolved: {name} (alerts_once)" for name in names),
    ]
    assert [mail["Subject"] for mail in mails] == [
        *(f"[warning] {name}" for name in names),
        *(f"[warning] Resolved: {name}" for name in names),
    ]
    assert f"of 80,000 {USED.limit_name} are used" in mails[0].get_body(("html",)).get_content()
    events = events_of("alerts_once")
    assert [(event["state"], event["rule"]) for event in events] == [
        *(("opened", name) for name in names),
        *(("resolved", name) for name in names),
    ]
    assert events[0]["threshold"] == 0.8
    assert events[0]["since"] == events[3]["since"]


def test_a_notifier_that_fails_is_called_again(
    connected: SandboxServer, run_dag: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The others are called all the same, the task fails and names it, and says nothing of what was in the error."""
    (tmp_path / "a").mkdir()
    broken, well = tmp_path / "a" / "told", tmp_path / "told"
    (tmp_path / "a" / "broken").touch()
    with DAG("alerts_fail", schedule=None) as dag:
        ApiUsageAlertOperator(
            task_id="alerts", rules=[used_above(0.2)], notifiers=[FileNotifier(str(broken)), FileNotifier(str(well))]
        )
    watch(connected, 1, lambda _: 0)

    failed = run_dag(dag)
    log = "".join(capfd.readouterr())
    (tmp_path / "a" / "broken").unlink()
    mended = run_dag(dag)

    assert states(failed) == {"alerts": "failed"}
    assert "These notifiers failed, and are called again next time: FileNotifier." in log
    assert "FileNotifier could not tell: ConnectionError" in log
    assert "hunter2" not in log
    assert states(mended) == {"alerts": "success"}
    assert xcom(mended, "alerts")["told"] == 1
    assert lines(broken) == lines(well) == ["opened: 20% of DailyApiRequests used (alerts_fail)"]
    assert [event["state"] for event in events_of("alerts_fail")] == ["opened"]


def test_that_no_snapshot_comes_is_told_without_the_org(
    store_file: Path, run_dag: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the connection leads nowhere any more, the store still knows which org it was; figures of two hours ago
    open no other alert."""
    nowhere = {"conn_type": "salesforce", "login": "me", "password": "x", "extra": {"domain": "invalid"}}
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(nowhere))
    received_at = timezone.utcnow() - 2 * HOUR
    hook = ApiUsageHook()
    OrgConnections(hook.store.engine).record(OrgConnection(ORG, "salesforce_default", None, received_at))
    hook.store.add(Snapshot(ORG, NOW, (reading(99_000, NOW, received_at=received_at),), taken_by="test"))
    with DAG("alerts_alone", schedule=None) as dag:
        ApiUsageAlertOperator(task_id="alerts", rules=RULES)

    told = xcom(run_dag(dag), "alerts")

    assert told["org_id"] == ORG
    assert told["open"] == [MISSING.name]
    assert "the latest snapshot is of 07 Oct 14:30 UTC, 2 h ago" in told["opened"][0]["message"]


def test_every_kind_of_notifier_is_called(tmp_path: Path) -> None:
    """One with an asynchronous side only, and a function; a notifier that tells two alerts renders each anew, and is
    left as the DAG has it."""
    context: Any = {"dag": DAG("any", schedule=None)}
    first, second = ({"state": "opened", "title": title} for title in ("80 %", "90 %"))
    heard: list[str] = []
    notifiers = [FileNotifier(str(tmp_path / "sync")), AsyncNotifier(str(tmp_path / "async"))]
    before = [notifier.text for notifier in notifiers]

    for figures in (first, second):
        for notifier in (*notifiers, lambda told: heard.append(told["alert"]["title"])):
            notify(notifier, context, figures)

    assert lines(tmp_path / "sync") == lines(tmp_path / "async") == ["opened: 80 % (any)", "opened: 90 % (any)"]
    assert heard == ["80 %", "90 %"]
    assert [notifier.text for notifier in notifiers] == before
    assert "alert" not in context


def test_labels_stay_the_same_from_run_to_run(tmp_path: Path) -> None:
    """They are named by their class, and numbered where there are several."""
    mail = SmtpNotifier(to="a@example.com", from_email="b@example.com")
    files = [FileNotifier(str(tmp_path / name)) for name in "ab"]

    assert labels_of([files[0], mail, files[1], watch]) == ("FileNotifier", "SmtpNotifier", "FileNotifier #2", "watch")


def test_a_mistake_in_a_rule_fails_when_the_dag_is_read() -> None:
    """Not at night, when the alert would be needed."""
    with pytest.raises(ValueError, match=r"write 0\.8 or '80%'"):
        ApiUsageAlertOperator(task_id="alerts", rules=[{"rule": "used_above", "share": 80}])
    with pytest.raises(ValueError, match="Two rules have the name"):
        ApiUsageAlertOperator(task_id="alerts", rules=[USED, replace(RISE, name=USED.name)])


def test_the_documentation_is_right() -> None:
    """Its Python is that of DAG files, and its table names every figure that a change can have."""
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for snippet in snippets:
        names: dict[str, Any] = {}
        with DAG("documented", schedule=None) as dag:
            exec(snippet, names)
        assert dag.tasks or "on_alert" in snippet
    assert len(snippets) == 4
    figures: set[str] = set()
    for evidence in (EMPTY, FULL):
        for change in evaluate(RULES, evidence, [], NOW):
            figures |= set(change.figures)
    assert set(re.findall(r"`alert\.(\w+)`", text)) == figures
