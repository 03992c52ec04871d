"""Free readings through the hook: any load feeds the store, spends nothing more, and never fails for it."""

from __future__ import annotations

import gc
import json
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from airflow.providers.salesforce.hooks.salesforce import SalesforceHook
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceError

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.hooks.free_readings import listener_for
from airflow_provider_apiusage.quota.model import Grant, QuotaRequest
from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError
from airflow_provider_apiusage.salesforce.metering import Exchange
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading
from tests.support.quota import request as request_for

OFFICIAL = ["password_soap", "password_ip", "password_oauth", "official_client_credentials", "official_jwt"]
ACCOUNTS = [{"Name": f"Account {number}"} for number in range(5)]
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def kept(connected: SandboxServer, store_file: Path) -> Callable[[], list[LimitReading]]:
    """Returns the readings of the allowance in the store, oldest first."""

    def readings() -> list[LimitReading]:
        engine = sqlite_engine(store_file)
        migrate(engine)
        org_id = connected.org.identity.org_id
        return list(UsageStore(engine).readings(org_id, API_REQUESTS, LONG_AGO, connected.org.now()))

    return readings


def query(salesforce: Salesforce) -> None:
    salesforce.query("SELECT Id FROM Organization")


def collections(salesforce: Salesforce) -> None:
    records = [{"attributes": {"type": "Account"}, **account} for account in ACCOUNTS]
    salesforce.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": records})


def bulk_1(salesforce: Salesforce) -> None:
    assert salesforce.bulk.Account.insert(ACCOUNTS)[0]["success"]


def bulk_2(salesforce: Salesforce) -> None:
    assert salesforce.bulk2.Account.insert(records=ACCOUNTS, wait=0)[0]["numberRecordsProcessed"] == 5


def error(salesforce: Salesforce) -> None:
    with pytest.raises(SalesforceError, match="INVALID_TYPE"):
        salesforce.query("SELECT Id FROM Nothing__x")


LOADS = [query, collections, bulk_1, bulk_2, error]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("headers", [True, False])
def test_a_load_feeds_the_store_and_spends_nothing_more(
    connected: SandboxServer,
    kept: Callable[[], list[LimitReading]],
    load: Callable[[Salesforce], None],
    headers: bool,
) -> None:
    """REST, Collections, Bulk 1.0 and 2.0, an error: the last answer is in the store, if it said anything."""
    changes = dict.fromkeys(["limit_header_on_errors", "limit_header_on_bulk_1", "limit_header_on_bulk_2"], headers)
    connected.org.change({**changes, **({} if headers else {"limit_header": "garbage"})})
    used = connected.org.used
    with ApiUsageHook(keep_readings=False) as deaf:
        load(deaf.conn)
    alone = connected.org.used - used
    assert kept() == []

    with ApiUsageHook() as hook:
        load(hook.conn)

    assert connected.org.used - used - alone == hook.api_calls == alone
    readings = kept()
    assert [r.used for r in readings[-1:]] == [connected.org.reported] * headers
    assert {(r.source, r.limit, r.observed_at) for r in readings} <= {("header", 100_000, connected.org.now())}


