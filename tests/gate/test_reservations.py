"""Reservations without Airflow: a script draws from what it was granted, tops it up, and gives it back."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from airflow_provider_apiusage import gate_knowledge
from airflow_provider_apiusage.gate_knowledge import Foreseen
from airflow_provider_apiusage.quota.model import LeaseState, Reservation
from airflow_provider_apiusage.quota.wire import reservation_to_json
from airflow_provider_apiusage.reservations import extend, metered_load, open_ledger, release, topping_up
from airflow_provider_apiusage.salesforce.spending import OverspentError
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.store.background_draws import BackgroundDraws
from airflow_provider_apiusage.store.engine import sqlite_engine
from airflow_provider_apiusage.store.errors import StoreUnavailableError
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.contracts.test_quota_ledger import grant
from tests.support.quota import BATCHES, ORG, reading, request

CALLS = {API_REQUESTS: 1_000}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store of this test alone."""
    return tmp_path / "apiusage.db"


@pytest.fixture
def held(file: Path) -> Reservation:
    """A reservation of 1,000 calls, granted now, while nothing is used."""
    now = datetime.now(UTC)
    ledger = open_ledger(file)
    UsageStore(ledger._engine).add_readings([reading(0, now)])
    return grant(ledger, request("a", CALLS, now), now)


@pytest.mark.parametrize("form", [str, Path, sqlite_engine, lambda file: f"sqlite:///{file}"])
def test_a_script_releases_by_the_store_alone(file: Path, held: Reservation, form: Callable[[Path], object]) -> None:
    """Path, text, engine or URL; all of it or a part; the sensor's return value or the id."""
    store = form(file)
    part = release(reservation_to_json(held), store, calls={API_REQUESTS: 400})  # type: ignore[arg-type]
    whole = release(held.reservation_id, store)  # type: ignore[arg-type]
    again = release(held.reservation_id, store)  # type: ignore[arg-type]

    assert part is not None
    assert (part.released, part.given_back) == (False, {API_REQUESTS: 400})
    assert whole is not None
    assert (whole.released, whole.state) == (True, LeaseState.RELEASED)
    assert again is not None
    assert (again.released, again.state) == (False, LeaseState.RELEASED)


def test_what_there_is_none_of(file: Path, held: Reservation) -> None:
    """A gate that never opened leaves nothing to release; an id that the store does not know is a mistake."""
    assert release(None, file) is None
    with pytest.raises(ValueError, match="no reservation 'of-nobody'"):
        release("of-nobody", file)
    with pytest.raises(ValueError, match="no reservation ''"):
        extend(None, CALLS, file)
    with pytest.raises(ValueError, match="There is no reservation"), metered_load(None, file):
        pass
    with pytest.raises(ValueError, match="on_overspend='explode'"), metered_load(held, file, on_overspend="explode"):
        pass


def test_a_script_asks_for_more(file: Path, held: Reservation) -> None:
    """As a hook does."""
    assert extend(held.reservation_id, {API_REQUESTS: 500}, file).held == {API_REQUESTS: 1_500}
    assert not extend(held.reservation_id, {API_REQUESTS: 99_000}, file).extended


def test_a_block_counts_draws_and_gives_the_rest_back(file: Path, held: Reservation) -> None:
    """What the script says that it has spent; any limit."""
    with metered_load(held.reservation_id, file) as load:
        for _ in range(3):
            load.add({API_REQUESTS: 100, BATCHES: 1})

    ledger = open_ledger(file)
    [run] = ledger.past_runs(ORG, held.holder.dag_id, held.holder.task_id)
    assert {name: run.spent[name] for name in (API_REQUESTS, BATCHES)} == {API_REQUESTS: 300, BATCHES: 3}
    assert run.finished
    assert ledger.reservations(ORG, datetime.now(UTC)) == ()
    with ledger.turn(ORG) as turn:
        assert turn.outstanding({}, [API_REQUESTS], datetime.now(UTC)) == {API_REQUESTS: 300}


