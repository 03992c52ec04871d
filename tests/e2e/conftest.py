"""A real Airflow for each test that needs one, with the example DAGs and a sandbox org behind it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
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


class Metrics:
    """A StatsD server that keeps the gauges it is sent."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._packets: list[str] = []

    def value(self, name: str) -> float:
        """The last value of a gauge."""
        with suppress(BlockingIOError):
            while True:
                self._packets += self._socket.recv(65_536).decode().splitlines()
        values = [packet.split(":")[1] for packet in self._packets if f".{name}:" in packet and "|g" in packet]
        assert values, sorted({packet.split(":")[0] for packet in self._packets if "apiusage" in packet})
        return float(values[-1].split("|")[0])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    """A StatsD server of this test alone."""
    server = Metrics()
    yield server
    server.close()


@pytest.fixture
def start_airflow(tmp_path: Path) -> Iterator[Callable[..., StandaloneAirflow]]:
    """Starts a standalone Airflow; whatever was started is stopped at the end of the test."""
    with ExitStack() as stack:

        def start(dags: list[Path], environment: dict[str, str], **options: Any) -> StandaloneAirflow:
            return stack.enter_context(StandaloneAirflow(tmp_path / "airflow", dags, environment, **options))

        yield start
