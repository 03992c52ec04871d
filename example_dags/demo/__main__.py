"""``make demo``: snapshot, reconciliation and a gated load in a real Airflow, on a sandbox org. Under three minutes.

It needs nothing but this checkout's environment: the org, Airflow and the store all run on this machine, in a temporary
folder, and are stopped and removed at the end. Only the reports stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from example_dags.demo.standalone import StandaloneAirflow

DAGS = Path(__file__).parents[1]
REPORTS = Path(tempfile.gettempdir()) / "apiusage-demo-reports"
"""Where the reports stay when the demo is over."""
STARTED_AT = time.monotonic()


def say(text: str = "") -> None:
    """Print a line with the seconds since the start, at once."""
    stamp = f"[{time.monotonic() - STARTED_AT:5.1f} s] " if text else ""
    print(f"{stamp}{text}", flush=True)  # noqa: T201 - this is a program that talks to a person


def quote(text: str) -> None:
    """Print what somebody else said, set off from our own lines."""
    for line in text.splitlines():
        print(f"          | {line}", flush=True)  # noqa: T201


def lines_of(log: str, *beginnings: str) -> str:
    """Return the lines of a task's log that begin in one of some ways."""
    return "\n".join(line for line in log.splitlines() if line.lstrip().startswith(beginnings))


def section(log: str, first: str, end: str) -> str:
    """Return the part of a task's log from a line that begins with ``first`` up to one that begins with ``end``."""
    lines = log.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.startswith(first)), len(lines))
    stop = next((n for n, line in enumerate(lines) if n > begin and line.startswith(end)), len(lines))
    return "\n".join(lines[begin:stop])


def control(server: SandboxServer, method: str, path: str, **body: Any) -> Any:
    """Ask or order something on the sandbox org's control port."""
    response = requests.request(method, f"{server.control_url}/{path}", json=body or None, timeout=30)
    response.raise_for_status()
    return response.json()


def main() -> int:
    """Run the whole story; return the exit code."""
    say("Starting a sandbox org: a Wednesday, 14:30 UTC, on a clock that stands still until it is moved")
    with (
        tempfile.TemporaryDirectory(prefix="apiusage-demo-") as folder,
        SandboxServer(SandboxOrg.seed_example(limit=27_000, staleness_seconds=300)) as server,
    ):
        environment = {
            "AIRFLOW_CONN_SALESFORCE_DEFAULT": json.dumps(server.connection("client_credentials")),
            "AIRFLOW_VAR_APIUSAGE_DAILY_REPORT": server.org.settings.report_id,
            "AIRFLOW_VAR_APIUSAGE_REPORTS": f"file://{REPORTS}",
            "AIRFLOW__APIUSAGE__POLL_INTERVAL": "3",
            "REQUESTS_CA_BUNDLE": str(server.ca_file),
        }
        dags = [DAGS / "api_usage_reconcile.py", DAGS / "gated_bulk_load.py"]
        with StandaloneAirflow(Path(folder) / "airflow", dags, environment, progress=say) as airflow:
            reconcile(airflow)
            load_behind_the_gate(airflow, server)
            say("Stopping Airflow and the sandbox org")
    say("Done. The same on your own org:")
    print(  # noqa: T201
        "  pip install airflow-provider-apiusage\n"
        '  airflow connections add salesforce_default --conn-json \'{"conn_type": "salesforce", "extra": {...}}\''
        "   # docs/connections.md\n"
        '  cp example_dags/api_usage_snapshot.py example_dags/gated_bulk_load.py "$AIRFLOW_HOME/dags/"'
    )
    return 0


def reconcile(airflow: StandaloneAirflow) -> None:
    """Snapshot and reconciliation: the worked example of Salesforce's own FAQ."""
    say("DAG api_usage_reconcile: take a snapshot, then put the rolling count beside the daily counts")
    run = airflow.trigger("api_usage_reconcile")
    state = airflow.wait_for_run("api_usage_reconcile", run)
    quote(lines_of(airflow.log("api_usage_reconcile", run, "snapshot"), "Org "))
    quote(section(airflow.log("api_usage_reconcile", run, "reconcile"), "API usage of org", "::"))
    say("(The clock-skew finding is true here: the sandbox org lives on a clock of its own)")
    if state != "success":
        quote(airflow.log("api_usage_reconcile", run, "reconcile"))
        raise SystemExit(f"api_usage_reconcile has ended as {state}")
    for file in sorted(REPORTS.glob("api_usage_*"))[-2:]:
        say(f"The same as a report, to read in a browser or a mail: {file}")


def load_behind_the_gate(airflow: StandaloneAirflow, server: SandboxServer) -> None:
    """A load that needs more than is left waits in the triggerer, and starts when enough calls have expired."""
    say("DAG gated_bulk_load: a load that may spend 5,000 calls; about 2,000 of 27,000 are left, 10% are kept back")
    run = airflow.trigger("gated_bulk_load", {"calls": 5_000, "reserve": "10%", "records": 200})
    airflow.wait_for_state("gated_bulk_load", run, "gate", "deferred")
    say("The gate holds it, in the triggerer, without a worker. It says:")
    quote(lines_of(airflow.log("gated_bulk_load", run, "gate"), "Waiting"))
    for _ in range(3):
        now = control(server, "POST", "clock", advance_seconds=3 * 3600)["now"]
        used = control(server, "GET", "truth")["rolling"]
        say(f"The org's clock moves on to {now}: {used:,} calls are in the last 24 hours now")
        time.sleep(5)
        if airflow.states("gated_bulk_load", run)["gate"] != "deferred":
            break
    state = airflow.wait_for_run("gated_bulk_load", run)
    quote(lines_of(airflow.log("gated_bulk_load", run, "gate"), "The triggerer", "Granted"))
    loaded = airflow.xcom("gated_bulk_load", run, "load")
    say(f"The load is let through and done: {loaded['processed']} records in {loaded['api_calls']} API calls")
    released = airflow.xcom("gated_bulk_load", run, "release")
    say(f"The reservation {released['reservation_id']} is {released['state']}")
    if state != "success" or loaded["processed"] != 200 or not released["released"]:
        raise SystemExit(f"gated_bulk_load has ended as {state}")


if __name__ == "__main__":
    sys.exit(main())
