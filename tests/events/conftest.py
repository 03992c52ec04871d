"""A sandbox org with traffic, a client of it, and stores: everything that reading event logs needs, without Airflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.event_reading import EventReader
from airflow_provider_apiusage.salesforce.errors import Where
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from airflow_provider_apiusage.store.engine import migrate, sqlite_engine
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.usage.hourly import Caller, EventUsage, resource_class, short_id

START = datetime.fromisoformat("2026-10-05T00:00:00+00:00")
Truth = Counter[tuple[datetime, Caller]]


@dataclass
class World:
    """One org over HTTPS, one store, and what the org really counted."""

    server: SandboxServer
    folder: Path
    client: OrgClient = field(init=False)
    logs: EventLogStore = field(init=False)
    reader: EventReader = field(init=False)

    def __post_init__(self) -> None:
        self.client = client_of(self.server)
        engine = sqlite_engine(self.folder / "apiusage.db")
        migrate(engine)
        self.logs = EventLogStore(engine)
        self.reader = EventReader(self.client, self.logs, folder=self.folder)

    @property
    def org(self) -> SandboxOrg:
        return self.server.org

    @property
    def calls(self) -> int:
        """API calls that the client has spent."""
        return self.client.session.calls

    def pass_time(self, **duration: float) -> None:
        """Let time pass in the org, and let the client notice, as reading the limits does."""
        self.org.clock.advance(timedelta(**duration))
        self.client.limits()

    def usage(self, start: datetime, end: datetime) -> EventUsage:
        return self.logs.usage(self.client.org_id(), start, end)


def client_of(server: SandboxServer, **options: Any) -> OrgClient:
    """A metered client of the org, with a token that costs no login."""
    where = Where("sf_test", "sandbox org")
    session = MeteredSession(where, sleep=lambda seconds: None, **options)
    token = server.connection("access_token")["extra"]["access_token"]
    return OrgClient(session, instance_url=server.url, token=token, version="62.0", where=where)


def truth_of(org: SandboxOrg, start: datetime, end: datetime) -> Truth:
    """What the org counted in ``[start, end)``, by hour and caller."""
    truth: Truth = Counter()
    for period in org.ledger.hourly():
        if start <= period.start < end and period.caller.logged:
            truth[period.start, caller_of(period.caller)] += period.count
    return truth


def caller_of(caller: Any) -> Caller:
    """The org's caller in our words."""
    return Caller(
        short_id(caller.user),
        short_id(caller.app),
        caller.client or None,
        caller.family,
        resource_class(caller.resource),
        caller.counted,
    )


def told_by(usage: EventUsage) -> Truth:
    """What the store tells, in the same form."""
    return Counter({(count.starts_at, count.caller): count.calls for count in usage.counts})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Makes a world whose org has the settings given; it stands still at 00:00 UTC on a Monday until moved."""
    running: list[SandboxServer] = []

    def make(**changes: Any) -> World:
        org = SandboxOrg(**{"start": START, "calls_per_day": 2_000, "limit": 1_000_000, **changes})
        server = SandboxServer(org)
        server.start()
        running.append(server)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        return World(server, tmp_path)

    yield make
    for server in running:
        server.stop()
