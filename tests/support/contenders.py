"""What the processes of a race do; each opens the store by itself, as a worker or a triggerer does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.pool import NullPool

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.quota.model import Grant
from airflow_provider_apiusage.store.engine import migrate, prepare_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import Snapshot
from tests.support.processes import line_up
from tests.support.quota import NOW, reading, request


def open_store(url: str) -> Engine:
    """Return an engine on a store, as the package makes it."""
    return prepare_engine(create_engine(make_url(url), poolclass=NullPool))


def migrate_stores(urls: Sequence[str]) -> None:
    """Bring one store after the other up to date, each together with the others."""
    for url in urls:
        engine = open_store(url)
        line_up()
        migrate(engine)


def keep_snapshots(url: str, snapshots: Sequence[Snapshot]) -> list[bool]:
    """Add one snapshot after the other, each together with the others; tell which were kept."""
    store = UsageStore(open_store(url))
    kept = []
    for snapshot in snapshots:
        line_up()
        kept.append(store.add(snapshot))
    return kept


def ask_for_quota(url: str, org_ids: Sequence[str], who: str, need: int, limit: int, used: int) -> list[str | None]:
    """Take one turn at the gate of each org, each together with the others.

    :returns: the ids of what was granted, ``None`` where the gate stayed shut.
    """
    engine = open_store(url)
    ledger, store = QuotaLedger(engine), UsageStore(engine)
    granted: list[str | None] = []
    for org_id in org_ids:
        gate = Gate(
            ledger,
            store,
            read=lambda org_id=org_id: [reading(used, NOW, limit=limit, org_id=org_id)],  # type: ignore[misc]
            poll_interval=timedelta(minutes=5),
            clock=lambda: NOW,
        )
        asked = request(who, need, reserve=10_000, org_id=org_id)
        line_up()
        decision = gate.turn(asked)
        granted.append(decision.reservation.reservation_id if isinstance(decision, Grant) else None)
    return granted
