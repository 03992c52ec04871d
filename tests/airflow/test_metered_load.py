"""Metered loads through the hook: what simple-salesforce really spends is drawn from the reservation as it goes."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from simple_salesforce import Salesforce

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.quota.drawing import draws_from_json
from airflow_provider_apiusage.quota.model import Grant, LeaseState
from airflow_provider_apiusage.quota.wire import reservation_to_json
from airflow_provider_apiusage.reservations.load import MeteredLoad
from airflow_provider_apiusage.salesforce.spending import OverspentError
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.usage.cost import BULK_BATCHES, BULK_QUERY_JOBS
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.support.quota import request as request_for

Granted = Callable[..., dict[str, Any]]
ACCOUNTS = [{"Name": f"Account {number}"} for number in range(25)]


@pytest.fixture
def ledger(store_file: Path) -> QuotaLedger:
    """The ledger of the test's store."""
    engine = sqlite_engine(store_file)
    migrate(engine)
    return QuotaLedger(engine)


@pytest.fixture
def granted(connected: SandboxServer) -> Granted:
    """Goes through the gate, and returns what the sensor would."""

    def grant(needs: int | dict[str, int] = 100, **terms: Any) -> dict[str, Any]:
        asked = request_for("a", needs, datetime.now(UTC), org_id=connected.org.identity.org_id, **terms)
        with ApiUsageHook() as hook:
            decision = hook.gate(timedelta(minutes=5)).turn(asked)
        assert isinstance(decision, Grant), decision
        return reservation_to_json(decision.reservation)

    return grant


def lease_row(store_file: Path, reservation: dict[str, Any]) -> dict[str, Any]:
    """Return what the store knows of a reservation."""
    with closing(sqlite3.connect(store_file)) as connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT * FROM apiusage_lease WHERE reservation_id = ?"
        row = dict(connection.execute(query, (reservation["reservation_id"],)).fetchone())
    return {name: json.loads(row[name] or "null") if name in ("spent", "draws", "held") else row[name] for name in row}


def query(salesforce: Salesforce) -> None:
    salesforce.query("SELECT Id FROM Organization")


def rest(salesforce: Salesforce) -> None:
    for account in ACCOUNTS[:7]:
        salesforce.Account.create(account)


def bulk_1(salesforce: Salesforce) -> None:
    assert len(salesforce.bulk.Account.insert(ACCOUNTS, batch_size=10)) == 25


def bulk_2(salesforce: Salesforce) -> None:
    jobs = salesforce.bulk2.Account.insert(records=ACCOUNTS, batch_size=13, wait=0)
    assert [job["numberRecordsProcessed"] for job in jobs] == [13, 12]


def bulk_2_query(salesforce: Salesforce) -> None:
    assert list(salesforce.bulk2.Account.query("SELECT Id FROM Account", wait=0))


@pytest.mark.parametrize("load", [query, rest, bulk_1, bulk_2, bulk_2_query])
def test_what_a_load_spends_is_what_the_org_counts(
    connected: SandboxServer, granted: Granted, store_file: Path, load: Callable[[Salesforce], None]
) -> None:
    """Calls, batches and query jobs, by the org's own count; the store knows them when the hook is closed."""
    reservation = granted({API_REQUESTS: 100, BULK_BATCHES: 10, BULK_QUERY_JOBS: 1})
    org = connected.org

    def used() -> dict[str, int]:
        return {
            API_REQUESTS: org.used,
            BULK_BATCHES: org.used_in_window("bulk_batches"),
            BULK_QUERY_JOBS: org.used_in_window("bulk_query_jobs"),
        }

    before = used()
    with ApiUsageHook(reservation=reservation) as hook:
        load(hook.conn)

    spent = {name: number - before[name] for name, number in used().items()}
    assert spent[API_REQUESTS] > 0
    assert hook.spent == spent
    assert hook.api_calls == spent[API_REQUESTS]
    row = lease_row(store_file, reservation)
    assert row["spent"] == spent
    assert draws_from_json(row["draws"]).closed


