"""A turn is alone with its org, and its work does not grow with what is history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import URL, Engine, event, insert, select, text

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Wait
from airflow_provider_apiusage.store import usage_store
from airflow_provider_apiusage.store.engine import looking, migrate, sqlite_engine, writing
from airflow_provider_apiusage.store.errors import StoreUnavailableError
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.schema import lease
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.contracts.conftest import open_engine
from tests.support.postgres import fresh_database
from tests.support.quota import NOW, ORG, holder, minutes, reading, request


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Another thread."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def done_or_waiting(engine: Engine, task: Future[Any]) -> bool:
    """Look until the other thread is done, or stands at a lock; tell whether it is done."""
    at_lock = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not task.done():
        with engine.connect() as connection:
            if connection.execute(at_lock).scalar_one():
                return False
    return True


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_turn_that_had_to_wait_sees_what_the_one_before_it_granted(
    postgres: URL, thread: ThreadPoolExecutor, isolation: str
) -> None:
    """Whatever isolation the database gives by default: who comes second looks at what is true then."""

    def second() -> dict[str, int]:
        with ledger.turn(ORG) as turn:
            return turn.outstanding({}, [API_REQUESTS], NOW)

    with fresh_database(postgres, default_transaction_isolation=isolation) as url:
        engine = open_engine(url)
        migrate(engine)
        ledger = QuotaLedger(engine)
        with ledger.turn(ORG):
            pass  # the org is known
        with ledger.turn(ORG) as first:
            task = thread.submit(second)
            assert not done_or_waiting(engine, task)
            first.join(request("a", 60_000), NOW, NOW + minutes(15))
            first.grant(request("a", 60_000), NOW)

        assert task.result(60) == {API_REQUESTS: 60_000}


def test_what_a_turn_has_read_is_not_released_meanwhile(postgres: URL, thread: ThreadPoolExecutor) -> None:
    """A reservation that a turn renews for its holder cannot be given back in the middle of that turn."""
    with fresh_database(postgres) as url:
        engine = open_engine(url)
        migrate(engine)
        ledger = QuotaLedger(engine)
        with ledger.turn(ORG) as turn:
            turn.join(request("a"), NOW, NOW + minutes(15))
            held = turn.grant(request("a"), NOW)
        with ledger.turn(ORG) as turn:
            assert turn.queue() == ()
            task = thread.submit(ledger.release, held.reservation_id, NOW)
            assert not done_or_waiting(engine, task)
            assert turn.join(request("a"), NOW, NOW + minutes(15)) == held

        released = task.result(60)
        assert released is not None
        assert released.released


def test_a_turn_that_hangs_holds_up_nobody_for_ever(
    postgres: URL, monkeypatch: pytest.MonkeyPatch, thread: ThreadPoolExecutor
) -> None:
    """Who waits for the org's lock is told that the store is of no use just now, and a turn that stands still ends."""
    monkeypatch.setattr(usage_store, "LONGEST_WAIT_FOR_A_LOCK", timedelta(milliseconds=50))
    monkeypatch.setattr(usage_store, "LONGEST_PAUSE_IN_A_TURN", timedelta(milliseconds=400))
    with fresh_database(postgres) as url:
        engine = open_engine(url)
        migrate(engine)
        ledger = QuotaLedger(engine)
        with ledger.turn(ORG):
            pass  # the org is known

        def hang() -> None:
            with ledger.turn(ORG) as turn:
                holding.set()
                let_go.wait(60)
                turn.lapse(NOW)

        holding, let_go = Event(), Event()
        task = thread.submit(hang)
        assert holding.wait(60)
        with pytest.raises(StoreUnavailableError, match="lock"), ledger.turn(ORG):
            pass
        while True:  # until the database has ended the turn that hangs
            with suppress(StoreUnavailableError), ledger.turn(ORG):
                break
        let_go.set()

        assert isinstance(task.exception(60), StoreUnavailableError)


def test_turns_of_two_orgs_do_not_wait_for_each_other(postgres: URL, thread: ThreadPoolExecutor) -> None:
    """The lock is the org's; on PostgreSQL another org's gate goes on meanwhile."""

    def other() -> None:
        with ledger.turn("00DBB0000000002") as turn:
            turn.join(request("a", org_id="00DBB0000000002"), NOW, NOW + minutes(15))

    with fresh_database(postgres) as url:
        engine = open_engine(url)
        migrate(engine)
        ledger = QuotaLedger(engine)
        with ledger.turn(ORG):
            assert done_or_waiting(engine, thread.submit(other))


