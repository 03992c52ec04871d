"""The DAGs that users copy: those of ``example_dags/`` and the one in the README."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.sandbox import SandboxServer

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def test_there_are_ten_examples() -> None:
    """Snapshot, reconciliation, backfill, retention, alerts, forecast, gated loads, and two that events start."""
    assert [file.stem for file in EXAMPLES] == [
        "alerts",
        "api_usage_backfill",
        "api_usage_reconcile",
        "api_usage_retention",
        "api_usage_snapshot",
        "branch_on_forecast",
        "gated_bulk_load",
        "quota_event_load",
        "quota_event_snapshot",
        "taskflow_load",
    ]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_runs_to_success(
    connected: SandboxServer,
    run_dag: Callable[..., Any],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Each example DAG, as it stands, runs against the sandbox org."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("AIRFLOW_VAR_APIUSAGE_DAILY_REPORT", connected.org.settings.report_id)
    monkeypatch.setenv("AIRFLOW_VAR_APIUSAGE_REPORTS", f"file://{tmp_path}/reports")
    bag = DagBag(dag_folder=str(file))
    assert bag.import_errors == {}
    (dag,) = bag.dags.values()
    if "alerts" in file.stem:  # without a snapshot it would have something to tell, by mail
        with ApiUsageHook() as hook:
            hook.store.add(hook.take_snapshot())

    options = {"run_conf": {"start": "2026-10-06", "end": "2026-10-07"}} if "backfill" in file.stem else {}
    skipped = {"skipped"} if file.stem in ("branch_on_forecast", "quota_event_snapshot") else set()
    assert set(states(run_dag(dag, **options)).values()) == {"success"} | skipped
    written = {file.suffix for file in (tmp_path / "reports").glob("api_usage_*")}
    assert written == ({".md", ".html"} if "reconcile" in file.stem else set())


def test_the_backfill_without_a_period_looks_30_days_back(
    connected: SandboxServer, run_dag: Callable[..., Any]
) -> None:
    """The org's logs are older than that here, so nothing is listed and nothing is read."""
    from airflow.dag_processing.dagbag import DagBag

    (file,) = [file for file in EXAMPLES if "backfill" in file.stem]
    (dag,) = DagBag(dag_folder=str(file)).dags.values()

    assert states(run_dag(dag)) == {"list_files": "success", "read_file": "skipped"}


def test_the_readme_s_dag_runs(connected: SandboxServer, run_dag: Callable[..., Any], tmp_path: Path) -> None:
    """The DAG that the README shows works when it is copied."""
    from airflow.dag_processing.dagbag import DagBag

    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "nightly_load.py").write_text(source)
    bag = DagBag(dag_folder=str(tmp_path))
    assert bag.import_errors == {}

    assert states(run_dag(bag.dags["nightly_load"])) == {"gate": "success", "load": "success", "release": "success"}


def test_links_in_the_documents_lead_somewhere() -> None:
    """No document points at a file or heading that is not there."""
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", document.read_text()):
            path, _, anchor = target.partition("#")
            file = (document.parent / path).resolve() if path else document
            assert file.exists(), f"{document.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor in slugs, f"{document.name}: {target}"
