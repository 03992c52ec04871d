"""A filled store, the page's application in this process, and a real API server that serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_apiusage.hooks import store as store_module
from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from tests.ui.servers import ApiServer
from tests.ui.worlds import CONN_ID, World, live

HOURS = 72
"""How long the org has lived when the page looks at it."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three busy days of a sandbox org, up to now, in a store; tests must not write to it."""
    file = tmp_path_factory.mktemp("page") / "apiusage.db"
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    org = SandboxOrg(start=now - timedelta(hours=HOURS), limit=100_000, event_log_retention_days=30)
    with pytest.MonkeyPatch.context() as patch, SandboxServer(org) as server:
        patch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(server.connection("client_credentials")))
        patch.setattr(store_module, "default_path", lambda: file)
        with pytest.MonkeyPatch.context() as meanwhile:  # other tests of this process trust others
            meanwhile.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
            made = live(server, file, hours=HOURS)
        yield made


@pytest.fixture(scope="session")
def airflow_server(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """``airflow api-server`` under the base-URL prefix ``/af``, with a copy of the filled store. Mark tests ``e2e``."""
    home: Path = tmp_path_factory.mktemp("api-server")
    with ApiServer(home, world.store, prefix="/af") as server:
        yield server