def test_a_block_that_fails_says_so_and_may_keep_its_reservation(file: Path, held: Reservation) -> None:
    """The next try goes on with what is left; the run counts as one that did not get to its end."""

    def fail() -> None:
        with metered_load(held.reservation_id, file, keep=True) as load:
            load.add({API_REQUESTS: 100})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    ledger = open_ledger(file)
    assert [each.reservation_id for each in ledger.reservations(ORG, datetime.now(UTC))] == [held.reservation_id]
    outcome = ledger.release(held.reservation_id, datetime.now(UTC))
    assert outcome is not None
    assert outcome.given_back == {API_REQUESTS: 900}
    assert [run.finished for run in ledger.past_runs(ORG, held.holder.dag_id, held.holder.task_id)] == [False]


def test_a_session_is_counted_by_itself(sandbox: SandboxServer, file: Path, held: Reservation) -> None:
    """Any ``requests`` session; what does not count is not counted; the call that would be too many is not sent."""
    token = sandbox.connection("access_token")["extra"]["access_token"]
    release(held.reservation_id, file, calls={API_REQUESTS: 998})
    used = sandbox.org.used
    reservation = {**reservation_to_json(held), "needs": {API_REQUESTS: 2}}
    loads = []

    def run() -> None:
        with (
            requests.Session() as session,
            metered_load(reservation, file, session, on_overspend="fail", connection="nightly") as load,
        ):
            loads.append(load)
            session.headers["Authorization"] = f"Bearer {token}"
            session.get(f"{sandbox.url}/services/data/")
            for _ in range(3):
                assert session.get(f"{sandbox.url}/services/data/v62.0/sobjects").ok

    with pytest.raises(OverspentError, match=r"granted 2 DailyApiRequests; 2 are spent.*connection 'nightly'"):
        run()

    assert sandbox.org.used - used == loads[0].totals[API_REQUESTS] == 2


def test_a_store_that_goes_away_ends_no_block(
    file: Path, held: Reservation, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Nothing is drawn and nothing released: it lapses by itself, and the log says so."""
    caplog.set_level(logging.WARNING)
    with metered_load(held.reservation_id, tmp_path / "nowhere" / "apiusage.db") as load:
        load.add({API_REQUESTS: 10})

    assert "all that it was granted stays reserved" in caplog.text
    assert "lapses by itself" in caplog.text
    assert len(open_ledger(file).reservations(ORG, datetime.now(UTC))) == 1


def test_a_total_that_the_store_refused_is_told_again(file: Path, held: Reservation) -> None:
    """A store that comes back gets the later total; failures are counted."""
    there = open_ledger(file)
    asked: list[bool] = []

    def find() -> QuotaLedger:
        asked.append(True)
        if len(asked) < 3:
            raise StoreUnavailableError("The store is away.", "test", "Wait.")
        return there

    spent = {API_REQUESTS: 5}
    draws = BackgroundDraws(
        find,
        held.reservation_id,
        lambda: spent,
        told=lambda _drawn, _told: None,
        extended=lambda _outcome: None,
        every=datetime.resolution,
    )
    draws.touch()
    with draws._changed:
        assert draws._changed.wait_for(lambda: draws.told == spent, 10)

    assert draws.failures == 2
    assert draws.close()


def test_nothing_of_it_needs_airflow() -> None:
    """A script that has no Airflow at all imports it."""
    probe = "import sys; import airflow_provider_apiusage.reservations; print('airflow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert run.stdout == "False\n"


def test_more_is_granted_by_what_the_gate_knows(file: Path, held: Reservation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The past is carried on into the next day for a top-up as for a request."""
    asked: list[str] = []

    def foresee(store: UsageStore, org_id: str, now: datetime) -> Foreseen:
        asked.append(org_id)
        return gate_knowledge.foresee(store, org_id, now)

    monkeypatch.setattr(topping_up, "foresee", foresee)
    outcome = topping_up.top_up(open_ledger(file), held.reservation_id, {API_REQUESTS: 500}, datetime.now(UTC))

    assert outcome is not None
    assert outcome.extended
    assert asked == [ORG]
    assert "too little is known of the past to see a peak ahead" in outcome.reason
