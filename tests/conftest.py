"""What all tests share: an ``AIRFLOW_HOME`` of their own, and a sandbox org over TLS."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

# Airflow reads its settings when it is first imported, so they are made before anything imports it.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="apiusage-tests-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] = "False"
os.environ["NO_PROXY"] = "127.0.0.1,localhost"
for name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__APIUSAGE__"))]:
    del os.environ[name]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A sandbox org with the seed's worked example, on a stepped clock, listening on loopback with TLS."""
    from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer

    with SandboxServer(SandboxOrg.seed_example()) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
        yield server
