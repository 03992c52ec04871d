"""The hook: the official connection, unchanged; and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from airflow.providers.salesforce.hooks.salesforce import SalesforceHook

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.salesforce.errors import (
    AuthenticationError,
    ConfigurationError,
    MalformedAnswerError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.store.errors import StoreUnavailableError

FLOWS = [
    "access_token", "client_credentials", "jwt", "refresh_token",
    "password_soap", "password_ip", "password_oauth", "official_client_credentials", "official_jwt",
]  # fmt: skip
OFFICIAL = ["password_soap", "password_ip", "password_oauth", "official_client_credentials", "official_jwt"]


@pytest.fixture
def connect(connected: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ApiUsageHook]:
    """Makes hooks on a connection of some flow, with some of its fields changed."""

    def hook(flow: str = "client_credentials", login: Any = ..., password: Any = ..., **extra: Any) -> ApiUsageHook:
        connection = json.loads(json.dumps(connected.connection(flow)))
        if login is not ...:
            connection["login"] = login
        if password is not ...:
            connection["password"] = password
        connection["extra"].update(extra)
        monkeypatch.setenv("AIRFLOW_CONN_SF_TEST", json.dumps(connection))
        return ApiUsageHook("sf_test")

    return hook


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_works_from_an_airflow_connection(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer, flow: str
) -> None:
    """The org's id, its limits and a query through simple-salesforce, over one login."""
    hook = connect(flow)

    assert hook.get_org_id() == connected.org.identity.org_id
    assert {r.name for r in hook.get_limits()} >= {"DailyApiRequests", "DailyBulkApiBatches"}
    assert hook.get_conn().query("SELECT Id FROM Organization")["totalSize"] == 1
    assert hook.make_query("SELECT Id FROM Organization")["totalSize"] == 1
    assert hook.api_calls == 3


@pytest.mark.parametrize("flow", OFFICIAL)
def test_the_same_connection_serves_the_official_hook(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer, flow: str
) -> None:
    """What we read, the official hook reads from the very same connection: nothing has to be set up twice."""
    ours = connect(flow).make_query("SELECT Id FROM Organization")["records"]
    theirs = SalesforceHook("sf_test").make_query("SELECT Id FROM Organization")["records"]

    assert ours[0]["Id"] == theirs[0]["Id"]


def test_test_connection_says_org_and_usage(connect: Callable[..., ApiUsageHook]) -> None:
    """The test names the org and what it has used; it costs one call."""
    hook = connect()
    worked, message = hook.test_connection()

    assert worked
    assert "00DSB0000000042" in message
    assert "25,0" in message
    assert hook.api_calls == 1


def test_test_connection_tells_what_is_wrong(connect: Callable[..., ApiUsageHook]) -> None:
    """A failure is a message, not an exception, and shows no secret."""
    worked, message = connect(consumer_secret="wrong-secret").test_connection()

    assert not worked
    assert "sf_test" in message
    assert "wrong-secret" not in message


def test_a_missing_connection_names_itself_and_the_fix(store_file: Path) -> None:
    """No connection of that name: the message says which, and how to make it."""
    with pytest.raises(ConfigurationError, match=r"no connection 'nobody_made_me'.*airflow connections add"):
        ApiUsageHook("nobody_made_me").get_limits()


def test_a_missing_store_connection_names_itself(connect: Callable[..., ApiUsageHook]) -> None:
    """Likewise for the store's."""
    connect()

    with pytest.raises(ConfigurationError, match="no connection 'no_store'"):
        ApiUsageHook("sf_test", "no_store").store.orgs()


def test_blank_credentials_are_a_configuration_error(connect: Callable[..., ApiUsageHook]) -> None:
    """A form saved with blank fields has no credentials, and the message says what is missing."""
    hook = connect(consumer_key="", consumer_secret="", login="", password="")

    with pytest.raises(ConfigurationError, match="neither login and password"):
        hook.get_limits()


