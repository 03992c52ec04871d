"""A real Airflow for each test that needs one, with the example DAGs and a sandbox org behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.sandbox import SandboxServer
from example_dags.demo.standalone import StandaloneAirflow

EXAMPLES = Path(__file__).parents[2] / "example_dags"


def environment_for(server: SandboxServer, flow: str = "client_credentials", **more: str) -> dict[str, str]:
    """The environment in which an Airflow reaches the sandbox org as ``salesforce_default``."""
    return {
        "AIRFLOW_CONN_SALESFORCE_DEFAULT": json.dumps(server.connection(flow)),
        "REQUESTS_CA_BUNDLE": str(server.ca_file),
        **more,
    }


@pytest.fixture
def start_airflow(tmp_path: Path) -> Iterator[Callable[..., StandaloneAirflow]]:
    """Starts a standalone Airflow; whatever was started is stopped at the end of the test."""
    with ExitStack() as stack:

        def start(dags: list[Path], environment: dict[str, str], **options: Any) -> StandaloneAirflow:
            return stack.enter_context(StandaloneAirflow(tmp_path / "airflow", dags, environment, **options))

        yield start
