"""Metrics as they arrive: at a StatsD server, at an OpenTelemetry collector, and in the dashboard that is shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow._shared.observability.metrics.validators import stat_name_otel_handler
from airflow.providers.common.compat.sdk import Stats, TaskDeferred
from airflow.sdk import DAG, timezone
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from airflow_provider_apiusage.hooks import metrics, metrics_backend
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.hooks.metrics import COUNTER, METRICS, PREFIX, Metric, send, tell_gate, tell_snapshot
from airflow_provider_apiusage.operators.alert import ApiUsageAlertOperator, used_above
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.sensors.quota import ApiQuotaSensor
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.airflow.test_forecast import watch
from tests.airflow.test_sensor import context
from tests.airflow.test_trigger import events_of, trigger
from tests.support.quota import request
from tests.support.statsd import StatsdServer

DOCS = Path(__file__).parents[2] / "docs"
SAMPLE = {
    "org": "00DAA0000000001",
    "limit_name": API_REQUESTS,
    "decision": "grant",
    "by": "gate",
    "change": "opened",
}


def prometheus_name(metric: Metric) -> str:
    """What a metric is called in Prometheus, by either way there."""
    return f"airflow_apiusage_{metric.name}{'_total' if metric.kind == COUNTER else ''}"


def tags_of(metric: Metric) -> dict[str, str]:
    return {tag: SAMPLE[tag] for tag in metric.tags}


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdServer]:
    """A StatsD server, and this process as one that nobody has started Airflow's ``Stats`` in."""
    server = StatsdServer()
    settings = {"ON": "True", "HOST": "127.0.0.1", "PORT": str(server.port)}
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
    holder = sys.modules[Stats.__module__]
    for name in ("_factory", "_backend"):
        monkeypatch.setattr(holder, name, None)
    monkeypatch.setattr(metrics, "GAUGES_EVERY", 0.0)
    metrics_backend._start.cache_clear()
    yield server
    server.close()
    if holder._backend is not None:
        holder._backend.statsd.close()
    metrics_backend._start.cache_clear()


def test_snapshots_gates_and_alerts_arrive(connected: SandboxServer, run_dag: Any, statsd: StatsdServer) -> None:
    """Each figure of a snapshot, of three gates and of an alert is that of the org and the store; the calls spent are
    those that the org has counted."""
    org = connected.org
    before = org.used
    with DAG("metrics", schedule=None) as dag:
        snapshot = ApiUsageSnapshotOperator(task_id="snapshot")
        snapshot >> ApiUsageAlertOperator(task_id="alerts", rules=[used_above(0.2)])
    result = run_dag(dag).get_task_instance("snapshot").xcom_pull(task_ids="snapshot")
    named = f"airflow.apiusage.{org.identity.org_id}"
    told = statsd.values()
    for name, figures in result["limits"].items():
        for figure in ("limit", "used", "remaining"):
            assert told[f"{named}.{name}.{figure}"] == figures[figure]
        assert (told[f"{named}.{name}.outstanding"], told[f"{named}.{name}.headroom"]) == (0, figures["remaining"])
    assert told[f"{named}.open_alerts"] == told[f"{named}.opened.alerts"] == 1
    assert told[f"{named}.snapshot_at"] == timezone.parse(result["observed_at"]).timestamp()
    assert 0 <= told[f"{named}.snapshot_age"] < 60

    ApiQuotaSensor(task_id="gate", calls=50_000).execute(context("first"))
    ApiQuotaSensor(task_id="gate", calls=50_000).execute(context("first"))
    with pytest.raises(TaskDeferred):
        ApiQuotaSensor(task_id="gate", calls=40_000).execute(context("second"))
    told = statsd.values()
    left = result["limits"][API_REQUESTS]["remaining"]
    assert told[f"{named}.{API_REQUESTS}.outstanding"] == 50_000
    assert told[f"{named}.{API_REQUESTS}.headroom"] == left - 50_000
    assert (told[f"{named}.waiting"], told[f"{named}.longest_wait"]) == (1, 0)
    assert (told[f"{named}.grant.decisions"], told[f"{named}.wait.decisions"]) == (1, 1)
    assert told[f"{named}.snapshot.api_calls"] + told.get(f"{named}.gate.api_calls", 0) == org.used - before


