"""Where the store is: ``[apiusage] store_conn_id``, an Airflow connection, or a SQLite file under ``AIRFLOW_HOME``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.salesforce.errors import ConfigurationError, Where

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from airflow_provider_apiusage.store.quota_ledger import QuotaLedger

SECTION = "apiusage"
DEFAULT_FILE = "apiusage.db"

_engines: dict[str, Engine] = {}
_lock = threading.Lock()


def configured_store(store_conn_id: str | None) -> str | None:
    """Return the connection id of the store: the argument, else ``[apiusage] store_conn_id``, else ``None``.

    :param store_conn_id: what the DAG says; blank counts as not given.
    """
    from airflow.providers.common.compat.sdk import conf

    return store_conn_id or conf.get(SECTION, "store_conn_id", fallback="") or None


def default_path() -> Path:
    """Return the path of the default SQLite file, ``$AIRFLOW_HOME/apiusage.db``."""
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME) / DEFAULT_FILE


def engine_of(connection: Any | None) -> Engine:
    """Return the engine of the store, its schema brought up to date once per process.

    :param connection: the Airflow connection, the path of a SQLite file, or ``None`` for the default file.
    :raises ConfigurationError: if the connection is of a kind that gives no SQLAlchemy engine.
    :raises StoreError: if the store cannot be reached, written, or is of a newer schema.
    """
    from airflow_provider_apiusage.store.engine import migrate, prepare_engine, sqlite_engine

    connection = default_path() if connection is None else connection
    engine = sqlite_engine(connection) if isinstance(connection, Path) else _engine_from(connection)
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise ConfigurationError(
            f"The store cannot be kept on {engine.dialect.name}.",
            Where(getattr(connection, "conn_id", None) or "store", "the store"),
            "Use a 'postgres' or 'sqlite' connection.",
        )
    key = engine.url.render_as_string(hide_password=False)
    with _lock:
        if key not in _engines:
            prepare_engine(engine)
            migrate(engine)
            _engines[key] = engine
        return _engines[key]


def open_engine(store_conn_id: str | None = None) -> Engine:
    """Return the engine of a store, for those who have no hook.

    :param store_conn_id: as for :func:`configured_store`.
    :raises ConfigurationError: if the connection is missing or of no use.
    :raises StoreError: if the store cannot be reached.
    """
    store_conn_id = configured_store(store_conn_id)
    return engine_of(get_connection(store_conn_id, "the store") if store_conn_id else None)


def open_ledger(store_conn_id: str | None) -> QuotaLedger:
    """Return the ledger of a store, for tasks that need no org.

    :param store_conn_id: as for :func:`configured_store`.
    :raises ConfigurationError: if the connection is missing or of no use.
    :raises StoreError: if the store cannot be reached.
    """
    from airflow_provider_apiusage.store.quota_ledger import QuotaLedger

    return QuotaLedger(open_engine(store_conn_id))


def get_connection(conn_id: str, what: str) -> Any:
    """Return an Airflow connection.

    :param conn_id: its id.
    :param what: what it leads to, for the message.
    :raises ConfigurationError: if there is none of that name.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise no_connection(conn_id, what) from None


def no_connection(conn_id: str, what: str) -> ConfigurationError:
    """Return the error that a connection is missing."""
    return ConfigurationError(
        f"There is no connection {conn_id!r}.",
        Where(conn_id, what),
        "Create it: airflow connections add, an AIRFLOW_CONN_ variable, or Admin > Connections.",
    )


def _engine_from(connection: Any) -> Engine:
    from airflow.providers.common.compat.sdk import AirflowException
    from sqlalchemy.pool import NullPool

    from airflow_provider_apiusage.store.engine import sqlite_engine

    if connection.conn_type == "sqlite":
        return sqlite_engine(_sqlite_path(connection))
    where = Where(connection.conn_id or "store", "the store")
    try:
        hook = connection.get_hook()
        # The hook would look its connection up again; in a triggerer that must not happen outside the event loop.
        hook.get_connection = lambda *_: connection
        engine: Engine = hook.get_sqlalchemy_engine(engine_kwargs={"poolclass": NullPool})
    except (AirflowException, AttributeError, NotImplementedError, ImportError) as unfit:
        raise ConfigurationError(
            f"A connection of type {connection.conn_type!r} gives no SQLAlchemy engine: {unfit}.",
            where,
            "Use a 'postgres' or 'sqlite' connection, and install its provider "
            "(apache-airflow-providers-postgres with psycopg).",
        ) from None
    return engine


def _sqlite_path(connection: Any) -> Path:
    """Airflow reads the path of a SQLite URL as host or schema, depending on the number of slashes."""
    host, schema = connection.host or "", connection.schema or ""
    text = host if host.startswith("/") else f"/{schema}" if schema and not host else f"{host}/{schema}".rstrip("/")
    if not text or text.endswith("/"):
        raise ConfigurationError(
            "The sqlite connection names no file.",
            Where(connection.conn_id or "store", "the store"),
            'Write it like {"conn_type": "sqlite", "host": "/path/of/apiusage.db"}.',
        )
    return Path("/" + text.lstrip("/")) if text.startswith("/") else Path(text)