def test_a_used_up_allowance_is_a_reading(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """A load that is refused tells every gate that nothing is left, and spends no call for that."""
    connected.org.change({"limit_header_on_errors": False})
    with ApiUsageHook() as hook:
        query(hook.conn)
        connected.org.change({"hard_limit": 20_000})
        with pytest.raises(SalesforceError, match="TotalRequests"):
            query(hook.conn)

    assert [(r.source, r.remaining) for r in kept()] == [("header", 74_999), ("exhausted", 0)]


def test_a_gate_after_a_load_spends_no_call(connected: SandboxServer) -> None:
    """What the load's answers said is fresh enough for the gate; without a load it has to ask."""
    asked: QuotaRequest = request_for("a", 30_000, datetime.now(UTC), org_id=connected.org.identity.org_id)
    with ApiUsageHook() as hook:
        query(hook.conn)
    gate = ApiUsageHook()
    decision = gate.gate(timedelta(minutes=1)).turn(asked)

    assert isinstance(decision, Grant)
    assert decision.figures[0].remaining == 74_999
    assert gate.api_calls == 0


def test_a_gate_without_a_load_asks_the_org(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """The counterpart; and the answer of ``/limits`` is kept once, by the gate, not as a header besides."""
    asked = request_for("a", 30_000, datetime.now(UTC), org_id=connected.org.identity.org_id)
    with ApiUsageHook() as gate:
        assert isinstance(gate.gate(timedelta(minutes=1)).turn(asked), Grant)

    assert gate.api_calls == 1
    assert [r.source for r in kept()] == ["limits"]


def test_a_refused_reading_is_kept_once(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """Whoever reads the limits and is refused keeps that; the session adds nothing."""
    connected.org.faults.order(Fault("exhausted", path="/limits"))
    with ApiUsageHook() as hook, pytest.raises(AllowanceExhaustedError):
        hook.get_limits()

    assert kept() == []


@pytest.mark.parametrize("flow", OFFICIAL)
def test_the_official_hook_on_our_session(
    connected: SandboxServer,
    kept: Callable[[], list[LimitReading]],
    monkeypatch: pytest.MonkeyPatch,
    flow: str,
) -> None:
    """``SalesforceHook`` logs in by itself, whichever way, and all it does is heard: REST, Bulk 1.0 and 2.0."""
    monkeypatch.setenv("AIRFLOW_CONN_SF_TEST", json.dumps(connected.connection(flow)))
    connected.org.change({"limit_header_on_bulk_1": True})
    used = connected.org.used
    for load in (query, bulk_1, bulk_2):
        load(SalesforceHook("sf_test").get_conn())
    alone = connected.org.used - used
    assert kept() == []

    with ApiUsageHook("sf_test").metered_session() as session:
        hook = SalesforceHook("sf_test", session=session)
        for seen, load in enumerate((query, bulk_1, bulk_2)):
            load(hook.get_conn())
            session.close()
            readings = kept()
            assert len(readings) > seen
            assert readings[-1].used == connected.org.reported

    assert connected.org.used - used - alone == alone


def test_plain_code_on_our_session(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """simple-salesforce and requests, without any hook of Airflow's."""
    token = connected.connection("access_token")["extra"]["access_token"]
    with ApiUsageHook().metered_session() as session:
        query(Salesforce(instance_url=connected.url, session_id=token, session=session))
        session.close()
        assert [r.used for r in kept()] == [connected.org.reported]
        session.get(f"{connected.url}/services/data/v62.0/sobjects", headers={"Authorization": f"Bearer {token}"})

    assert [r.used for r in kept()] == [connected.org.reported - 1, connected.org.reported]


def test_another_host_is_not_this_org(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """What an answer of some other server says is nothing about this org."""
    with SandboxServer(type(connected.org)()) as elsewhere, ApiUsageHook() as hook:
        elsewhere.org.change({"session_id_style": "opaque"})
        token = elsewhere.connection("access_token")["extra"]["access_token"]
        answer = hook.conn.session.get(
            f"{elsewhere.url}/services/data/v62.0/sobjects",
            headers={"Authorization": f"Bearer {token}"},
            verify=str(elsewhere.ca_file),
        )
        assert answer.headers["Sforce-Limit-Info"] == "api-usage=1/100000"
        query(hook.conn)

    assert [r.used for r in kept()] == [connected.org.reported]


def test_an_opaque_token_costs_no_call(
    connected: SandboxServer, kept: Callable[[], list[LimitReading]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the id would cost a call, nobody asks; once the hook has learnt it, what was held is kept."""
    connected.org.change({"session_id_style": "opaque"})
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connected.connection("access_token")))
    used = connected.org.used
    with ApiUsageHook() as hook:
        query(hook.conn)
        hook.close()
        assert connected.org.used - used == 1
        assert kept() == []

        hook.get_org_id()

    assert connected.org.used - used == 2
    assert [r.used for r in kept()] == [used + 2]


def test_limits_teach_the_id_too(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """Reading the limits has to learn the id anyway."""
    connected.org.change({"session_id_style": "opaque"})
    with ApiUsageHook() as hook:
        query(hook.conn)
        hook.get_limits()

    assert [r.source for r in kept()] == ["header"]


def test_the_id_of_an_opaque_org_may_be_given(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """Code that logs in by itself can say which org it is."""
    connected.org.change({"session_id_style": "opaque"})
    token = connected.connection("access_token")["extra"]["access_token"]
    with ApiUsageHook().metered_session(org_id=f"{connected.org.identity.org_id}AAA") as session:
        query(Salesforce(instance_url=connected.url, session_id=token, session=session))

    assert [r.used for r in kept()] == [connected.org.reported]


def test_many_threads_on_one_hook(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """8 threads of 50 calls: each is counted once, few are kept, each of these was said, the last is the latest."""
    used = connected.org.used
    said: dict[datetime, str | None] = {}
    with ApiUsageHook() as hook:
        salesforce, readings = hook.conn, hook._readings
        assert readings is not None
        listen = hook._session._meter._listener

        def hear(exchange: Any) -> None:
            said[exchange.received_at] = exchange.limit_info
            listen(exchange)

        hook._session._meter._listener = hear
        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(lambda: [query(salesforce) for _ in range(50)]) for _ in range(8)]:
                done.result()

    assert connected.org.used - used == hook.api_calls == len(said) == 400
    rows = kept()
    assert [said[r.received_at] for r in rows] == [f"api-usage={r.used}/100000" for r in rows]
    assert rows[-1].received_at == max(said)
    assert 2 <= len(rows) == readings.kept <= 10


def test_a_hook_that_nobody_closes(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """When the garbage collector takes it, its last reading is kept, and its thread ends."""
    hook = ApiUsageHook()
    query(hook.conn)
    query(hook.conn)
    readings = hook._readings
    assert readings is not None
    del hook
    gc.collect()
    with readings._changed:
        assert readings._changed.wait_for(lambda: readings._ended and readings._writer is None, 10)

    assert kept()[-1].used == connected.org.reported


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ({"conn_type": "sqlite", "host": "/nowhere/at/all.db"}, "/nowhere/at/all.db"),
        ({"conn_type": "postgres", "host": "localhost", "port": 1, "password": "wrong-secret"}, "localhost"),
        ({"conn_type": "http"}, "store_test"),
        (None, "no connection 'store_test'"),
    ],
)
def test_a_store_that_is_down_breaks_no_load(
    connected: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    store: dict[str, Any] | None,
    told: str,
) -> None:
    """No folder, no server, no database at all, no connection: the load goes on; one warning names the store."""
    if store is not None:
        monkeypatch.setenv("AIRFLOW_CONN_STORE_TEST", json.dumps(store))
    caplog.set_level(logging.WARNING)
    with ApiUsageHook(store_conn_id="store_test") as hook:
        for _ in range(3):
            query(hook.conn)

    assert hook.api_calls == 3
    assert hook._readings is not None
    assert (hook._readings.kept, hook._readings.failures > 0) == (0, True)
    warnings = [record.getMessage() for record in caplog.records if "header_readings" in record.name]
    assert len(warnings) == 1
    assert told in warnings[0]
    assert "wrong-secret" not in warnings[0]


def test_a_failure_nobody_foresaw_shows_its_kind_only(caplog: pytest.LogCaptureFixture) -> None:
    """A secrets backend that breaks may say anything; the warning says what kind of failure it is, and what to do."""

    def find() -> Any:
        raise RuntimeError("postgres://apiusage:wrong-secret@localhost")

    readings = listener_for(find, timedelta(minutes=1))
    readings.org_is("00DAA0000000001")
    now = datetime.now(UTC)
    path = "/services/data/v62.0/query"
    readings(Exchange("GET", "acme", path, 200, True, now, now, dated=True, limit_info="api-usage=1/5"))
    assert not readings.flush()

    assert "RuntimeError" in caplog.text
    assert "store_conn_id" in caplog.text
    assert "wrong-secret" not in caplog.text


def test_a_busy_store_holds_no_load_up(
    connected: SandboxServer, store_file: Path, kept: Callable[[], list[LimitReading]]
) -> None:
    """While somebody else holds the write lock, calls go on; once it is free, the newest reading is kept."""
    assert kept() == []
    hook = ApiUsageHook()
    assert hook._readings is not None
    with closing(sqlite3.connect(store_file)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            query(hook.conn)
        assert not hook._readings.flush(timeout=0.1)
        assert kept() == []
        other.rollback()
    assert hook._readings.flush(timeout=20)

    assert kept()[-1].used == connected.org.reported


def test_a_streamed_answer_is_heard(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """Large downloads are streamed; their header counts, and their body is left alone."""
    with ApiUsageHook() as hook:
        session, token = hook.conn.session, hook.conn.session_id
        response: requests.Response = session.get(
            f"{connected.url}/services/data/v62.0/sobjects", headers={"Authorization": f"Bearer {token}"}, stream=True
        )
        with closing(response):
            assert "sobjects" in json.loads(response.raw.read(decode_content=True))

    assert [r.used for r in kept()] == [connected.org.reported]


@pytest.mark.parametrize("wrong", [timedelta(seconds=-1), 60, "1m", None])
def test_a_wrong_interval_names_itself(wrong: Any) -> None:
    """Only yes, no, or a duration."""
    with pytest.raises(ValueError, match="keep_readings"):
        ApiUsageHook(keep_readings=wrong)


def test_every_answer_can_be_kept(connected: SandboxServer, kept: Callable[[], list[LimitReading]]) -> None:
    """An interval of zero keeps each one that the store is fast enough for."""
    with ApiUsageHook(keep_readings=timedelta(0)) as hook:
        for _ in range(3):
            query(hook.conn)
            assert hook._readings is not None
            assert hook._readings.flush()

    assert len(kept()) == 3


def test_a_hook_that_was_never_used_closes(store_file: Path) -> None:
    """Closing it looks nothing up and opens nothing."""
    with ApiUsageHook("nobody_made_me"):
        pass

    assert not store_file.exists()
