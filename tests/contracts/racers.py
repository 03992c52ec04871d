"""What the processes of a race do. A module of its own, so that a spawned process can import it."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant, Holder, QuotaRequest
from airflow_provider_apiusage.store.engine import migrate
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import LimitReading, ReadingSource
from tests.contracts.conftest import open_engine

NOW = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
LIMIT, USED = 1_000, 900
"""100 calls are left in every org of a race."""


def org_of(round_number: int) -> str:
    """An org for each round, so that rounds have nothing to do with each other."""
    return f"00D{round_number:012d}"


def reading_of(org_id: str) -> LimitReading:
    """What an org of a race says when it is asked."""
    return LimitReading(org_id, "DailyApiRequests", ReadingSource.LIMITS, NOW, NOW, LIMIT, LIMIT - USED, USED)


def ask(url: str, racer: int, rounds: int, calls: int, barrier: Any, results: Any) -> None:
    """Ask for calls once a round, at the same moment as the other racers; put the rounds won."""
    engine = open_engine(url)
    won: list[int] = []
    for number in range(rounds):
        org_id = org_of(number)

        gate = Gate(QuotaLedger(engine), UsageStore(engine), list, timedelta(minutes=5), lambda: NOW)
        request = QuotaRequest(
            org_id, Holder("dag", f"run {number}", f"racer {racer}"), {"DailyApiRequests": calls}, NOW
        )
        barrier.wait()
        if isinstance(gate.turn(request), Grant):
            won.append(number)
    results.put((racer, won))


def open_store(url: str, barrier: Any, results: Any) -> None:
    """Migrate an empty store at the same moment as the others; put what went wrong, if anything."""
    engine = open_engine(url)
    barrier.wait()
    try:
        migrate(engine)
        results.put(None)
    except BaseException as failed:  # whatever it is, the test must see it
        results.put(repr(failed))


def hold_for_ever(url: str, results: Any) -> None:
    """Be granted 60 of the 100 calls, tell until when, and never come back."""
    engine = open_engine(url)
    gate = Gate(
        QuotaLedger(engine), UsageStore(engine), lambda: [reading_of(org_of(0))], timedelta(minutes=5), lambda: NOW
    )
    granted = gate.turn(QuotaRequest(org_of(0), Holder("dag", "run", "killed"), {"DailyApiRequests": 60}, NOW))
    assert isinstance(granted, Grant)
    results.put(granted.reservation.held_until)
    signal.pause()


def grant_and_stand_still(url: str, inside: Any) -> None:
    """Be granted 60 of the 100 calls in a turn that never ends."""
    request = QuotaRequest(org_of(0), Holder("dag", "run", "killed"), {"DailyApiRequests": 60}, NOW)
    with QuotaLedger(open_engine(url)).turn(org_of(0)) as turn:
        turn.join(request, NOW, NOW + timedelta(minutes=15))
        turn.grant(request, NOW)
        inside.set()
        signal.pause()
