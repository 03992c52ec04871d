"""Opening the store: an engine whose transactions are what they seem, and a schema that is up to date."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_provider_apiusage import __version__
from airflow_provider_apiusage.store.errors import StoreSchemaError, StoreUnavailableError

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "apiusage_alembic_version"
MIGRATION_LOCK = 4_227_316_507
"""Any number: the advisory lock under which one process migrates a PostgreSQL store."""

BUSY_SECONDS = 30
_PREPARED = "apiusage_prepared"
_WRITES = "apiusage_writes"
_migrating = threading.Lock()
"""Alembic keeps what it works on in module globals, so threads take turns, whatever their stores."""


def sqlite_engine(path: Path) -> Engine:
    """Return an engine on a SQLite file; the file is made on first use, its folder must exist.

    :param path: of the file.
    """
    return prepare_engine(create_engine(f"sqlite:///{path}", poolclass=NullPool))


def prepare_engine(engine: Engine) -> Engine:
    """Make transactions on SQLite real; other databases need nothing.

    Python's driver opens a transaction only before it writes, so two processes could both look and then both take.
    Here a transaction that may write takes the write lock when it begins (``BEGIN IMMEDIATE``), and waits for it up to
    30 seconds; readers go on meanwhile (write-ahead log).

    :param engine: any engine; one that is prepared already is returned as it is.
    """
    if engine.dialect.name == "sqlite" and not hasattr(engine, _PREPARED):
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
        setattr(engine, _PREPARED, True)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    try:
        if connection.execute("PRAGMA page_count").fetchone() == (0,):
            # What retention frees can then be given back in steps. Only a new file can be made so, and asking it of
            # any other takes the write lock.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        # Another process is switching the new file over at this moment, or the file is read-only: the mode is a
        # property of the file, and a write that cannot be done says so itself.
        return


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def looking(engine: Engine) -> Iterator[Connection]:
    """One transaction that only reads, and sees the store as it was at one moment, whatever is written meanwhile.

    :raises StoreUnavailableError: if the store cannot be reached or read.
    :raises StoreSchemaError: if it lacks something, because a newer version of the package has migrated it meanwhile.
    """
    with _translated(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: all of it or nothing. On SQLite it holds the only write lock from its beginning.

    On PostgreSQL it is read committed, whatever the database's default: who waited for a lock must see what was
    committed meanwhile.

    :raises StoreUnavailableError: if the store cannot be reached or written.
    :raises StoreSchemaError: as :func:`looking` does.
    """
    options: dict[str, Any] = {_WRITES: True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    with _translated(engine), engine.connect() as connection:
        connection = connection.execution_options(**options)
        with connection.begin():
            yield connection


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except DBAPIError as failed:
        if _misses_something(failed) and (newer := _newer_schema(engine)) is not None:
            raise newer from None
        raise StoreUnavailableError(
            f"The store cannot be used: {' '.join(str(failed.orig).split())}.",
            name_of(engine),
            "Check that the database runs, that the connection's user may read and write it (for SQLite: the file and "
            "its folder), and that [apiusage] store_conn_id names the right one.",
        ) from None


def _misses_something(failed: DBAPIError) -> bool:
    """Whether a table or column is not there: perhaps because a newer version has migrated the store meanwhile."""
    return isinstance(failed, ProgrammingError) or "no such" in str(failed.orig) or "has no column" in str(failed.orig)


def _newer_schema(engine: Engine) -> StoreSchemaError | None:
    try:
        with engine.connect() as connection:
            _current_revision(connection, _migrations())
    except StoreSchemaError as newer:
        return newer
    except SQLAlchemyError:
        pass
    return None


def _migrations() -> Config:
    from alembic.config import Config

    # What Alembic tells at every start would stand in every task's log.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _current_revision(connection: Connection, migrations: Config) -> tuple[str | None, str | None]:
    """Return the revision of the schema that the store has, and the newest that this version knows.

    :raises StoreSchemaError: if the store's is newer.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(migrations)
    head = script.get_current_head()
    revision = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if revision is not None and revision not in {each.revision for each in script.walk_revisions()}:
        raise StoreSchemaError(
            f"The store's schema is {revision}, which is newer than {head}, the newest that "
            f"airflow-provider-apiusage {__version__} knows.",
            name_of(connection.engine),
            "Upgrade airflow-provider-apiusage here to the version that the other hosts use, and start this anew.",
        )
    return revision, head


def name_of(engine: Engine) -> str:
    """Return the store's URL without its password."""
    return engine.url.render_as_string(hide_password=True)


def migrate(engine: Engine) -> None:
    """Bring the schema up to date; processes that start at once do it once.

    :param engine: prepared by :func:`prepare_engine`.
    :raises StoreSchemaError: if the schema is newer than this version of the package.
    :raises StoreUnavailableError: if the store cannot be reached or written.
    """
    from alembic import command

    migrations = _migrations()
    with looking(engine) as connection:
        current, head = _current_revision(connection, migrations)
        if current == head:
            return
    with _migrating, writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        if _current_revision(connection, migrations)[0] != head:
            migrations.attributes["connection"] = connection
            command.upgrade(migrations, "head")