def test_without_a_reservation_it_is_counted_and_nothing_else(
    connected: SandboxServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What a gate that did not open returned is none; the hook says what it spent."""
    caplog.set_level(logging.WARNING)
    for nothing in (None, "", "None", {"reservation_id": None}):
        with ApiUsageHook(reservation=nothing) as hook:
            query(hook.conn)
        assert hook.spent == {API_REQUESTS: 1, BULK_BATCHES: 0, BULK_QUERY_JOBS: 0}

    assert [record for record in caplog.records if "apiusage" in record.name] == []


@pytest.mark.parametrize(("need", "given_back"), [(21, 14), (7, 0), (2, 0)], ids=["3x too much", "right", "3x too few"])
def test_estimates_wrong_by_three(
    granted: Granted, ledger: QuotaLedger, caplog: pytest.LogCaptureFixture, need: int, given_back: int
) -> None:
    """Seven calls: what is left comes back at once; what is too much is told once, and is outstanding as well."""
    caplog.set_level(logging.WARNING)
    reservation = granted(need)
    with ApiUsageHook(reservation=reservation) as hook:
        rest(hook.conn)

    released = ApiQuotaReleaseOperator(task_id="release", reservation=reservation).execute({})  # type: ignore[arg-type]

    assert released["spent"][API_REQUESTS] == 7
    assert (released["given_back"] or {}).get(API_REQUESTS, 0) == given_back
    warnings = [record.getMessage() for record in caplog.records if "more than reservation" in record.getMessage()]
    assert len(warnings) == (need < 7)
    assert all("3 of 2 DailyApiRequests" in warning for warning in warnings)
    with ledger.turn(reservation["org_id"]) as turn:
        outstanding = turn.outstanding({}, [API_REQUESTS], datetime.now(UTC))
    assert outstanding == {API_REQUESTS: 7}
    [run] = ledger.past_runs(reservation["org_id"], "salesforce_load", "gate")
    assert (run.estimated, run.spent[API_REQUESTS], run.finished) == ({API_REQUESTS: need}, 7, True)


def test_fail_stops_before_the_call_is_sent(connected: SandboxServer, granted: Granted, ledger: QuotaLedger) -> None:
    """The org sees as many calls as were granted, and not one more; the message names all that is needed."""
    reservation = granted(3)
    used = connected.org.used
    hook = ApiUsageHook(reservation=reservation, on_overspend="fail")
    with pytest.raises(OverspentError) as failed, hook:
        rest(hook.conn)

    assert connected.org.used - used == hook.spent[API_REQUESTS] == 3
    assert failed.value.kind == "overspent"
    for part in (reservation["reservation_id"], "granted 3 DailyApiRequests", "3 are spent", "salesforce_default"):
        assert part in str(failed.value)
    assert "on_overspend='extend'" in failed.value.advice
    ledger.release(reservation["reservation_id"], datetime.now(UTC))
    assert [run.finished for run in ledger.past_runs(reservation["org_id"], "salesforce_load", "gate")] == [False]


def test_fail_knows_bulk_batches_too(connected: SandboxServer, granted: Granted) -> None:
    """The batch that would be too many is not sent."""
    reservation = granted({API_REQUESTS: 100, BULK_BATCHES: 2})
    with (
        pytest.raises(OverspentError, match="granted 2 DailyBulkApiBatches"),
        ApiUsageHook(reservation=reservation, on_overspend="fail") as hook,
    ):
        bulk_1(hook.conn)

    assert connected.org.used_in_window("bulk_batches") == 2


def test_extend_adds_the_same_again(granted: Granted, store_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the background; the reservation holds twice as much, and nothing is warned of."""
    caplog.set_level(logging.INFO)
    reservation = granted(4)
    with ApiUsageHook(reservation=reservation, on_overspend="extend") as hook:
        rest(hook.conn)

    row = lease_row(store_file, reservation)
    assert row["held"] == {API_REQUESTS: 8}
    told = [record for record in caplog.records if record.name.endswith("reservations.load")]
    assert [record.levelname for record in told] == ["INFO"]
    assert "was extended; it holds 8 DailyApiRequests" in told[0].getMessage()


def test_extend_that_is_refused_is_told_once(
    connected: SandboxServer, granted: Granted, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is left for it: the load goes on, and the log says why there is no more."""
    caplog.set_level(logging.INFO)
    reservation = granted(4, reserve=74_994)
    with ApiUsageHook(reservation=reservation, on_overspend="extend") as hook:
        rest(hook.conn)

    assert lease_row(store_file, reservation)["held"] is None
    [told] = [record for record in caplog.records if record.name.endswith("reservations.load")]
    assert told.levelname == "WARNING"
    assert "no more for it now; it goes on. DailyApiRequests: 4 needed" in told.getMessage()


def test_a_wrong_on_overspend_names_itself() -> None:
    """Only the three."""
    with pytest.raises(ValueError, match="on_overspend='explode'"):
        ApiUsageHook(on_overspend="explode")


def test_two_loads_on_one_reservation_know_of_each_other(granted: Granted, ledger: QuotaLedger) -> None:
    """The second one hears what the first has spent, and stops when both together reach the grant."""
    reservation = granted(10)
    with ApiUsageHook(reservation=reservation) as first:
        rest(first.conn)
    second = ApiUsageHook(reservation=reservation, on_overspend="fail")
    load = second._spending
    assert isinstance(load, MeteredLoad)
    assert load._draws is not None
    with load._draws._changed:
        assert load._draws._changed.wait_for(lambda: load._draws is not None and load._draws.told, 10)
    with pytest.raises(OverspentError, match="granted 10 DailyApiRequests; 10 are spent"), second:
        rest(second.conn)

    assert second.spent[API_REQUESTS] == 3


def test_a_hook_that_goes_on_after_it_was_closed_counts_on(granted: Granted, store_file: Path) -> None:
    """Each part is drawn once."""
    reservation = granted(100)
    hook = ApiUsageHook(reservation=reservation)
    for _ in range(3):
        query(hook.conn)
        hook.close()
    hook.close()

    row = lease_row(store_file, reservation)
    assert row["spent"][API_REQUESTS] == hook.spent[API_REQUESTS] == 3
    assert draws_from_json(row["draws"]).closed


def test_a_load_that_made_no_call_gives_all_back(granted: Granted, ledger: QuotaLedger) -> None:
    """A closed hook that was never used is known to have spent nothing."""
    reservation = granted(100)
    with ApiUsageHook(reservation=reservation):
        pass
    released = ledger.release(reservation["reservation_id"], datetime.now(UTC))

    assert released is not None
    assert released.given_back == {API_REQUESTS: 100}


def test_a_hook_that_nobody_closes_tells_its_total(granted: Granted, store_file: Path) -> None:
    """When the garbage collector takes it."""
    reservation = granted(100)
    hook = ApiUsageHook(reservation=reservation)
    query(hook.conn)
    load = hook._spending
    assert isinstance(load, MeteredLoad)
    draws = load._draws
    assert draws is not None
    del hook, load
    gc.collect()
    with draws._changed:
        assert draws._changed.wait_for(lambda: draws.written, 10)

    row = lease_row(store_file, reservation)
    assert row["spent"][API_REQUESTS] == 1
    assert draws_from_json(row["draws"]).closed


def test_a_store_that_is_away_for_a_while_gets_the_total_later(granted: Granted, store_file: Path) -> None:
    """Calls go on at once while somebody holds the write lock; the total is there when the load is closed."""
    reservation = granted(100)
    hook = ApiUsageHook(reservation=reservation)
    query(hook.conn)
    with closing(sqlite3.connect(store_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = datetime.now(UTC)
        rest(hook.conn)
        assert datetime.now(UTC) - began < timedelta(seconds=5)
        other.execute("ROLLBACK")
    hook.close()

    assert lease_row(store_file, reservation)["spent"][API_REQUESTS] == 8


@pytest.mark.parametrize(
    "store",
    [
        {"conn_type": "sqlite", "host": "/nowhere/at/all.db"},
        {"conn_type": "postgres", "host": "localhost", "port": 1, "password": "wrong-secret"},
        None,
    ],
)
def test_a_store_that_is_gone_fails_no_load(
    granted: Granted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, store: dict[str, Any] | None
) -> None:
    """The load goes on; what it means is told, and no secret with it."""
    reservation = granted(2)
    if store is not None:
        monkeypatch.setenv("AIRFLOW_CONN_STORE_TEST", json.dumps(store))
    caplog.set_level(logging.WARNING)
    with ApiUsageHook(store_conn_id="store_test", reservation=reservation, keep_readings=False) as hook:
        rest(hook.conn)

    assert hook.spent[API_REQUESTS] == 7
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if "cannot be drawn from reservation" in text]
    assert [text for text in told if "stays outstanding" in text]
    assert "wrong-secret" not in caplog.text


def test_a_reservation_of_another_store_is_told(granted: Granted, caplog: pytest.LogCaptureFixture) -> None:
    """The load goes on, and the log says what to look at."""
    caplog.set_level(logging.WARNING)
    granted(2)
    with ApiUsageHook(reservation="of-nobody") as hook:
        query(hook.conn)

    assert "knows no reservation 'of-nobody'" in caplog.text
    assert "store_conn_id" in caplog.text


def test_a_load_that_outlived_its_reservation_is_told(
    granted: Granted, ledger: QuotaLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """Others may be granted what it still spends."""
    caplog.set_level(logging.WARNING)
    reservation = granted(10)
    ledger.release(reservation["reservation_id"], datetime.now(UTC))
    with ApiUsageHook(reservation=reservation) as hook:
        query(hook.conn)

    assert [r for r in caplog.records if "has ended, though its load still runs" in r.getMessage()]


KILLED = """
import sys
from airflow_provider_apiusage.hooks import store
from pathlib import Path
store.default_path = lambda: Path(sys.argv[1])
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
hook = ApiUsageHook(reservation=sys.argv[2])
hook.conn.query("SELECT Id FROM Organization")
draws = hook._spending._draws
with draws._changed:
    assert draws._changed.wait_for(lambda: draws.told.get("DailyApiRequests"), 30)
print("drawn", flush=True)
while True:
    hook.conn.query("SELECT Id FROM Organization")
"""


def test_a_load_that_is_killed_lapses(
    connected: SandboxServer, granted: Granted, ledger: QuotaLedger, store_file: Path
) -> None:
    """What it had drawn is known; the rest stays reserved until its lease is over, and may have been spent."""
    reservation = granted(1_000_000 // 20)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(store_file), reservation["reservation_id"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert "drawn\n" in lines
        os.kill(process.pid, signal.SIGKILL)

    row = lease_row(store_file, reservation)
    draws = draws_from_json(row["draws"])
    assert 1 <= draws.spent[API_REQUESTS] <= connected.org.used
    assert not draws.closed
    held_until = datetime.fromisoformat(row["held_until"])
    assert held_until > datetime.fromisoformat(reservation["held_until"])
    with ledger.turn(reservation["org_id"]) as turn:
        turn.lapse(held_until)
        assert turn.outstanding({}, [API_REQUESTS], held_until) == {API_REQUESTS: 50_000}
    released = ledger.release(reservation["reservation_id"], held_until)
    assert released is not None
    assert (released.released, released.state, released.given_back) == (False, LeaseState.LAPSED, None)
