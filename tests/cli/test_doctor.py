"""``doctor``: nothing to say of a set-up that works, and the cause of each of those that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from airflow_provider_apiusage.sandbox import Fault, SandboxOrg, SandboxServer
from airflow_provider_apiusage.store.engine import sqlite_engine
from tests.cli.conftest import Run

REPORT = "00OAA0000000001"
HANDFUL = 5


@dataclass(frozen=True)
class SetUp:
    """What a test may break.

    :param connect: makes ``salesforce_default`` by another flow, or with other fields.
    """

    server: SandboxServer
    store: Path
    patch: pytest.MonkeyPatch

    def connect(self, flow: str = "client_credentials", **extra: Any) -> None:
        """Make the connection anew, with some extras changed."""
        connection = json.loads(json.dumps(self.server.connection(flow)))
        connection["extra"].update(extra)
        self.patch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connection))

    def change(self, **settings: Any) -> None:
        """Change the org."""
        self.server.org.change(settings)


@pytest.fixture
def set_up(run: Run, org: SandboxServer, store_file: Path, monkeypatch: pytest.MonkeyPatch) -> SetUp:
    """A set-up in which all is well: connection, org, report, event logs, and a snapshot taken just now."""
    assert run("snapshot").code == 0
    return SetUp(org, store_file, monkeypatch)


@dataclass(frozen=True)
class Broken:
    """One broken set-up.

    :param check: the check that must fail or warn, and no other may fail.
    :param cause: words of what it finds.
    :param fix: words of what it says to do.
    :param calls: API calls at most.
    """

    name: str
    do: Callable[[SetUp], object]
    check: str
    cause: str
    fix: str
    state: str = "fail"
    calls: int = HANDFUL
    arguments: tuple[str, ...] = field(default=())


def no_route(set_up: SetUp) -> None:
    """The name leads to a port where nobody listens."""
    set_up.connect("access_token", instance_url="https://localhost:1")


def expired(set_up: SetUp) -> None:
    """All sessions end."""
    set_up.connect("access_token")
    set_up.server.org.sessions.expire()


def read_only(set_up: SetUp) -> None:
    """The file says that it is written in a format that SQLite may only read (file format, "write version")."""
    with sqlite_engine(set_up.store).connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    content = bytearray(set_up.store.read_bytes())
    content[18] = 3
    set_up.store.write_bytes(content)


def lost_store(set_up: SetUp) -> None:
    """The store's connection leads to a database that is not there."""
    set_up.patch.setenv(
        "AIRFLOW_CONN_FAR_STORE",
        json.dumps({"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "u", "password": "pw-of-store"}),
    )
    set_up.patch.setenv("AIRFLOW__APIUSAGE__STORE_CONN_ID", "far_store")


def newer_store(set_up: SetUp) -> None:
    """Somebody's newer version has migrated the store."""
    with sqlite_engine(set_up.store).begin() as connection:
        connection.execute(text("UPDATE apiusage_alembic_version SET version_num = '9999'"))
    set_up.patch.setattr("airflow_provider_apiusage.hooks.store._engines", {})


def three_days_old(set_up: SetUp) -> None:
    """Nobody has read the org for three days."""
    before = (datetime.now(UTC) - timedelta(days=3)).isoformat(timespec="microseconds")
    with sqlite_engine(set_up.store).begin() as connection:
        connection.execute(text("UPDATE apiusage_reading SET received_at = :at, observed_at = :at"), {"at": before})


BROKEN = [
    Broken(
        "no connection",
        lambda s: s.patch.delenv("AIRFLOW_CONN_SALESFORCE_DEFAULT"),
        "connection", "no connection 'salesforce_default'", "airflow connections add", calls=0,
    ),
    Broken(
        "fields that make no login",
        lambda s: s.connect(consumer_key="", consumer_secret=""),
        "connection", "No way to log in is complete", "Correct the connection", calls=0,
    ),
    Broken(
        "wrong secret", lambda s: s.connect(consumer_secret="not-the-secret"),
        "login", "was refused", "Check user, password, token or key", calls=0,
    ),
    Broken("wrong host", no_route, "api", "No usable answer", "network"),
    Broken(
        "a proxy's page instead of the org",
        lambda s: s.server.org.faults.order(Fault("html", path="/limits")),
        "api", "no JSON", "no proxy answers in its place",
    ),
    Broken("expired token", expired, "login", "INVALID_SESSION_ID", "put a new 'access_token'"),
    Broken(
        "API turned off for the user",
        lambda s: s.server.org.faults.order(
            Fault(
                "status", status=403, path="/limits",
                body=[{"errorCode": "API_CURRENTLY_DISABLED", "message": "API is disabled for this User"}],
            )
        ),
        "api", "API_CURRENTLY_DISABLED", "'API Enabled'",
    ),
    Broken(
        "no View Setup", lambda s: s.change(limits_access="denied"),
        "limits", "403", "'View Setup and Configuration'",
    ),
    Broken("calls used up", lambda s: s.change(limit=100), "allowance", "TotalRequests Limit exceeded", "Wait until"),
    Broken(
        "nearly used up", lambda s: s.change(limit=s.server.org.used + 500),
        "allowance", "calls used in 24 hours", "airflow apiusage reconcile",
    ),
    Broken(
        "report not shared", lambda s: s.change(report_access="denied"),
        "daily-report", "sufficient privileges", "Share the report", arguments=("--daily-report", REPORT),
    ),
    Broken(
        "no such report", lambda s: None,
        "daily-report", "404", "save a copy as a custom report", arguments=("--daily-report", "00OAA0000009999"),
    ),
    Broken(
        "no event logs for the user", lambda s: s.change(event_log_access=False, event_log_object="absent"),
        "event-log-files", "INVALID_TYPE", "'View Event Log Files'", state="warn",
    ),
    Broken("store away", lost_store, "store", "127.0.0.1", "Check that the database runs"),
    Broken("store not writable", read_only, "store", "readonly", "mode"),
    Broken("store of a newer version", newer_store, "store", "9999, which is newer", "Upgrade"),
    Broken("no snapshot for days", three_days_old, "snapshots", "3 days ago", "ApiUsageSnapshotOperator"),
    Broken(
        "an option that makes no sense", lambda s: s.patch.setenv("AIRFLOW__APIUSAGE__POLL_INTERVAL", "-5"),
        "options", "poll_interval = -5 must be more than 0", "[apiusage]",
    ),
    Broken(
        "an option that nobody knows", lambda s: s.patch.setenv("AIRFLOW__APIUSAGE__POLL_INTERVALL", "60"),
        "options", "poll_intervall", "Correct the spelling", state="warn",
    ),
]  # fmt: skip


def test_a_set_up_that_works_has_nothing_to_fix(run: Run, set_up: SetUp) -> None:
    """Every check is made and well, for a handful of calls, of which the command tells every one."""
    before = set_up.server.org.used
    said = run("doctor", "--daily-report", REPORT, "--fail-on", "info", "-o", "json")

    assert said.code == 0, said.out
    assert {check["name"] for check in said.data["checks"]} == {
        "options", "store", "connection", "login", "api", "limits", "allowance", "clock", "org", "daily-report",
        "event-log-files", "event-log-object", "snapshots",
    }  # fmt: skip
    assert 0 < said.data["api_calls"] == set_up.server.org.used - before <= HANDFUL
    words = run("doctor").out
    assert "broken" in words
    assert "Fix:" not in words


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_the_cause_is_named(run: Run, set_up: SetUp, broken: Broken) -> None:
    """The one check that is about the cause says what is the case, what that means, and what to do; no other fails,
    no secret shows, and the calls are those that the org has counted.
    """
    broken.do(set_up)
    before = set_up.server.org.used
    said = run("doctor", *broken.arguments, "-o", "json")
    checks = {check["name"]: check for check in said.data["checks"]}
    found = checks[broken.check]

    assert found["state"] == broken.state
    assert broken.cause in found["found"]
    assert broken.fix in found["fix"]
    assert found["means"]
    others = {name: check["state"] for name, check in checks.items() if name != broken.check}
    assert "fail" not in others.values()
    assert said.code == (3 if broken.state == "fail" else 0)
    spent = set_up.server.org.used - before
    assert said.data["api_calls"] <= broken.calls
    assert spent <= said.data["api_calls"]
    assert not [secret for secret in secrets_of(set_up) if secret in said.out + said.err]


def secrets_of(set_up: SetUp) -> list[str]:
    """Everything that no output may show."""
    identity = set_up.server.org.identity
    return [
        identity.password, identity.security_token, identity.consumer_secret, "not-the-secret", "pw-of-store",
        *(set_up.server.connection("access_token")["extra"]["access_token"][:20],),
    ]  # fmt: skip


def test_clocks_that_disagree_are_told(run: Run, store_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is ten minutes ahead: by how much, what that breaks, and what to do."""
    org = SandboxOrg(start=datetime.now(UTC) - timedelta(minutes=10), speed=1.0)
    with SandboxServer(org) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(server.connection("access_token")))
        said = run("doctor", "-o", "json")
    (clock,) = [check for check in said.data["checks"] if check["name"] == "clock"]

    assert (said.code, clock["state"]) == (3, "fail")
    assert "ahead of the org's" in clock["found"]
    assert 590 <= -clock["figures"]["skew_seconds"] <= 610
    assert "JWT" in clock["means"]
    assert "NTP" in clock["fix"]


def test_a_store_that_is_not_there_is_not_made_by_looking(run: Run, org: SandboxServer, store_file: Path) -> None:
    """It would belong to whoever runs the doctor; that no snapshot was taken yet is worth a word, not a failure."""
    said = run("doctor", "-o", "json")
    checks = {check["name"]: check for check in said.data["checks"]}

    assert (said.code, checks["store"]["state"], checks["snapshots"]["state"]) == (0, "warn", "skip")
    assert not store_file.exists()
    assert run("doctor", "--fail-on", "warning").code == 3


def test_tasks_on_several_hosts_want_another_store(run: Run, set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite file beside a Celery executor would be one file on each host."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    checks = {check["name"]: check for check in run("doctor", "-o", "json").data["checks"]}

    assert checks["store"]["state"] == "warn"
    assert "PostgreSQL" in checks["store"]["fix"]


def test_an_org_that_was_not_meant_is_told(run: Run, set_up: SetUp) -> None:
    """A connection that leads elsewhere than ``--org`` says."""
    said = run("doctor", "--org", "00DSB0000000043", "-o", "json")
    (check,) = [check for check in said.data["checks"] if check["state"] == "fail"]

    assert check["name"] == "org"
    assert set_up.server.org.identity.org_id in check["found"]