def test_on_sqlite_who_may_write_holds_the_write_lock_from_the_beginning(tmp_path: Path) -> None:
    """So a transaction that looks before it writes is never overtaken; who only looks keeps nobody from writing."""
    file = tmp_path / "apiusage.db"
    engine = sqlite_engine(file)
    migrate(engine)
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as other:
        with writing(engine), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with looking(engine) as connection:
            connection.execute(select(lease)).all()
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")


def gate_on(engine: Engine) -> Gate:
    """Return a gate that need not read: 9,000 calls are left."""
    return Gate(QuotaLedger(engine), UsageStore(engine), list, minutes(5), lambda: NOW)


def statements_of(engine: Engine, act: Callable[[], object]) -> int:
    """Count the statements that are sent to the database."""
    sent: list[str] = []

    def count(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    act()
    event.remove(engine, "before_cursor_execute", count)
    return len(sent)


def test_the_questions_to_the_store_do_not_grow_with_the_queue(engine: Engine, store: UsageStore) -> None:
    """A turn behind forty that wait asks the store as often as a turn behind one."""
    store.add_readings(reading(91_000, NOW - minutes(30 * back)) for back in range(48))
    gate = gate_on(engine)
    counts = []
    for waiting in range(41):
        asked = request(waiting, 10_000, NOW + timedelta(seconds=waiting))
        assert isinstance(gate.turn(asked), Wait)
        if waiting in (1, 40):
            counts.append(statements_of(engine, lambda asked=asked: gate.turn(asked)))  # type: ignore[misc]

    assert counts[0] == counts[1]


def history(engine: Engine, days: int) -> None:
    """Fill a store with days of readings of ten limits and of loads, each hour, all of them over."""
    hours = [NOW - timedelta(days=3, hours=back) for back in range(24 * days)]
    names = [API_REQUESTS, *(f"DailyLimit{number}" for number in range(9))]
    UsageStore(engine).add_readings(reading(91_000, at, name=name) for at in hours for name in names)
    rows = [
        {
            "reservation_id": f"reservation {at:%j %H}", "org_id": ORG, "dag_id": "salesforce_load",
            "run_id": at.isoformat(), "task_id": "gate", "map_index": -1, "state": "released",
            "needs": {API_REQUESTS: 5_000}, "reserve_calls": {}, "reserve_share": 0.0, "lease_seconds": 3600.0,
            "max_age_seconds": 900.0, "on_unknown": "wait",
            "requested_at": at, "granted_at": at, "held_until": at, "ended_at": at,
        }
        for at in hours
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(lease), rows)


def steps_of_a_turn(file: Path, days: int) -> int:
    """Return how many thousand steps SQLite's machine takes for two turns that have to wait: a first and a second."""
    engine = sqlite_engine(file)
    migrate(engine)
    history(engine, days)
    UsageStore(engine).add_readings([reading(91_000, NOW)])
    gate = gate_on(engine)
    gate.turn(request("another"))
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def on_connect(connection: Any, _record: Any) -> None:
        connection.set_progress_handler(count, 10)

    event.listen(engine, "connect", on_connect)
    for _ in range(2):
        assert isinstance(gate.turn(request("a")), Wait)
    return steps


def test_the_work_of_a_turn_does_not_grow_with_what_is_history(tmp_path: Path) -> None:
    """A store that is ten times as old answers with about as many steps: every question finds its index."""
    young, old = steps_of_a_turn(tmp_path / "young.db", 6), steps_of_a_turn(tmp_path / "old.db", 60)

    assert old < 1.5 * young


def test_a_turn_that_reads_before_it_writes_is_not_overtaken(engine: Engine) -> None:
    """Two threads count and then take, over and over: the second always counts what the first took."""
    ledger = QuotaLedger(engine)

    def take(turn: Turn, who: int) -> None:
        turn.join(request(who, 1), NOW, NOW + minutes(15))
        if turn.outstanding({}, [API_REQUESTS], NOW)[API_REQUESTS] < 15:
            turn.grant(request(who, 1), NOW)

    def work(numbers: range) -> None:
        for number in numbers:
            with ledger.turn(ORG) as turn:
                take(turn, number)

    with ThreadPoolExecutor(2) as threads:
        for task in [threads.submit(work, range(20)), threads.submit(work, range(100, 120))]:
            task.result(120)

    assert len(ledger.reservations(ORG, NOW)) == 15
    assert len({each.holder for each in ledger.reservations(ORG, NOW)} - {holder(n) for n in range(120)}) == 0
