"""Opening a store: what the migrations make is what the package expects, once, whoever comes first."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, inspect, text

from airflow_provider_apiusage import __version__
from airflow_provider_apiusage.store.engine import MIGRATIONS, VERSION_TABLE, migrate, sqlite_engine
from airflow_provider_apiusage.store.errors import StoreSchemaError, StoreUnavailableError
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.schema import metadata
from airflow_provider_apiusage.store.usage_store import UsageStore
from tests.contracts.conftest import open_engine
from tests.support.postgres import fresh_database, run
from tests.support.quota import NOW, ORG, reading


def names_of(engine: Engine) -> dict[str, set[str | None]]:
    """Return the names of all constraints and indexes in a database, by table."""
    database = inspect(engine)
    return {
        table: {
            database.get_pk_constraint(table)["name"],
            *(each["name"] for each in database.get_foreign_keys(table)),
            *(each["name"] for each in database.get_unique_constraints(table)),
            *(each["name"] for each in database.get_indexes(table)),
        }
        for table in database.get_table_names()
        if table != VERSION_TABLE
    }


def revisions(engine: Engine) -> list[str]:
    """Return what the store says about its schema."""
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars())


def test_the_migrations_make_the_schema_that_the_code_speaks_of(engine: Engine) -> None:
    """Nothing would be left to migrate: no table, column, type, index or constraint differs."""
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert differences == []


def test_constraints_and_indexes_have_the_names_of_the_schema(engine: Engine) -> None:
    """A later migration finds each constraint and index under the name that the schema gives it."""
    expected = {
        table.name: {each.name for each in table.constraints} | {each.name for each in table.indexes}
        for table in metadata.sorted_tables
    }

    assert names_of(engine) == expected


def test_one_live_lease_per_holder_is_kept_by_the_database(engine: Engine) -> None:
    """The index that keeps a holder from queueing twice covers live leases only, on both databases."""
    index = next(
        each
        for each in inspect(engine).get_indexes("apiusage_lease")
        if each["name"] == "uq_apiusage_lease_live_holder"
    )

    where = str(index["dialect_options"][f"{engine.dialect.name}_where"])
    assert index["unique"]
    assert "waiting" in where
    assert "granted" in where
    assert "released" not in where


def test_a_store_of_the_first_version_keeps_what_it_has(store_url: str) -> None:
    """Its readings are there after the upgrade, and event logs can be kept beside them."""
    engine = open_engine(store_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    assert revisions(engine) == ["0001"]
    UsageStore(engine).add_readings([reading(25_000)])

    migrate(engine)

    assert revisions(engine) == ScriptDirectory.from_config(config).get_heads()
    latest = UsageStore(engine).latest_reading(ORG)
    assert latest is not None
    assert latest.used == 25_000
    assert EventLogStore(engine).listings(ORG) is None


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    """What is in the store stays, and the schema's revision is told once."""
    UsageStore(engine).add_readings([reading(25_000)])
    before = names_of(engine)

    migrate(engine)

    assert names_of(engine) == before
    assert len(revisions(engine)) == 1
    assert UsageStore(engine).latest_reading(ORG) == reading(25_000)


def test_a_newer_schema_is_left_alone(engine: Engine) -> None:
    """A store that a newer version migrated is refused by naming both revisions, and not touched."""
    [ours] = revisions(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    with pytest.raises(StoreSchemaError) as refused:
        migrate(engine)

    assert "9999" in refused.value.what
    assert ours in refused.value.what
    assert "Upgrade airflow-provider-apiusage" in refused.value.fix
    assert revisions(engine) == ["9999"]


def test_a_process_that_was_there_before_a_newer_schema_says_so(engine: Engine) -> None:
    """A newer version migrates the store under a process that runs: what fails then names both, and the fix."""
    ledger = QuotaLedger(engine)
    ledger.waiting(ORG, NOW)
    [ours] = revisions(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE apiusage_lease RENAME COLUMN priority TO rank"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    with pytest.raises(StoreSchemaError, match=f"9999, which is newer than {ours}, .* {__version__} knows.*Upgrade"):
        ledger.waiting(ORG, NOW)


def test_threads_that_open_stores_at_once_do_not_mix_them_up(tmp_path: Path) -> None:
    """Each of eight new stores gets its own schema, though all are migrated by one process at the same moment."""
    engines = [sqlite_engine(tmp_path / f"{number}.db") for number in range(8)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(migrate, engines))

    assert all(set(names_of(engine)) == set(metadata.tables) for engine in engines)


def test_a_database_that_does_not_answer_is_told_without_the_password() -> None:
    """The message names the store and what to check, and nothing secret."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = URL.create("postgresql+psycopg", "airflow", "hunter2-Secret", "127.0.0.1", port, "apiusage")

    with pytest.raises(StoreUnavailableError) as failed:
        migrate(open_engine(url))

    assert "hunter2" not in str(failed.value)
    assert "hunter2" not in repr(failed.value.__reduce__())
    assert f"127.0.0.1:{port}/apiusage" in str(failed.value)
    assert "store_conn_id" in failed.value.fix


def test_a_read_only_postgresql_is_told(postgres: URL) -> None:
    """A role or database that may only read cannot be a new store; the message says what PostgreSQL said."""
    with (
        fresh_database(postgres, default_transaction_read_only="on") as url,
        pytest.raises(StoreUnavailableError, match="read-only transaction"),
    ):
        migrate(open_engine(url))


def test_a_read_only_sqlite_file_is_told(tmp_path: Path) -> None:
    """A file that may only be read cannot be a new store."""
    file = tmp_path / "apiusage.db"
    file.touch()
    url = URL.create("sqlite", database=f"file:{file}", query={"mode": "ro", "uri": "true"})

    with pytest.raises(StoreUnavailableError, match="readonly database"):
        migrate(open_engine(url))

    assert file.read_bytes() == b""


def missing_folder(tmp_path: Path) -> Path:
    """Return a file in a folder that does not exist."""
    return tmp_path / "missing" / "apiusage.db"


def folder(tmp_path: Path) -> Path:
    """Return a folder where the file should be."""
    return tmp_path


def no_database(tmp_path: Path) -> Path:
    """Return a file that is something else."""
    file = tmp_path / "apiusage.db"
    file.write_text("org_id,used\n00DAA0000000001,25000\n" * 100)
    return file


@pytest.mark.parametrize("place", [missing_folder, folder, no_database])
def test_a_path_that_cannot_be_a_store_is_named(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    """The message names the file and asks to check it and its folder."""
    path = place(tmp_path)

    with pytest.raises(StoreUnavailableError) as failed:
        migrate(sqlite_engine(path))

    assert str(path) in failed.value.store
    assert "its folder" in failed.value.fix


def test_a_store_that_may_only_be_read_now_still_answers(postgres: URL) -> None:
    """Only what writes needs to write: a reader of a migrated store works with the rights to read."""
    with fresh_database(postgres) as url:
        writable = open_engine(url)
        migrate(writable)
        UsageStore(writable).add_readings([reading(25_000)])
        run(postgres, f"ALTER DATABASE {url.database} SET default_transaction_read_only = on")
        read_only = open_engine(url)

        migrate(read_only)

        assert UsageStore(read_only).latest_reading(ORG) == reading(25_000)
        with pytest.raises(StoreUnavailableError, match="read-only"):
            UsageStore(read_only).add_readings([reading(26_000)])
