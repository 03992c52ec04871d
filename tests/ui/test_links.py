"""Links of tasks to the page and to the org: made by real task runs, for no call, and empty where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from airflow.sdk import DAG

from airflow_provider_apiusage import links
from airflow_provider_apiusage.get_provider_info import get_provider_info
from airflow_provider_apiusage.operators.quota import ApiQuotaReleaseOperator
from airflow_provider_apiusage.operators.retention import ApiUsagePruneOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.quota.model import Holder
from airflow_provider_apiusage.salesforce import places
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor
from tests.airflow.conftest import connected, metadata_database, run_dag, store_file

__all__ = ["connected", "metadata_database", "run_dag", "store_file"]

TI = Holder("a dag", "scheduled__2026-10-07T02:00:00+00:00", "gate", 3)
"""Has the names of a task instance's key."""


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has used no connection yet."""
    monkeypatch.setattr(places, "_seen", {})


def link_of(run: Any, task_id: str, link: Any) -> Any:
    """Return what Airflow keeps of a link."""
    return run.get_task_instance(task_id).xcom_pull(task_ids=task_id, key=link.xcom_key)


def test_a_run_leaves_links_to_the_page_and_to_the_org(
    connected: SandboxServer, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshot, gate and release each lead to their org on the page and in Salesforce; no call is spent on that."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/af/")
    with DAG("linked", schedule=None) as dag:
        snapshot = ApiUsageSnapshotOperator(task_id="snapshot")
        gate = ApiQuotaSensor(task_id="gate", calls=1_000)
        snapshot >> gate >> ApiQuotaReleaseOperator(task_id="release", reservation=gate.output)
    before = connected.org.ledger.total_counted
    run = run_dag(dag)

    org_id = connected.org.identity.org_id
    page = urlsplit(link_of(run, "snapshot", links.ApiUsagePageLink()))
    assert (page.scheme, page.netloc, page.path) == ("https", "airflow.example", "/af/apiusage/")
    assert parse_qs(page.query) == {
        "org": [org_id], "view": ["summary"], "dag_id": ["linked"], "run_id": [run.run_id], "task_id": ["snapshot"],
    }  # fmt: skip
    for task_id in ("gate", "release"):
        query = parse_qs(urlsplit(link_of(run, task_id, links.QuotaGateLink())).query)
        assert (query["org"], query["view"], query["task_id"]) == ([org_id], ["gate"], [task_id])
    for task_id in ("snapshot", "gate"):
        overview = link_of(run, task_id, links.SystemOverviewLink())
        assert overview == f"{connected.url}/lightning/setup/SystemOverview/home"
    spent = run.get_task_instance("snapshot").xcom_pull(task_ids="snapshot")["api_calls"]
    assert spent <= connected.org.ledger.total_counted - before <= spent + 1  # the gate may read once


def test_what_is_not_known_is_left_out() -> None:
    """Before anything was learnt the page opens on what the DAG has to do with, and there is no link to the org."""
    prune = ApiUsagePruneOperator(task_id="prune")
    page = links.ApiUsagePageLink().get_link(prune, ti_key=TI)  # type: ignore[arg-type]

    assert "org" not in parse_qs(urlsplit(page).query)
    assert parse_qs(urlsplit(page).query)["dag_id"] == ["a dag"]
    assert parse_qs(urlsplit(page).query)["map_index"] == ["3"]
    assert links.SystemOverviewLink().get_link(prune, ti_key=TI) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "link"),
    [
        ("https://acme.my.salesforce.com", "https://acme.my.salesforce.com/lightning/setup/SystemOverview/home"),
        ("acme.my.salesforce.com/x?y=z", "https://acme.my.salesforce.com/lightning/setup/SystemOverview/home"),
        ("https://user:hunter2@acme.my.salesforce.com", ""), ("", ""), (None, ""), (7, ""),
    ],
)  # fmt: skip
def test_the_org_s_address_may_come_from_the_connection(
    written: Any, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that did not log in takes it from the connection's instance URL, and nothing secret with it."""
    connection = {"conn_type": "salesforce", "extra": {"instance_url": written}}
    monkeypatch.setenv("AIRFLOW_CONN_SALESFORCE_DEFAULT", json.dumps(connection))
    sensor = ApiQuotaSensor(task_id="gate", calls=1)

    assert links.SystemOverviewLink().get_link(sensor, ti_key=TI) == link  # type: ignore[arg-type]


def test_a_release_knows_its_org_from_the_reservation() -> None:
    """It logs in nowhere; the reservation that it gives back names the org."""
    release = ApiQuotaReleaseOperator(
        task_id="release", reservation={"reservation_id": "1", "org_id": "00DAA0000000001"}
    )

    page = links.QuotaGateLink().get_link(release, ti_key=TI)  # type: ignore[arg-type]
    assert parse_qs(urlsplit(page).query)["org"] == ["00DAA0000000001"]


def test_every_operator_and_sensor_has_links_that_are_declared() -> None:
    """Each class that Airflow is told of links to the page and to the org; the metadata has each link's class."""
    info = get_provider_info()
    declared = set(info["extra-links"])
    modules = [name for kind in ("operators", "sensors") for each in info[kind] for name in each["python-modules"]]
    classes = [
        found
        for name in modules
        for found in vars(import_module(name)).values()
        if isinstance(found, type) and found.__module__ == name and hasattr(found, "operator_extra_links")
    ]

    assert len(classes) >= len(modules)
    for each in classes:
        names = {f"{type(link).__module__}.{type(link).__name__}" for link in each.operator_extra_links}
        assert names <= declared, each
        assert {
            "airflow_provider_apiusage.links.ApiUsagePageLink",
            "airflow_provider_apiusage.links.SystemOverviewLink",
        } <= names
