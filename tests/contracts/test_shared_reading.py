"""Processes that know nothing share one reading of the org."""

from __future__ import annotations

from sqlalchemy import Engine

from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from tests.support.contenders import ask_an_unread_org
from tests.support.processes import Racers
from tests.support.quota import NOW

ROUNDS = 100


def test_of_gates_that_start_at_once_one_reads_the_org(engine: Engine, store_url: str) -> None:
    """10,000 calls are left and two ask for 6,000: one reads and is granted, the other waits for that reading."""
    org_ids = [f"00D{number:012d}" for number in range(ROUNDS)]

    with Racers(2) as two:
        first, second = two.race(ask_an_unread_org, [(store_url, org_ids, "first"), (store_url, org_ids, "second")])

    assert all(sorted(each) == [(False, 0), (True, 1)] for each in zip(first, second, strict=True))
    ledger = QuotaLedger(engine)
    assert all(len(ledger.reservations(org_id, NOW)) == len(ledger.waiting(org_id, NOW)) == 1 for org_id in org_ids)
