"""A sandbox org that is watched through the hook, as the snapshot DAG would, and reconciled from its store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.hooks import store as store_module
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from airflow_provider_apiusage.usage.model import Finding
from airflow_provider_apiusage.usage.reconciliation import Reconciliation, reconcile

MONDAY = datetime.fromisoformat("2026-10-05T00:00:00+00:00")
QUARTER = timedelta(minutes=15)


@dataclass
class Watched:
    """An org and what was seen of it."""

    server: SandboxServer
    hook: ApiUsageHook

    @property
    def org(self) -> SandboxOrg:
        return self.server.org

    def snapshot(self, **options: Any) -> None:
        """Take a snapshot and keep it."""
        self.hook.store.add(self.hook.take_snapshot(**options))

    def watch(self, span: timedelta, every: timedelta = QUARTER, events: str | None = None) -> None:
        """Let time pass with a snapshot at every step, the first after one step."""
        for _ in range(span // every):
            self.org.clock.advance(every)
            self.snapshot()
            if events:
                self.hook.read_events(events)

    def reconcile(self, at: datetime | None = None) -> Reconciliation:
        """Reconcile at an instant, by default the latest reading's."""
        evidence = self.hook.store.evidence(self.hook.get_org_id(), at)
        assert evidence is not None
        return reconcile(evidence)

    def finding(self, code: str, at: datetime | None = None) -> Finding:
        """Return the one finding of a code, out of a reconciliation."""
        result = self.reconcile(at)
        found = [finding for finding in result.findings if finding.code == code]
        assert len(found) == 1, [finding.code for finding in result.findings]
        return found[0]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Watched]]:
    """Makes an org with the settings given, on a Monday at 00:00 UTC and standing still, and a hook with a store."""
    monkeypatch.setattr(store_module, "default_path", lambda: tmp_path / "apiusage.db")
    running: list[SandboxServer] = []

    def make(*, org: SandboxOrg | None = None, **changes: Any) -> Watched:
        server = SandboxServer(org or SandboxOrg(**{"start": MONDAY, "limit": 1_000_000, **changes}))
        server.start()
        running.append(server)
        bundle = tmp_path / "authorities.pem"
        bundle.write_text("".join(each.ca_file.read_text() for each in running))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        name = f"org_{len(running)}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(server.connection("client_credentials")))
        return Watched(server, ApiUsageHook(name))

    yield make
    for server in running:
        server.stop()
