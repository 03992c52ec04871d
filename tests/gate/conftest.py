"""A gate on a SQLite store, to an org and a clock that a test moves by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from tests.support.gates import World


@pytest.fixture
def world() -> World:
    """An org that nobody has called."""
    return World()


@pytest.fixture
def ledger(tmp_path: Path) -> QuotaLedger:
    """A ledger on SQLite."""
    engine = sqlite_engine(tmp_path / "apiusage.db")
    migrate(engine)
    return QuotaLedger(engine)


@pytest.fixture
def store(ledger: QuotaLedger) -> UsageStore:
    """The readings beside it."""
    return UsageStore(ledger._engine)


@pytest.fixture
def gate(world: World, ledger: QuotaLedger, store: UsageStore) -> Gate:
    """The gate of one process."""
    return world.gate(ledger, store)
