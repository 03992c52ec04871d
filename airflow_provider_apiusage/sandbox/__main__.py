"""``python -m airflow_provider_apiusage.sandbox``: start a sandbox org and say how to connect to it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_apiusage.sandbox.org import SandboxOrg
from airflow_provider_apiusage.sandbox.server import SandboxServer, airflow_connection


def parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    arguments = argparse.ArgumentParser(
        prog="python -m airflow_provider_apiusage.sandbox",
        description="Start a sandbox org: a quota-true Salesforce org over HTTPS on loopback.",
    )
    add = arguments.add_argument
    add("--port", type=int, default=0, help="port of the org (HTTPS); 0: any free one")
    add("--control-port", type=int, default=0, help="port that tells the truth and takes orders (HTTP)")
    add("--proxy-port", type=int, default=0, help="port of the CONNECT proxy for *.salesforce.com")
    add("--state-dir", type=Path, help="where ca.pem is written; default: a temporary directory")
    add("--ready-file", type=Path, help="write all addresses here, as JSON, once listening")
    add("--preset", choices=("plain", "seed_example", "busy"), default="plain", help="what the org begins with")
    add("--clock", type=_speed, metavar="stepped|real|xN", help="still, at real speed, or N times as fast")
    add("--start", type=_instant, metavar="ISO", help="first instant of the clock; default: now")
    add("--limit", type=int, help="calls in 24 hours")
    add("--hard-limit", type=int, help="calls beyond which the org refuses; default: the limit")
    add("--calls-per-day", type=int, help="calls of others on a weekday")
    add("--seed", type=int, default=1, help="makes the calls of others")
    add("--expiry", choices=("exact", "15", "60"), help="calls leave one by one, or in buckets of minutes")
    add("--staleness", type=int, metavar="SECONDS", help="the reported figure is refreshed only so often")
    add("--flow", default="access_token", help="way in of the connection that is printed")
    add("--set", action="append", default=[], type=_setting, metavar="NAME=JSON", help="any other setting")
    return arguments


def make_org(options: argparse.Namespace) -> SandboxOrg:
    """Return the org that the arguments ask for.

    :raises ValueError: if a setting is unknown or does not fit.
    """
    given: dict[str, Any] = {
        "speed": options.clock,
        "start": options.start,
        "limit": options.limit,
        "hard_limit": options.hard_limit,
        "calls_per_day": options.calls_per_day,
        "expiry_bucket_minutes": None if options.expiry is None else int(options.expiry.replace("exact", "0")),
        "staleness_seconds": options.staleness,
        **dict(options.set),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if options.preset == "plain":
        return SandboxOrg(**{"seed": options.seed, "speed": 1.0, **changes})
    preset = SandboxOrg.busy if options.preset == "busy" else SandboxOrg.seed_example
    return preset(seed=options.seed, **changes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted or terminated; return the exit status."""
    command = parser()
    options = command.parse_args(arguments)
    try:
        org = make_org(options)
    except ValueError as error:
        command.error(str(error))
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with SandboxServer(org, options.port, options.control_port, options.proxy_port, options.state_dir) as server:
        if options.flow not in server.connections():
            command.error("no such flow; there are " + ", ".join(server.connections()))
        if options.ready_file is not None:
            unfinished = options.ready_file.with_name(options.ready_file.name + ".part")
            unfinished.write_text(json.dumps({**server.describe(), "pid": os.getpid()}, indent=2) + "\n")
            unfinished.replace(options.ready_file)
        _say(server, options.flow)
        stopping.wait()
    return 0


def _say(server: SandboxServer, flow: str) -> None:
    sys.stdout.write(
        f"The sandbox org listens on {server.url}\n\n"
        f"export REQUESTS_CA_BUNDLE={server.ca_file}\n"
        f"export AIRFLOW_CONN_SALESFORCE_DEFAULT='{airflow_connection(server, flow)}'\n\n"
        f"The control port tells the truth and takes orders:\n"
        f"curl {server.control_url}/truth\n"
        f"curl {server.control_url}/connection?flow=client_credentials\n"
        f"curl -X POST {server.control_url}/clock -d '{{\"advance_seconds\": 3600}}'\n"
        f"curl -X POST {server.control_url}/config -d '{{\"limit\": 15000}}'\n"
        f'curl -X POST {server.control_url}/faults -d \'{{"kind": "status", "status": 503, "count": 2}}\'\n\n'
        f"Clients that only know salesforce.com names go through HTTPS_PROXY={server.proxy_url}\n"
        f"Stop with Ctrl-C.\n"
    )
    sys.stdout.flush()


def _speed(text: str) -> float:
    known = {"stepped": 0.0, "real": 1.0}
    if text in known:
        return known[text]
    if not text.startswith("x"):
        raise argparse.ArgumentTypeError("stepped, real, or x and a number")
    return float(text[1:])


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("NAME=JSON")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
