"""The command that starts a sandbox org."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from airflow_provider_apiusage.sandbox.__main__ import make_org, parser

MODULE = "airflow_provider_apiusage.sandbox"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_says_how_to_connect_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """The command prints how to connect, writes the ready file, serves, and exits with 0 on a signal."""
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", MODULE, "--preset", "seed_example", "--ready-file", str(ready)]
    command += ["--state-dir", str(tmp_path / "state"), "--limit", "40000", "--flow", "client_credentials"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = [*itertools.takewhile(lambda line: not line.startswith("Stop"), process.stdout)]
            limits = requests.get(_ready(ready)["control_url"] + "/truth", timeout=30).json()
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()

    text = "".join(said)
    assert (process.returncode, errors) == (0, "")
    assert (limits["rolling"], limits["limit"]) == (25_000, 40_000)
    assert f"export REQUESTS_CA_BUNDLE={tmp_path / 'state' / 'ca.pem'}" in text
    connection = json.loads(text.split("AIRFLOW_CONN_SALESFORCE_DEFAULT='")[1].split("'\n")[0])
    assert connection["extra"]["instance_url"] == _ready(ready)["url"]


def _ready(path: Path) -> dict[str, str]:
    return json.loads(path.read_text())


def test_arguments_make_the_org() -> None:
    """Every argument reaches its setting."""
    options = parser().parse_args(
        [
            "--clock",
            "x60",
            "--start",
            "2026-10-07T00:00",
            "--limit",
            "100",
            "--hard-limit",
            "120",
            "--calls-per-day",
            "10",
            "--seed",
            "5",
            "--expiry",
            "15",
            "--staleness",
            "300",
            "--set",
            "report_shape=MATRIX",
            "--set",
            "report_row_cap=5",
        ]
    )
    org = make_org(options)

    assert org.clock.speed == 60.0
    assert (org.settings.limit, org.settings.cap, org.settings.calls_per_day) == (100, 120, 10)
    assert (org.settings.bucket_seconds, org.settings.staleness_seconds) == (900, 300)
    assert (org.settings.report_shape, org.settings.report_row_cap) == ("MATRIX", 5)


@pytest.mark.parametrize("preset", ["plain", "busy", "seed_example"])
def test_presets_can_be_stepped(preset: str) -> None:
    """Each preset starts, and the clock can be told to stand still."""
    org = make_org(parser().parse_args(["--preset", preset, "--clock", "stepped"]))

    assert org.clock.speed == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clock", "fast"], "stepped"),
        (["--set", "limit"], "NAME=JSON"),
        (["--set", "odd=1"], "no such setting"),
        (["--flow", "odd"], "no such flow"),
    ],
)
def test_wrong_arguments_are_explained(arguments: list[str], message: str) -> None:
    """A wrong argument ends with status 2 and a reason."""
    command = [sys.executable, "-m", MODULE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=os.environ)

    assert done.returncode == 2
    assert message in done.stderr
