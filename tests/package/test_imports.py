"""What parsing a DAG file costs."""

from __future__ import annotations

import json
import subprocess
import sys

DAG_FACING = [
    "airflow_provider_apiusage.operators.snapshot",
    "airflow_provider_apiusage.operators.reconcile",
    "airflow_provider_apiusage.operators.quota",
    "airflow_provider_apiusage.operators.retention",
    "airflow_provider_apiusage.operators.forecast",
    "airflow_provider_apiusage.operators.alert",
    "airflow_provider_apiusage.sensors.quota",
    "airflow_provider_apiusage.triggers.quota",
    "airflow_provider_apiusage.triggers.quota_event",
    "airflow_provider_apiusage.taskflow",
    "airflow_provider_apiusage.links",
    "airflow_provider_apiusage.ui.plugin",
    "airflow_provider_apiusage.get_provider_info",
    "airflow_provider_apiusage.cli.definition",
]
HEAVY = {"requests", "simple_salesforce", "zeep", "pandas", "alembic", "fastapi", "aiohttp", "pendulum", "jwt"}

PROBE = """
import importlib, json, sys
import airflow.sdk
before = set(sys.modules)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_dag_facing_modules_import_nothing_heavy() -> None:
    """What DAG files import brings in nothing heavy beyond what ``airflow.sdk`` has loaded already."""
    probe = subprocess.run([sys.executable, "-c", PROBE, *DAG_FACING], capture_output=True, text=True, check=True)
    brought = json.loads(probe.stdout.splitlines()[-1])

    assert "airflow_provider_apiusage.sensors.quota" in brought
    assert [name for name in brought if name.split(".")[0] in HEAVY or name.startswith("sqlalchemy.orm")] == []
