"""One process that reads an org's event logs into a store, and says when it begins: made to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb  # noqa: F401 - loading it takes longer than reading a file; it is to be over when the process says so

from airflow_provider_apiusage.event_reading import EventReader
from airflow_provider_apiusage.salesforce.errors import Where
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.store.engine import sqlite_engine
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.usage.event_log_plan import EventSource


def main(url: str, token: str, folder: str) -> None:
    """Read everything that is new."""
    where = Where("sf_test", "sandbox org")
    org = OrgClient(MeteredSession(where), instance_url=url, token=token, version="62.0", where=where)
    org.limits()
    store = EventLogStore(sqlite_engine(Path(folder) / "apiusage.db"))
    print("reading", flush=True)
    read = EventReader(org, store, folder=Path(folder)).refresh(EventSource.HOURLY)
    print("read", len(read.read), read.left, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
