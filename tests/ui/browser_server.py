"""The page's application alone, over HTTP in this process, so that a test may change what it is asked about."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.routing import Mount

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.quota.model import Holder, LimitFigures, QuotaRequest, Reserve
from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from airflow_provider_apiusage.sandbox.identity import APPS, USERS, Identity, User
from airflow_provider_apiusage.sandbox.ledger import Caller as Program
from airflow_provider_apiusage.store.engine import prepare_engine, sqlite_engine
from airflow_provider_apiusage.ui.access import Caller, caller
from airflow_provider_apiusage.ui.app import make_app
from airflow_provider_apiusage.ui.failures import Refused
from airflow_provider_apiusage.ui.source import Source
from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.model import API_REQUESTS
from airflow_provider_apiusage.usage.reconciliation import reconcile

CONN_ID = "seed_org"
REPORT = "00OAA0000000001"
HOSTILE = "<img src=x onerror=\"window.ran='name'\">"
"""What a user, a task and a run of the seed's org are called: markup that would run if it became markup."""

LOAD = Holder("load", HOSTILE, "gate")


class PageServer:
    """The application at ``/some/where/apiusage/``; whoever asks may see everything.

    :param source: of its data; put another one there at any time.
    """

    def __init__(self, source: Source) -> None:
        self._app = make_app(source)
        self._app.dependency_overrides[caller] = lambda: Caller("ann", lambda *_: True, lambda *_: True)
        mounted = Starlette(routes=[Mount("/some/where/apiusage", self._app)])
        self._server = uvicorn.Server(uvicorn.Config(mounted, port=0, log_level="critical", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> PageServer:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive(), "The server has ended."
            assert time.monotonic() < deadline, "The server has not started."
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/some/where/apiusage/"
        return self

    def __exit__(self, *_failure: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    @contextmanager
    def turning_away(self) -> Iterator[None]:
        """Let nobody in, as Airflow does with those who may not see pages of plugins."""
        before = self._app.dependency_overrides[caller]

        def refuse() -> None:
            raise Refused(403, "forbidden", "You may not see pages of plugins.", "Ask an administrator of Airflow.")

        self._app.dependency_overrides[caller] = refuse
        try:
            yield
        finally:
            self._app.dependency_overrides[caller] = before

    def show(self, source: Source) -> None:
        """Answer from other data from now on."""
        self._app.state.source = source


def later(hours: int) -> datetime:
    """Return our clock in some hours."""
    return datetime.now(UTC) + timedelta(hours=hours)


@contextmanager
def seed_engine(file: Path) -> Iterator[Engine]:
    """Fill a store from the seed's org: one snapshot with its report, event logs, a reconciliation, a gate.

    Users, a run and a load have names that are markup.
    """
    users = (USERS[0], User(USERS[1].id, HOSTILE, HOSTILE), *USERS[2:])
    org = SandboxOrg.seed_example(identity=Identity(users=users), event_log_retention_days=30)
    now = org.clock.now()
    uncounted = Program(users[1].id, APPS[1].id, HOSTILE, "REST", counted=False)
    org.spread(400, now - timedelta(hours=8), now - timedelta(hours=6), (uncounted,))
    with pytest.MonkeyPatch.context() as patch, SandboxServer(org) as server:
        patch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        patch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(server.connection("client_credentials")))
        patch.setattr("airflow_provider_apiusage.hooks.store.default_path", lambda: file)
        with ApiUsageHook(CONN_ID, keep_readings=False) as hook:
            snapshot = hook.take_snapshot(daily_report=REPORT, taken_by="d/r/t/-1")
            hook.try_events(EventSource.AUTO, snapshot, most=500)
            hook.store.add(snapshot)
            evidence = hook.store.evidence(hook.get_org_id())
            assert evidence is not None
            told = reconcile(evidence)
            hook.store.add_reconciliation(told.as_record(), told.at)
            _wait_at_the_gate(hook)
    engine = prepare_engine(sqlite_engine(file))
    yield engine
    engine.dispose()


def _wait_at_the_gate(hook: ApiUsageHook) -> None:
    now = datetime.now(UTC)
    request = QuotaRequest(
        hook.get_org_id(), LOAD, {API_REQUESTS: 80_000}, now - timedelta(minutes=30), Reserve({API_REQUESTS: 10_000})
    )
    figures = [LimitFigures(API_REQUESTS, 80_000, 100_000, 75_000, 10_000, 0)]
    with hook.ledger.turn(request.org_id) as turn:
        turn.join(request, request.requested_at, now + timedelta(hours=48))
        turn.record(request, request.requested_at, "wait", "DailyApiRequests: 80,000 needed; too few.", figures)
