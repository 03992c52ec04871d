"""Every contract is tested once per store: a SQLite file, and a real PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool

from airflow_provider_apiusage.store.engine import migrate, prepare_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from tests.support.postgres import fresh_database, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """One server for the whole session."""
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store."""
    if request.param == "sqlite":
        file = tmp_path / "apiusage.db"
        yield f"sqlite:///{file}"
        assert_not_in_use(file)
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        yield url.render_as_string(hide_password=False)


def open_engine(url: str | URL) -> Engine:
    """An engine as the package makes it."""
    return prepare_engine(create_engine(url, poolclass=NullPool))


@pytest.fixture
def engine(store_url: str) -> Engine:
    """A store with its schema."""
    made = open_engine(store_url)
    migrate(made)
    return made


@pytest.fixture
def store(engine: Engine) -> UsageStore:
    """Readings and counts."""
    return UsageStore(engine)


@pytest.fixture
def ledger(engine: Engine) -> QuotaLedger:
    """Requests and reservations."""
    return QuotaLedger(engine)


def assert_not_in_use(file: Path) -> None:
    """See that no transaction is open on a SQLite file: the write lock is free, and the log can be folded away."""
    if not file.exists():
        return
    connection = sqlite3.connect(file, isolation_level=None, timeout=0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy, "a reader was left open"
    finally:
        connection.close()