def test_a_token_for_another_org_is_an_authentication_error(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer
) -> None:
    """A token that the org does not know cannot be renewed; the message says where to put a new one."""
    with pytest.raises(AuthenticationError, match="access_token"):
        connect("access_token", access_token="00DAA0000000001!of-somebody-else").get_limits()


def test_a_user_without_permission_is_told_which(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer
) -> None:
    """403 on ``/limits`` names the permission."""
    connected.org.change({"limits_access": "denied"})

    with pytest.raises(PermissionDeniedError, match="View Setup and Configuration"):
        connect().get_limits()


def test_an_unreachable_org_is_unavailable(connect: Callable[..., ApiUsageHook]) -> None:
    """Nobody listens there: the error names the connection, and says so without a traceback of urllib3."""
    hook = connect("access_token", instance_url="https://localhost:1")
    hook._retries = 0

    with pytest.raises(UnavailableError, match="sf_test"):
        hook.get_limits()


@pytest.mark.parametrize(
    ("kind", "error"), [("html", MalformedAnswerError), ("truncate", UnavailableError), ("reset", UnavailableError)]
)
def test_broken_answers_are_told_apart(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer, kind: str, error: type[Exception]
) -> None:
    """HTML with status 200, JSON cut short, a connection reset: never figures, always an error of its kind."""
    hook = connect()
    hook.get_org_id()
    hook._session._sleep = lambda seconds: None
    connected.org.faults.order(Fault(kind, path="/limits"))

    with pytest.raises(error):
        hook.get_limits()


@pytest.mark.parametrize(
    ("override", "check"),
    [
        ({"DailyApiRequests": None}, lambda s: s.reading() is None and s.findings[0].severity == "error"),
        ({"DailyApiRequests": {"Max": 0, "Remaining": 0}}, lambda s: s.reading().limit == 0),
        ({"DailyApiRequests": {"Max": 100, "Remaining": -5}}, lambda s: s.reading().used == 105),
        ({"Brand New Limit": {"Max": 5, "Remaining": 3}}, lambda s: s.reading("Brand New Limit").used == 2),
    ],
)
def test_odd_limits_are_readings_or_findings(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer, override: dict[str, Any], check: Any
) -> None:
    """A missing limit, a limit of 0, one that is exceeded, one that nobody knows: nothing is lost or made up."""
    connected.org.change({"limit_overrides": override})

    assert check(connect().take_snapshot())


@pytest.mark.parametrize("version", ["48.0", "62.0"])
def test_a_renamed_limit_has_one_name(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer, version: str
) -> None:
    """``DailyBulkApiRequests`` of API 48 and older is ``DailyBulkApiBatches``."""
    assert connect(version=version).take_snapshot().reading("DailyBulkApiBatches") is not None


def test_nested_app_entries_are_no_limits_of_the_org(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer
) -> None:
    """0 of 0 for a connected app means that it has no quota of its own, not that it is exhausted."""
    connected.org.change({"limits_app_children": True})
    readings = connect().get_limits()

    assert [r for r in readings if r.scope and not r.limit] == []
    assert next(r for r in readings if r.name == "DailyApiRequests" and not r.scope).limit == 100_000


def test_a_report_that_is_not_there(connect: Callable[..., ApiUsageHook]) -> None:
    """The message says what else to try, since the standard report cannot be run everywhere."""
    with pytest.raises(NotFoundError, match="custom report"):
        connect().get_daily_usage("00OAA0000009999")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"report_row_cap": 2, "report_shape": "TABULAR", "report_filters": "refused"}, "report-truncated"),
        ({"report_locale": "de_DE"}, None),
        ({"report_columns": ["X1", "X2", "X3", "X4"]}, None),
    ],
)
def test_reports_of_all_kinds(
    connect: Callable[..., ApiUsageHook], connected: SandboxServer, change: dict[str, Any], code: str | None
) -> None:
    """A truncated report that cannot be run by day is refused; foreign labels and names are read all the same."""
    connected.org.change(change)
    usage = connect().get_daily_usage(connected.org.settings.report_id)

    if code is None:
        assert sum(c.calls for c in usage.counts if c.day.isoformat() == "2026-10-07") == 15_000
    else:
        assert usage.counts == ()
        assert [f.code for f in usage.findings if f.severity == "error"] == [code]