async def test_the_triggerer_tells_what_its_gates_hear(connected: SandboxServer, statsd: StatsdServer) -> None:
    """A gate that is granted at a hub, where no task process has started ``Stats``, is counted as well."""
    (event,) = await events_of(trigger(connected, 40_000))

    named = f"airflow.apiusage.{connected.org.identity.org_id}"
    told = statsd.values()
    assert event["status"] == "granted"
    assert (told[f"{named}.grant.decisions"], told[f"{named}.waiting"], told[f"{named}.gate.api_calls"]) == (1, 0, 1)
    assert told[f"{named}.{API_REQUESTS}.outstanding"] == 40_000


def test_how_long_a_gate_has_waited(connected: SandboxServer, statsd: StatsdServer) -> None:
    """From when it first asked to when it was granted; a gate that is told its grant again is not counted again."""
    watch(connected, 1, lambda _: 0)
    hook = ApiUsageHook()
    org_id, now = hook.get_org_id(), timezone.utcnow()
    asked = request("waits", 100, now - timedelta(minutes=10), org_id=org_id)
    for _ in range(2):
        tell_gate(hook, org_id, {asked.holder: hook.gate(timedelta(0)).turn(asked)})

    told = statsd.values()
    assert told[f"airflow.apiusage.{org_id}.seconds_waited"] == pytest.approx(600, abs=30)
    assert told[f"airflow.apiusage.{org_id}.grant.decisions"] == 1


@pytest.mark.parametrize(("legacy", "names"), [("True", {"long", "short"}), ("False", {"short"})])
def test_tags_where_they_are_kept(
    statsd: StatsdServer, monkeypatch: pytest.MonkeyPatch, legacy: str, names: set[str]
) -> None:
    """A StatsD server for InfluxDB gets the short name with tags, and the long one while Airflow's own are sent."""
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", legacy)

    send("used", 25_000, org="00DAA0000000001", limit_name="Some.Limit, odd")
    send("decisions", 2, org="00DAA0000000001", decision="wait")
    send("decisions", 0, org="00DAA0000000001", decision="refuse")

    tags = ",org=00DAA0000000001"
    long = {
        f"airflow.apiusage.00DAA0000000001.Some_Limit__odd.used{tags}": 25_000,
        f"airflow.apiusage.00DAA0000000001.wait.decisions{tags},decision=wait": 2,
    }
    short = {
        f"airflow.apiusage.used{tags}": 25_000,
        f"airflow.apiusage.decisions{tags},decision=wait": 2,
    }
    assert statsd.values() == (long if "long" in names else {}) | short


