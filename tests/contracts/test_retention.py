"""Retention: nothing that is asked about the last weeks changes, what is older gets small, and nobody is disturbed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count, islice
from pathlib import Path
from random import Random
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import Engine, event

from airflow_provider_apiusage.store.batches import AT_ONCE
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.retention import Pruned, UsageRetention
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.hourly import hour_of
from airflow_provider_apiusage.usage.model import API_REQUESTS
from airflow_provider_apiusage.usage.retention import Retention
from tests.contracts.conftest import open_engine
from tests.support.history import CALLERS, DAY, HOUR, MIDNIGHT, fill, instants, rows_of
from tests.support.quota import BATCHES, LEASE, NOW, ORG, minutes, reading, request

OTHER = "00DBB0000000002"
SHORT = Retention(keep_details=7 * DAY, keep=25 * DAY)


def prune(engine: Engine, org_id: str | None = None, keep: Retention = SHORT, now: datetime = NOW) -> Pruned:
    """Prune without pausing."""
    return UsageRetention(engine, pause=lambda _: None).prune(org_id, now, keep)


def answers(engine: Engine, days: int = 7, org_id: str = ORG, *, most: int = 20) -> dict[str, Any]:
    """Return what the product says of instants of the last days, and of now."""
    store, logs, ledger = UsageStore(engine), EventLogStore(engine), QuotaLedger(engine)
    told: dict[str, Any] = {
        f"evidence {at}": store.evidence(org_id, at) for at in islice(instants(days, Random(7)), most)
    }
    told |= {name: store.latest_reading(org_id, name) for name in (API_REQUESTS, BATCHES)}
    told["report"] = store.latest_report_at(org_id)
    told["reconciliation"] = store.latest_reconciliation(org_id)
    told["usage"] = logs.usage(org_id, hour_of(NOW - days * DAY), hour_of(NOW))
    told["listings"] = logs.listings(org_id)
    told["files"] = logs.states(org_id, MIDNIGHT - days * DAY, NOW)
    told["reservations"] = ledger.reservations(org_id, NOW)
    told["waiting"] = ledger.waiting(org_id, NOW)
    told["decisions"] = [each for each in ledger.decisions(org_id) if each["decided_at"] >= NOW - days * DAY]
    with ledger.turn(org_id) as turn:
        latest = turn.latest_readings([API_REQUESTS, BATCHES])
        told["outstanding"] = turn.outstanding(latest, [API_REQUESTS, BATCHES], NOW)
        told["read at"] = turn.last_read_at()
        told["settles"] = turn.reading_would_settle(latest, list(latest), NOW)
    return told


def test_no_answer_about_the_days_of_the_details_changes(engine: Engine) -> None:
    """Evidence, readings, counts, hours by caller, files, the ledger: as before, to the row."""
    fill(engine, 30)
    before = answers(engine)

    pruned = prune(engine)

    assert answers(engine) == before
    left_alone = {"caller", "org_connection", "alert", "alert_watch"}  # alerts go by themselves
    assert all(pruned.removed[table] > 0 for table in pruned.removed.keys() - left_alone), pruned
    assert before["outstanding"][API_REQUESTS] > 0
    assert len(before["decisions"]) > 20


def test_the_totals_of_every_hour_that_is_kept_stay_what_they_were(engine: Engine) -> None:
    """Rolled up or not, an hour has the same bounds and the same completeness, settled ones and others."""
    fill(engine, 30)
    store, logs = UsageStore(engine), EventLogStore(engine)
    start, end = MIDNIGHT - 25 * DAY, MIDNIGHT - 9 * DAY
    hours = store.evidence(ORG, end, span=end - start)
    usage = logs.usage(ORG, start, end)

    prune(engine)

    after = store.evidence(ORG, end, span=end - start)
    assert after is not None
    assert hours is not None
    assert after.hours == hours.hours
    assert len({hour.completeness for hour in after.hours}) == 2
    rolled = logs.usage(ORG, start, end)
    assert rolled.completeness == usage.completeness
    assert sum(count.calls for count in rolled.counts) == sum(count.calls for count in usage.counts)
    old = [count for count in rolled.counts if count.starts_at < MIDNIGHT - 16 * DAY]
    assert {count.caller.user for count in old} == {None}
    assert {count.caller.resource for count in old} == {None, "composite/batch"}
    assert len(old) < len([count for count in usage.counts if count.starts_at < MIDNIGHT - 16 * DAY])


def test_pruning_again_removes_nothing(engine: Engine) -> None:
    """What is kept once is kept."""
    fill(engine, 30)
    first = prune(engine)
    rows = rows_of(engine)

    again = prune(engine)

    assert set(again.removed.values()) == {0}
    assert again.kept == first.kept
    assert rows_of(engine) == rows


def test_what_is_kept_is_counted(engine: Engine) -> None:
    """By table: rows removed and rows left, which together are those that were there."""
    fill(engine, 30)
    before = {name.removeprefix("apiusage_"): len(rows) for name, rows in rows_of(engine).items()}

    pruned = prune(engine)

    after = {name.removeprefix("apiusage_"): len(rows) for name, rows in rows_of(engine).items()}
    del before["org"], after["org"]
    assert pruned.kept == after
    # Rolling up makes callers of its own, one for each kind of call.
    made = pruned.removed["caller"] + after["caller"] - before["caller"]
    assert 0 < made <= len(CALLERS)
    assert {name: before[name] - after[name] for name in before} == pruned.removed | {
        "caller": pruned.removed["caller"] - made
    }


def test_one_org_is_pruned_or_all(engine: Engine) -> None:
    """Named, only that org; unnamed, each org comes out as if it were alone."""
    fill(engine, 30)
    alone = rows_of(engine)
    fill(engine, 12, OTHER)

    of_one = prune(engine, OTHER)
    assert [row for rows in rows_of(engine).values() for row in rows if ORG in row] == [
        row for rows in alone.values() for row in rows if ORG in row
    ]
    of_all = prune(engine)
    assert of_all.kept["reading"] > of_one.kept["reading"]
    assert sum(of_all.removed.values()) > 0
    assert set(prune(engine, ORG).removed.values()) == {0}


def test_what_is_older_than_all_is_gone(engine: Engine) -> None:
    """No row of any kind stays of a day that is older than ``keep``, but what is still live."""
    fill(engine, 30)
    prune(engine)

    store, logs = UsageStore(engine), EventLogStore(engine)
    edge = MIDNIGHT - 25 * DAY
    assert store.readings(ORG, API_REQUESTS, edge - 100 * DAY, edge - timedelta(microseconds=1)) == ()
    assert logs.states(ORG, edge - 100 * DAY, edge) == ()
    assert logs.usage(ORG, edge - 100 * DAY, edge).counts == ()
    assert store.evidence(ORG, edge - HOUR) is None
    assert store.evidence(ORG, edge + DAY) is not None


def test_an_org_that_nobody_reads_any_more_vanishes(engine: Engine) -> None:
    """After ``keep`` only what is live is left of it, and the totals are zero for the rest."""
    fill(engine, 30)

    pruned = prune(engine, ORG, now=NOW + 40 * DAY)

    assert {table for table, rows in pruned.kept.items() if rows} == {"lease", "decision"}
    assert pruned.kept["lease"] == pruned.kept["decision"]


def test_a_pruning_that_dies_anywhere_leaves_the_store_whole_and_is_simply_run_again(engine: Engine) -> None:
    """Killed at one statement after the other: all answers stay, and the last run ends where one would have ended."""
    fill(engine, 30)
    before = answers(engine, most=2)
    pruned = None
    deaths = 0
    while pruned is None:
        try:
            with dying(engine, after=4 * deaths + 2):
                pruned = prune(engine)
        except Death:
            deaths += 1
            assert answers(engine, most=2) == before

    assert deaths > 3
    assert answers(engine, most=2) == before
    assert set(prune(engine).removed.values()) == {0}


class Death(BaseException):
    """The process is gone."""


@contextmanager
def dying(engine: Engine, after: int) -> Iterator[None]:
    """Let the process die before its n-th statement that writes, locks left aside."""
    numbers = count(1)

    def die(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("DELETE", "INSERT")) and "apiusage_org " not in statement and next(numbers) == after:
            raise Death

    event.listen(engine, "before_cursor_execute", die)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", die)


def test_gates_readers_and_writers_go_on_between_its_steps(engine: Engine) -> None:
    """After each of its transactions a gate takes its turn, a snapshot is kept, and evidence is the same."""
    fill(engine, 30)
    expected = UsageStore(engine).evidence(ORG, NOW - DAY)
    turns: list[float] = []

    def others(_seconds: float) -> None:
        number = len(turns)
        turns.append(_seconds)
        here = open_engine(engine.url)
        with QuotaLedger(here).turn(ORG) as turn:
            turn.join(request(f"meanwhile {number}", at=NOW), NOW, NOW + LEASE)
        UsageStore(here).add_readings([reading(number, NOW + timedelta(seconds=number))])
        assert UsageStore(here).evidence(ORG, NOW - DAY) == expected

    UsageRetention(engine, pause=others).prune(None, NOW, SHORT)

    assert len(turns) >= 10
    assert len(QuotaLedger(engine).waiting(ORG, NOW)) >= len(turns)
    assert set(prune(engine).removed.values()) == {0}


def test_no_transaction_removes_many_rows(engine: Engine) -> None:
    """Each is over before a gate that waits for the lock would notice."""
    fill(engine, 30)
    UsageStore(engine).add_readings([reading(number, NOW - 20 * DAY + minutes(number)) for number in range(2_000)])
    rows: list[int] = []

    def begin(_connection: Any) -> None:
        rows.append(0)

    def add(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE"):
            rows[-1] += cursor.rowcount

    event.listen(engine, "begin", begin)
    event.listen(engine, "after_cursor_execute", add)
    pruned = prune(engine)

    assert pruned.removed["reading"] > 4 * AT_ONCE
    assert max(rows) == AT_ONCE


def test_prunings_at_once_come_to_what_one_would(engine: Engine) -> None:
    """None waits for another for ever, no row is removed twice, who reads meanwhile sees nothing of it."""
    fill(engine, 30)
    before = answers(engine)
    total = {name.removeprefix("apiusage_"): len(rows) for name, rows in rows_of(engine).items()}
    expected = [UsageStore(engine).evidence(ORG, NOW - DAY * number) for number in range(7)]
    start, finished = Barrier(4), Event()

    def run(_number: int) -> Pruned:
        start.wait(60)
        return prune(open_engine(engine.url))

    def read(_number: int) -> int:
        start.wait(60)
        for number in count(1):
            assert UsageStore(engine).evidence(ORG, NOW - DAY * (number % 7)) == expected[number % 7]
            if finished.is_set():
                return number
        raise AssertionError

    with ThreadPoolExecutor(4) as pool:
        reader = pool.submit(read, 0)
        done = list(pool.map(run, range(3)))
        finished.set()

    assert reader.result() > 1
    assert answers(engine) == before
    final = prune(engine)
    assert set(final.removed.values()) == {0}
    for table in set(total) - {"org", "caller"}:
        assert sum(each.removed[table] for each in done) == total[table] - final.kept[table]


def test_a_sqlite_file_gets_smaller(tmp_path: Path) -> None:
    """What is freed is given back, page by page, if the file was made by this version."""
    engine = sqlite_engine(tmp_path / "apiusage.db")
    migrate(engine)
    UsageStore(engine).add_readings([reading(number, NOW - 30 * DAY + minutes(number)) for number in range(9_000)])
    before = pages(engine)

    prune(engine)

    assert pages(engine) < before / 4


def test_an_older_sqlite_file_keeps_its_size_and_is_filled_again(tmp_path: Path) -> None:
    """It cannot be cut without being written anew, which would stop everybody for long."""
    file = tmp_path / "apiusage.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE made_before (number INTEGER)")
    connection.close()
    engine = sqlite_engine(file)
    migrate(engine)
    UsageStore(engine).add_readings([reading(number, NOW - 40 * DAY + minutes(number)) for number in range(9_000)])
    before = pages(engine)

    assert prune(engine).removed["reading"] == 9_000

    assert pages(engine) == before
    UsageStore(engine).add_readings([reading(number, NOW - 3 * DAY + minutes(number)) for number in range(4_000)])
    assert pages(engine) == before


def pages(engine: Engine) -> int:
    """Return how many pages a SQLite file has."""
    with engine.connect() as connection:
        number: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return number


def test_a_moment_without_a_zone_is_refused(engine: Engine) -> None:
    """Which day is over would be a guess."""
    with pytest.raises(ValueError, match="aware of its zone"):
        prune(engine, now=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("keep_details", "keep", "message"),
    [(6 * DAY, 400 * DAY, "keep_details is 6 days"), (35 * DAY, 44 * DAY, "at least 10 days")],
)
def test_too_short_a_time_is_refused(keep_details: timedelta, keep: timedelta, message: str) -> None:
    """Less than what reconciliations and gates look at is refused by saying what they need."""
    with pytest.raises(ValueError, match=message):
        Retention(keep_details, keep)
