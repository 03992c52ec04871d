"""The commands through Airflow's own parser, in this process; a sandbox org on the real clock; a store of each test."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.cli.__main__ import main
from airflow_provider_apiusage.hooks import store as store_module
from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer


@dataclass(frozen=True)
class Said:
    """What a command did.

    :param code: its exit code.
    """

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """Standard output as JSON."""
        told: dict[str, Any] = json.loads(self.out)
        return told


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``airflow apiusage ...``: by Airflow's parser where it takes commands of providers (3.2 and newer)."""
    from airflow.cli.cli_parser import ALL_COMMANDS_DICT, get_parser

    def command(*arguments: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = 0
        try:
            if "apiusage" in ALL_COMMANDS_DICT:
                args = get_parser().parse_args(["apiusage", *arguments])
                args.func(args)
            else:
                main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    return command


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """A sandbox org on the real clock, whose calls were made three hours ago and are logged."""
    org = SandboxOrg(speed=1.0, event_log_hourly_lag_minutes=0, event_log_retention_days=30)
    org.add_calls(25_000, org.now() - timedelta(hours=3))
    with SandboxServer(org) as listening:
        yield listening


@pytest.fixture
def org(server: SandboxServer, store_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    """That org as ``salesforce_default``; what a test sets, it loses afterwards."""
    before = server.org.settings
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(server.connection("client_credentials")))
    yield server
    server.org.faults.clear()
    server.org.change(before.as_dict())


@pytest.fixture
def store_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of this test, where the default one would be; it is made on first use."""
    file = tmp_path / "apiusage.db"
    monkeypatch.setattr(store_module, "default_path", lambda: file)
    for module in ("subject", "store_checks"):
        monkeypatch.setattr(f"airflow_provider_apiusage.cli.{module}.default_path", lambda: file)
    return file