def test_metrics_fail_nothing(
    connected: SandboxServer,
    statsd: StatsdServer,
    store_file: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that is away costs a warning and the figures, not the snapshot; without a backend it is not asked."""
    with ApiUsageHook() as hook:
        taken = hook.take_snapshot()
        hook.store.add(taken)
        store_file.write_bytes(b"no database at all" * 100)
        tell_snapshot(hook, taken)
        assert "could not be sent: StoreUnavailableError" in caplog.text
        caplog.clear()
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
        tell_snapshot(hook, taken)
    assert caplog.text == ""
    assert statsd.values() == {}


def test_wrong_tags_are_a_mistake_of_ours() -> None:
    """A metric is sent with exactly the tags of its row in the table."""
    with pytest.raises(ValueError, match="used has the tags"):
        send("used", 1, org="00DAA0000000001")


class _Collector(BaseHTTPRequestHandler):
    """As much of an OpenTelemetry collector as takes in metrics over HTTP."""

    received: list[ExportMetricsServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(ExportMetricsServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportMetricsServiceResponse().SerializeToString())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


OTEL = """
from airflow_provider_apiusage.hooks.metrics import send
send("used", 25_000, org="00DAA0000000001", limit_name="DailyApiRequests")
send("used", 300, org="00DAA0000000001", limit_name="DailyBulkApiBatches")
send("decisions", 3, org="00DAA0000000001", decision="wait")
"""


def test_opentelemetry_gets_names_with_tags() -> None:
    """A collector receives one metric with a point for each limit, by Airflow's own exporter, at the end of the
    process."""
    received: list[ExportMetricsServiceRequest] = []
    collector = HTTPServer(("127.0.0.1", 0), type("Collector", (_Collector,), {"received": received}))
    thread = threading.Thread(target=collector.serve_forever, daemon=True)
    thread.start()
    environment = {
        **os.environ,
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    try:
        subprocess.run([sys.executable, "-c", OTEL], env=environment, check=True, capture_output=True, timeout=120)
    finally:
        collector.shutdown()
        collector.server_close()
        thread.join()

    points = {}
    for metric in [m for r in received for rm in r.resource_metrics for sm in rm.scope_metrics for m in sm.metrics]:
        for point in (*metric.gauge.data_points, *metric.sum.data_points):
            tags = tuple(sorted(attribute.value.string_value for attribute in point.attributes))
            points[metric.name, tags] = point.as_int or point.as_double
    assert points == {
        ("airflow.apiusage.used", ("00DAA0000000001", "DailyApiRequests")): 25_000,
        ("airflow.apiusage.used", ("00DAA0000000001", "DailyBulkApiBatches")): 300,
        ("airflow.apiusage.decisions", ("00DAA0000000001", "wait")): 3,
    }


def test_every_name_is_one_that_airflow_sends() -> None:
    """Also with the longest tags and odd characters, names are allowed by StatsD and OpenTelemetry alike."""
    for metric in METRICS.values():
        for tags in (tags_of(metric), dict.fromkeys(metric.tags, "Ünüsual.name/" * 40)):
            long = metric.long_name(tags)
            assert stat_name_otel_handler("airflow", long, max_length=250) == f"airflow.{long}"
            assert long.count(".") == len(metric.tags) + 1


def markdown() -> str:
    """The table of ``docs/metrics.md``."""
    rows = [
        f"| `{PREFIX}.{'.'.join(f'<{tag}>' for tag in metric.tags)}.{metric.name}` | {metric.kind} | {metric.unit} "
        f"| {', '.join(f'`{tag}`' for tag in metric.tags)} | {metric.meaning} |"
        for metric in METRICS.values()
    ]
    return "\n".join(["| name | kind | unit | tags | meaning |", "|---|---|---|---|---|", *rows])


def test_the_documentation_lists_them_all() -> None:
    """The table in the document is the one in the code."""
    assert markdown() in (DOCS / "metrics.md").read_text()


def test_the_mappings_turn_names_into_labels() -> None:
    """Each long name matches exactly one mapping of the document, which gives the name and labels that OpenTelemetry
    gives as well."""
    (text,) = re.findall(r"```yaml\n(statsd:\n.*?)```", (DOCS / "metrics.md").read_text(), re.DOTALL)
    mappings = yaml.safe_load(text)["statsd"]["extraMappings"]
    for metric in METRICS.values():
        tags = tags_of(metric)
        matches = [
            (m, found) for m in mappings if (found := re.fullmatch(m["match"], f"airflow.{metric.long_name(tags)}"))
        ]
        ((mapping, found),) = matches
        assert mapping["match_type"] == "regex"

        def filled(template: str, found: re.Match[str] = found) -> str:
            return re.sub(r"\$\{?(\d)\}?", lambda number: found[int(number[1])], template)

        assert filled(mapping["name"]) == prometheus_name(metric)
        assert {label: filled(value) for label, value in mapping["labels"].items()} == tags


def test_the_dashboard_shows_what_there_is() -> None:
    """Every metric and label that it asks for is in the table, counters by their increase, and it holds together:
    panels have ids and places of their own, and variables are defined."""
    text = (DOCS / "grafana-dashboard.json").read_text()
    dashboard = json.loads(text)
    names = {prometheus_name(metric): metric for metric in METRICS.values()}
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    asked = [(query, name) for query in queries for name in re.findall(r"airflow_apiusage_\w+", query)]
    assert {name for _, name in asked} <= set(names)
    assert {names[name].name for _, name in asked} == set(METRICS) - {"snapshot_age"}
    for query, name in asked:
        assert f"increase({name}" in query or names[name].kind != COUNTER
        for labels in re.findall(rf"{name}\{{([^}}]*)\}}", query):
            assert set(re.findall(r"(\w+)=", labels)) <= set(names[name].tags)

    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", text)) <= variables
    assert (dashboard["schemaVersion"] >= 36, dashboard["uid"], dashboard["id"]) == (True, "apiusage", None)
