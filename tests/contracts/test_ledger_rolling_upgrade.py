"""A store that is upgraded, or goes away, while processes of before are at work on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Boolean, Engine, MetaData, Table, insert, inspect, select
from sqlalchemy.types import JSON, Float, Integer

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.store.engine import MIGRATIONS, migrate, sqlite_engine
from airflow_provider_apiusage.store.errors import StoreUnavailableError
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from tests.contracts.conftest import open_engine
from tests.support.gates import World, granted, waits
from tests.support.postgres import fresh_database, run
from tests.support.quota import NOW, ORG, minutes, request

LEASE = "apiusage_lease"


def config_at(connection: Any = None) -> Config:
    """Return Alembic's view of our migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    """Return all revisions but the newest, oldest first."""
    found = ScriptDirectory.from_config(config_at()).walk_revisions()
    return [each.revision for each in found][:0:-1]


def old_lease(table: Table, number: int) -> dict[str, Any]:
    """Return a row as a process of that revision writes it: every column that it knows."""
    known = {
        "reservation_id": f"reservation {number}", "org_id": ORG, "dag_id": "dag", "run_id": f"run {number}",
        "task_id": "gate", "map_index": -1, "state": "granted", "on_unknown": "wait",
    }  # fmt: skip
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.name in known:
            row[column.name] = known[column.name]
        elif column.nullable or column.name == "id":
            continue
        elif isinstance(column.type, Integer | Float | Boolean):
            row[column.name] = 0
        elif isinstance(column.type, JSON):
            row[column.name] = {}
        else:
            row[column.name] = NOW
    return row


@pytest.mark.parametrize("revision", revisions())
def test_a_process_of_an_older_version_goes_on_while_the_store_is_upgraded(store_url: str, revision: str) -> None:
    """It reads and writes leases afterwards as it did before; started anew, it is refused (see test_migrations)."""
    older, newer = open_engine(store_url), open_engine(store_url)
    with older.begin() as connection:
        command.upgrade(config_at(connection), revision)
    table = Table(LEASE, MetaData(), autoload_with=older)
    with older.begin() as connection:
        connection.execute(insert(table), [old_lease(table, 1)])

    migrate(newer)

    with older.begin() as connection:
        connection.execute(insert(table), [old_lease(table, 2)])
        connection.execute(table.update().where(table.c.run_id == "run 1").values(state="released"))
        rows = connection.execute(select(table).order_by(table.c.id)).all()
    assert [(row.run_id, row.state) for row in rows] == [("run 1", "released"), ("run 2", "granted")]
    known = {column["name"] for column in inspect(newer).get_columns(LEASE)}
    assert {column.name for column in table.columns} <= known


def test_the_upgrade_waits_for_nobody_who_reads_on_sqlite(tmp_path: Path) -> None:
    """An old process in the middle of a long look sees the store as it was; the new one upgrades meanwhile."""
    older, newer = sqlite_engine(tmp_path / "apiusage.db"), sqlite_engine(tmp_path / "apiusage.db")
    with older.begin() as connection:
        command.upgrade(config_at(connection), revisions()[0])
    table = Table(LEASE, MetaData(), autoload_with=older)
    with older.connect() as looking:
        assert looking.execute(select(table)).all() == []
        migrate(newer)
        assert looking.execute(select(table)).all() == []


@contextmanager
def away(engine: Engine, server: URL | None) -> Iterator[None]:
    """Take a store away: its file is a folder, or its database takes no connection and ends those that it has."""
    if server is None:
        file = Path(str(engine.url.database))
        aside = file.with_suffix(".aside")
        file.rename(aside)
        file.mkdir()
        yield
        file.rmdir()
        aside.rename(file)
        return
    name = engine.url.database
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    run(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", ended)
    yield
    run(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def stores(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Engine, URL | None]]:
    """Yield an empty store, and the server that it is on."""
    if kind == "sqlite":
        yield sqlite_engine(folder / "apiusage.db"), None
        return
    server = request.getfixturevalue("postgres")
    with fresh_database(server) as url:
        yield open_engine(url), server


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_that_is_gone_for_a_minute_loses_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each turn meanwhile says that the store is away; then the grant is there, and the queue as it was."""
    with stores(kind, request, tmp_path) as (engine, server):
        migrate(engine)
        world = World()
        ledger = QuotaLedger(engine)
        gate = Gate(ledger, UsageStore(engine), world.read, minutes(5), world.clock)
        held = granted(gate.turn(request_of("held", 60_000, 0))).reservation
        queue = [request_of("first", 50_000, 1), request_of("second", 45_000, 2)]
        for each in queue:
            waits(gate.turn(each))

        with away(engine, server):
            for _ in range(4):
                world.pass_time(seconds=20)
                for each in queue:
                    with pytest.raises(StoreUnavailableError):
                        gate.turn(each)

        assert ledger.reservations(ORG, world.now) == (held,)
        assert list(ledger.waiting(ORG, world.now)) == queue
        ledger.release(held.reservation_id, world.now)
        world.used = 10_000
        world.pass_time(minutes=6)
        assert granted(gate.turn(queue[0])).reservation.needs == queue[0].needs
        waits(gate.turn(queue[1]))


def request_of(who: str, calls: int, seconds: int) -> Any:
    """Return a request that came so many seconds after the beginning."""
    return request(who, calls, NOW + timedelta(seconds=seconds))