def test_a_csv_that_is_not_there(connect: Callable[..., ApiUsageHook]) -> None:
    """A path without a file says that it is neither a report id nor a file."""
    with pytest.raises(ConfigurationError, match=r"'/nowhere/usage\.csv' is no report id"):
        connect().get_daily_usage("/nowhere/usage.csv")


def test_connections_can_be_looked_up_without_blocking(connect: Callable[..., ApiUsageHook], store_file: Path) -> None:
    """What a trigger does first; afterwards no connection is looked up any more."""
    hook = connect()
    asyncio.run(hook.prepare())

    assert set(hook._connections) == {"sf_test"}
    assert hook.get_limits()


def test_a_users_own_session_lends_its_settings(connect: Callable[..., ApiUsageHook]) -> None:
    """A session given by the user sets proxies, TLS and headers; metering and time-outs stay."""
    connect()
    session = requests.Session()
    session.headers["X-Of-Ours"] = "1"
    session.trust_env = False
    session.verify = "/no/such/bundle.pem"
    hook = ApiUsageHook("sf_test", session=session)

    assert hook._session.headers["X-Of-Ours"] == "1"
    with pytest.raises(ConfigurationError, match=r"/no/such/bundle\.pem"):
        hook.get_limits()


def test_the_store_may_be_any_airflow_connection(
    connect: Callable[..., ApiUsageHook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sqlite connection, written either way, and the configured default lead to the same file."""
    connect()
    file = tmp_path / "somewhere.db"
    monkeypatch.setenv("AIRFLOW_CONN_STORE_JSON", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    monkeypatch.setenv("AIRFLOW_CONN_STORE_URI", f"sqlite:///{file}")
    hook = ApiUsageHook("sf_test", "STORE_JSON".lower())
    hook.store.add(hook.take_snapshot())

    assert ApiUsageHook("sf_test", "store_uri").store.orgs() == (hook.get_org_id(),)
    monkeypatch.setenv("AIRFLOW__APIUSAGE__STORE_CONN_ID", "store_json")
    assert ApiUsageHook("sf_test").store.orgs() == (hook.get_org_id(),)


def test_a_store_of_no_use_says_so(
    connect: Callable[..., ApiUsageHook], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A connection that gives no engine is a configuration error; a file that cannot be made, an unavailable store."""
    connect()
    monkeypatch.setenv("AIRFLOW_CONN_STORE_HTTP", json.dumps({"conn_type": "http", "host": "localhost"}))
    monkeypatch.setenv("AIRFLOW_CONN_STORE_LOST", json.dumps({"conn_type": "sqlite", "host": "/no/such/folder/x.db"}))

    with pytest.raises(ConfigurationError, match="gives no SQLAlchemy engine"):
        ApiUsageHook("sf_test", "store_http").store.orgs()
    with pytest.raises(StoreUnavailableError, match="/no/such/folder"):
        ApiUsageHook("sf_test", "store_lost").store.orgs()


def test_a_database_that_is_not_supported_is_refused(
    connect: Callable[..., ApiUsageHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of another kind might grant the same calls twice, so it is not tried."""
    from types import SimpleNamespace

    from sqlalchemy.dialects import mysql

    from airflow_provider_apiusage.hooks import store

    monkeypatch.setattr(store, "_engine_from", lambda connection: SimpleNamespace(dialect=mysql.dialect()))
    with pytest.raises(ConfigurationError, match="cannot be kept on mysql"):
        store.engine_of(SimpleNamespace(conn_id="store_mysql"))
