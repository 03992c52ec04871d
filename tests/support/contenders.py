"""What the processes of a race do; each opens the store by itself, as a worker or a triggerer does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import LimitReading, Snapshot
from tests.contracts.conftest import open_engine
from tests.support.processes import line_up
from tests.support.quota import NOW, reading, request


def keep_snapshots(url: str, snapshots: Sequence[Snapshot]) -> list[bool]:
    """Add one snapshot after the other, each together with the others; tell which were kept."""
    store = UsageStore(open_engine(url))
    kept = []
    for snapshot in snapshots:
        line_up()
        kept.append(store.add(snapshot))
    return kept


def ask_an_unread_org(url: str, org_ids: Sequence[str], who: str) -> list[tuple[bool, int]]:
    """Take one turn at the gate of each org of which nothing is known yet, each together with the others.

    :returns: by org, whether it was granted and how often this process read the org.
    """
    engine = open_engine(url)
    outcomes = []
    for org_id in org_ids:
        reads: list[str] = []

        def read(org_id: str = org_id, reads: list[str] = reads) -> list[LimitReading]:
            reads.append(org_id)
            return [reading(90_000, org_id=org_id)]

        gate = Gate(QuotaLedger(engine), UsageStore(engine), read, timedelta(minutes=5), lambda: NOW)
        line_up()
        decision = gate.turn(request(who, 6_000, org_id=org_id))
        outcomes.append((isinstance(decision, Grant), len(reads)))
    return outcomes
