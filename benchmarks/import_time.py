"""What a DAG file pays to import our modules, beyond ``airflow.sdk``: each figure from fresh processes, in one run.

``python -m benchmarks.import_time``
"""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 9
BUDGET_MS = 50.0
MODULES = {
    "airflow.sdk (the yardstick)": "",
    "operators.snapshot": "airflow_provider_apiusage.operators.snapshot",
    "operators.reconcile": "airflow_provider_apiusage.operators.reconcile",
    "operators.event_log": "airflow_provider_apiusage.operators.event_log",
    "operators.quota": "airflow_provider_apiusage.operators.quota",
    "sensors.quota": "airflow_provider_apiusage.sensors.quota",
    "all five": (
        "airflow_provider_apiusage.operators.snapshot, airflow_provider_apiusage.operators.reconcile, "
        "airflow_provider_apiusage.operators.event_log, airflow_provider_apiusage.operators.quota, "
        "airflow_provider_apiusage.sensors.quota"
    ),
    "the official SalesforceHook, for comparison": "airflow.providers.salesforce.hooks.salesforce",
}
PROBE = """
import time
started = time.perf_counter()
import airflow.sdk
from airflow.sdk import DAG, BaseOperator, task
between = time.perf_counter()
{statement}
print((between - started) * 1000, (time.perf_counter() - between) * 1000)
"""


def measure(modules: str) -> tuple[float, float]:
    """Return milliseconds of ``airflow.sdk`` and of ``modules`` after it, in one fresh process."""
    statement = f"import {modules}" if modules else ""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement=statement)], capture_output=True, text=True, check=True
    )
    sdk, ours = ran.stdout.split()[-2:]
    return float(sdk), float(ours)


def main() -> None:
    """Print the table."""
    figures: dict[str, list[float]] = {name: [] for name in MODULES}
    for _ in range(RUNS):
        for name, modules in MODULES.items():
            sdk, ours = measure(modules)
            figures[name].append(ours if modules else sdk)
    yardstick = statistics.median(figures["airflow.sdk (the yardstick)"])
    print("| imported | median ms | min | max | share of airflow.sdk |")
    print("|---|---|---|---|---|")
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.1f} | {min(values):.1f} | {max(values):.1f} | {median / yardstick:.1%} |")


if __name__ == "__main__":
    main()
