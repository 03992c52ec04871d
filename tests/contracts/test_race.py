"""Races between real processes, on both stores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import Engine, insert, inspect

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant, Holder, QuotaRequest, Wait
from airflow_provider_apiusage.store.engine import VERSION_TABLE
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.schema import metadata, org
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from benchmarks.race import PRELOAD
from benchmarks.race import race as race_of_many
from tests.contracts import racers
from tests.contracts.conftest import open_engine

FORK = multiprocessing.get_context("forkserver")
"""Each process is a fork of one that has loaded the modules and done nothing else, so nothing of ours is inherited."""

FORK.set_forkserver_preload(["tests.contracts.racers", *PRELOAD])


def race(url: str, processes: int, rounds: int, calls: int) -> Counter[int]:
    """Let processes race; return how many of them were granted, by round."""
    barrier, results = FORK.Barrier(processes), FORK.Queue()
    running = [
        FORK.Process(target=racers.ask, args=(url, racer, rounds, calls, barrier, results))
        for racer in range(processes)
    ]
    for process in running:
        process.start()
    won: Counter[int] = Counter()
    for _ in running:
        won.update(results.get(timeout=240)[1])
    for process in running:
        process.join()
        assert process.exitcode == 0
    return won


def test_racing_gates_are_never_granted_the_same_calls(engine: Engine, store_url: str) -> None:
    """100 calls are left; two gates ask for 60 each, 120 times: always one is granted, never both."""
    rounds, calls = 120, 60
    UsageStore(engine).add_readings(racers.reading_of(racers.org_of(number)) for number in range(rounds))
    # Every other org is known already: then nothing but its row's lock keeps the racers apart.
    with engine.begin() as connection:
        connection.execute(insert(org), [{"org_id": racers.org_of(number)} for number in range(0, rounds, 2)])
    won = race(store_url, 2, rounds, calls)

    assert won == dict.fromkeys(range(rounds), 1)
    ledger = QuotaLedger(engine)
    for number in range(rounds):
        held = ledger.reservations(racers.org_of(number), racers.NOW)
        assert sum(reservation.needs["DailyApiRequests"] for reservation in held) == calls


def test_sixteen_processes_oversell_nothing(store_url: str) -> None:
    """Store and witnesses agree: no call is held twice, one holder has one grant, what was given back is granted again.

    ``python -m benchmarks.race`` is the same with 100,000 grants.
    """
    outcome = race_of_many(store_url, 16, 1_200)

    assert outcome.oversold == 0
    assert outcome.wrong == []
    assert outcome.grants >= 1_200
    assert outcome.given_back > 0


def test_a_process_killed_inside_its_turn_holds_up_nobody(engine: Engine, store_url: str) -> None:
    """Its lock goes with it, nothing of its turn is left, and the next one is granted at once."""
    UsageStore(engine).add_readings([racers.reading_of(racers.org_of(0))])
    inside = FORK.Event()
    process = FORK.Process(target=racers.grant_and_stand_still, args=(store_url, inside))
    process.start()
    assert inside.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    ledger = QuotaLedger(engine)
    gate = Gate(ledger, UsageStore(engine), list, timedelta(minutes=5), lambda: racers.NOW)
    request = QuotaRequest(racers.org_of(0), Holder("dag", "run", "next"), {API_REQUESTS: 60}, racers.NOW)
    assert isinstance(gate.turn(request), Grant)
    assert [each.holder.task_id for each in ledger.reservations(racers.org_of(0), racers.NOW)] == ["next"]
    assert ledger.waiting(racers.org_of(0), racers.NOW) == ()


@pytest.mark.parametrize("attempt", range(2))
def test_processes_that_start_at_once_migrate_once(store_url: str, attempt: int) -> None:
    """Four processes open an empty store at the same moment: none fails, and the schema is there."""
    barrier, results = FORK.Barrier(4), FORK.Queue()
    running = [FORK.Process(target=racers.open_store, args=(store_url, barrier, results)) for _ in range(4)]
    for process in running:
        process.start()
    outcomes = [results.get(timeout=60) for _ in running]
    for process in running:
        process.join()

    assert outcomes == [None] * 4
    engine = open_engine(store_url)
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, VERSION_TABLE}


def test_a_load_killed_half_way_leaves_a_reservation_that_lapses(engine: Engine, store_url: str) -> None:
    """The holder is killed without a word; its calls stay reserved until the lease ends, then they can be granted."""
    results = FORK.Queue()
    holder = FORK.Process(target=racers.hold_for_ever, args=(store_url, results))
    holder.start()
    held_until = results.get(timeout=60)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert holder.exitcode == -signal.SIGKILL

    now = racers.NOW

    calls = 900

    def read() -> list[LimitReading]:
        nonlocal calls
        calls += 1  # reading is a call as well
        told = (now, now, 1_000, 1_000 - calls, calls)
        return [LimitReading(racers.org_of(0), API_REQUESTS, ReadingSource.LIMITS, *told)]

    gate = Gate(QuotaLedger(engine), UsageStore(engine), read, timedelta(minutes=5), lambda: now)
    request = QuotaRequest(racers.org_of(0), Holder("dag", "run", "next"), {"DailyApiRequests": 60}, now)
    now = held_until - timedelta(microseconds=1)
    assert isinstance(gate.turn(request), Wait)
    # Its last calls may be missing from a reading for five minutes more.
    now = held_until + timedelta(minutes=4, seconds=59)
    assert isinstance(gate.turn(request), Wait)
    now = held_until + timedelta(minutes=10)
    assert isinstance(gate.turn(request), Grant)
