"""``make try``: an Airflow that stays, beside a sandbox org that it has watched for two days. Ends on Ctrl-C.

The tutorial (``docs/tutorial.md``) is written for it. Everything is in a temporary folder and is removed at the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from example_dags.demo.__main__ import DAGS, REPORTS, say
from example_dags.demo.standalone import StandaloneAirflow

WATCHED = timedelta(hours=48)
STEP = timedelta(hours=1)
SHOWN = ("api_usage_snapshot", "api_usage_reconcile", "gated_bulk_load", "branch_on_forecast")


def watch(server: SandboxServer) -> None:
    """Let two days pass in the org, with a snapshot every hour; report and event logs with some of them."""
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.usage.event_log_plan import EventSource

    clock, until = server.org.clock, server.org.clock.now() + WATCHED
    with ApiUsageHook(keep_readings=False) as hook:
        while clock.now() < until:
            clock.advance(STEP)
            whole = clock.now().hour % 8 == 0
            report = server.org.settings.report_id if whole else None
            snapshot = hook.take_snapshot(daily_report=report, taken_by=clock.now().isoformat())
            if whole:
                hook.try_events(EventSource.AUTO, snapshot, most=500)
            hook.store.add(snapshot)


def main() -> int:
    """Start everything, say where it is, and wait for Ctrl-C; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = datetime.now(UTC).replace(microsecond=0) - WATCHED
    with (
        tempfile.TemporaryDirectory(prefix="apiusage-try-") as folder,
        SandboxServer(SandboxOrg.busy(start=start, speed=0.0, event_log_retention_days=30)) as server,
    ):
        home = Path(folder) / "airflow"
        environment = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_CONN_SALESFORCE_DEFAULT": json.dumps(server.connection("client_credentials")),
            "AIRFLOW_VAR_APIUSAGE_DAILY_REPORT": server.org.settings.report_id,
            "AIRFLOW_VAR_APIUSAGE_REPORTS": f"file://{REPORTS}",
            "REQUESTS_CA_BUNDLE": str(server.ca_file),
        }
        home.mkdir()
        os.environ.update(environment)  # before anything here imports Airflow
        say("A sandbox org with five users and a limit of 100,000 lives through two days, and is watched")
        watch(server)
        server.org.clock.set_speed(1)
        with StandaloneAirflow(home, [DAGS / f"{name}.py" for name in SHOWN], environment, progress=say) as airflow:
            for name in SHOWN[:2]:
                say(f"DAG {name} runs")
                airflow.wait_for_run(name, airflow.trigger(name))
            say(f"Airflow: {airflow.url} (no log-in). The page: {airflow.url}/plugin/apiusage")
            say("In another terminal, for `airflow apiusage ...`:")
            path = airflow.environment["PATH"].split(os.pathsep)[0]
            for line in (
                *(f"export {name}='{value}'" for name, value in environment.items()),
                f"export PATH={path}:$PATH",
            ):
                print(f"  {line}", flush=True)  # noqa: T201 - this is a program that talks to a person
            say("Ctrl-C ends it all.")
            try:
                signal.pause()
            except KeyboardInterrupt:
                say("Stopping Airflow and the sandbox org")
    return 0


if __name__ == "__main__":
    sys.exit(main())
