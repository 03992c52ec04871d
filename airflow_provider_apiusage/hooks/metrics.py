"""Metrics through Airflow's ``Stats``: StatsD, DogStatsD and OpenTelemetry, whichever ``[metrics]`` says.

Plain StatsD has names and no tags, so org and limit are part of the name there:
``apiusage.<org id>.<limit name>.used``. Where the backend keeps tags, the same figure is sent as ``apiusage.used`` with
tags ``org`` and ``limit_name``; the long name is sent as well unless ``[metrics] legacy_names_on`` is off, as Airflow
does with its own metrics. :data:`METRICS` is the one list of them; a test holds ``docs/metrics.md`` against it.

A metric never fails what it tells about: what goes wrong here is logged, and nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_apiusage.hooks.metrics_backend import is_on, keeps_names, keeps_tags, stats
from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, Refuse, Wait
from airflow_provider_apiusage.usage.model import API_REQUESTS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.usage.model import LimitReading, Snapshot

log = logging.getLogger(__name__)

PREFIX = "apiusage"
GAUGE, COUNTER = "gauge", "counter"
ORG, LIMIT = "org", "limit_name"
LONGEST_PART = 100
"""Characters of a name that org, limit or kind may take: names over 250 characters are not sent by Airflow."""

GAUGES_EVERY = 10.0
"""Seconds between two times that the gates of one process tell the gauges of an org."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    :param name: its own part of the name, which comes last.
    :param kind: ``gauge`` (the figure now) or ``counter`` (what is added).
    :param unit: of the figure.
    :param tags: in the order in which they stand in the long name.
    :param meaning: what it says, and when it is sent.
    """

    name: str
    kind: str
    unit: str
    tags: tuple[str, ...]
    meaning: str

    def long_name(self, tags: Mapping[str, str]) -> str:
        """Return the name that holds the tags."""
        return ".".join((PREFIX, *(_part(tags[tag]) for tag in self.tags), self.name))

    @property
    def short_name(self) -> str:
        """The name without the tags."""
        return f"{PREFIX}.{self.name}"


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "limit",
            GAUGE,
            "calls",
            (ORG, LIMIT),
            "The allocation. Snapshots tell all limits; gates theirs and `DailyApiRequests`, alerts only that.",
        ),
        Metric("used", GAUGE, "calls", (ORG, LIMIT), "Used in the window, as the org reports it; likewise."),
        Metric("remaining", GAUGE, "calls", (ORG, LIMIT), "Left, as the org reports it; likewise."),
        Metric(
            "outstanding", GAUGE, "calls", (ORG, LIMIT), "Granted to loads and not visible in `used` yet; likewise."
        ),
        Metric(
            "headroom",
            GAUGE,
            "calls",
            (ORG, LIMIT),
            "`remaining` - `outstanding`: what gates can grant, before any reserve that a gate keeps; likewise.",
        ),
        Metric("waiting", GAUGE, "gates", (ORG,), "Gates that wait. Snapshots, gates and alerts tell it."),
        Metric(
            "longest_wait", GAUGE, "seconds", (ORG,), "How long the first of them has waited, 0 for none; likewise."
        ),
        Metric("snapshot_at", GAUGE, "seconds since 1970", (ORG,), "When the latest snapshot was taken; likewise."),
        Metric("snapshot_age", GAUGE, "seconds", (ORG,), "How old it is, as of when this was sent; likewise."),
        Metric("open_alerts", GAUGE, "alerts", (ORG,), "Alerts that are open, of all tasks; likewise."),
        Metric(
            "decisions",
            COUNTER,
            "decisions",
            (ORG, "decision"),
            "Decisions of the gate: `grant`, `wait` or `refuse`. A gate that waits is decided anew in every turn.",
        ),
        Metric("seconds_waited", COUNTER, "seconds", (ORG,), "How long gates had waited when they were granted."),
        Metric(
            "api_calls",
            COUNTER,
            "calls",
            (ORG, "by"),
            "API calls that we spent ourselves, by `snapshot` or `gate`; what a load spends is not among them.",
        ),
        Metric("alerts", COUNTER, "changes", (ORG, "change"), "Alerts that have `opened` or `resolved`."),
    )
}


def send(name: str, value: float, **tags: str) -> None:
    """Send one figure.

    :param name: of a metric of :data:`METRICS`.
    :param value: the figure, or by how much a counter goes up; nothing is sent for a counter that stays.
    :param tags: exactly those of the metric.
    """
    metric = METRICS[name]
    if set(tags) != set(metric.tags):
        raise ValueError(f"{name} has the tags {metric.tags}, not {sorted(tags)}.")
    if metric.kind == COUNTER and value <= 0:
        return
    names = [metric.long_name(tags)] if keeps_names() or not keeps_tags() else []
    names += [metric.short_name] if keeps_tags() else []
    backend = stats()
    for each in names:
        if metric.kind == GAUGE:
            backend.gauge(each, value, tags=dict(tags))
        else:
            backend.incr(each, int(value), tags=dict(tags))


def tell_snapshot(hook: ApiUsageHook, snapshot: Snapshot) -> None:
    """Tell what a snapshot has brought, the org's gauges, and the calls spent on it."""
    names = {reading.name for reading in snapshot.readings if not reading.scope}
    _told(hook, snapshot.org_id, lambda: _gauges(hook.store.engine, snapshot.org_id, names), by="snapshot")


def tell_gate(hook: ApiUsageHook, org_id: str, decisions: Mapping[Holder, Decision]) -> None:
    """Tell what the gate has decided, the org's gauges every :data:`GAUGES_EVERY` seconds, and the calls spent on it.

    :param decisions: of one turn.
    """

    def tell() -> None:
        from airflow_provider_apiusage.gate import HELD_ALREADY
        from airflow_provider_apiusage.store.metric_figures import MetricFigures

        granted = [d.reservation for d in decisions.values() if isinstance(d, Grant) and d.reason != HELD_ALREADY]
        counts = {
            "grant": len(granted),
            "wait": sum(isinstance(d, Wait) for d in decisions.values()),
            "refuse": sum(isinstance(d, Refuse) for d in decisions.values()),
        }
        for kind, number in counts.items():
            send("decisions", number, org=org_id, decision=kind)
        if granted:
            waited = MetricFigures(hook.store.engine).waited([each.reservation_id for each in granted])
            send("seconds_waited", round(waited.total_seconds()), org=org_id)
        if _is_time(org_id):
            names = {figures.name for d in decisions.values() for figures in d.figures}
            _gauges(hook.store.engine, org_id, names)

    _told(hook, org_id, tell, by="gate")


def tell_alerts(engine: Engine, org_id: str, changes: Iterable[str]) -> None:
    """Tell the org's gauges, and what has become of alerts.

    :param changes: ``opened`` or ``resolved`` for each.
    """

    def tell() -> None:
        for change in changes:
            send("alerts", 1, org=org_id, change=change)
        _gauges(engine, org_id, ())

    _told(None, org_id, tell)


def _told(hook: ApiUsageHook | None, org_id: str, tell: Any, by: str = "") -> None:
    try:
        if not is_on() or not org_id:
            return
        tell()
        if hook is not None:
            send("api_calls", _spent_since(hook), org=org_id, by=by)
    except Exception as failed:
        log.warning("Metrics of org %s could not be sent: %s", org_id, type(failed).__name__, exc_info=True)


def _gauges(engine: Engine, org_id: str, names: Collection[str]) -> None:
    from airflow_provider_apiusage.store.metric_figures import MetricFigures

    now = datetime.now(UTC)
    figures = MetricFigures(engine).of(org_id, {*names, API_REQUESTS}, now)
    for name, reading in figures.readings.items():
        _limit(reading, figures.outstanding.get(name))
    since, taken_at = figures.waiting_since, figures.snapshot_at
    send("waiting", figures.waiting, org=org_id)
    send("longest_wait", 0 if since is None else max(0, round((now - since).total_seconds())), org=org_id)
    send("open_alerts", figures.open_alerts, org=org_id)
    if taken_at is not None:
        skews = [reading.skew for reading in figures.readings.values()]
        age = now + max(skews, default=now - now) - taken_at
        send("snapshot_at", round(taken_at.timestamp()), org=org_id)
        send("snapshot_age", max(0, round(age.total_seconds())), org=org_id)


def _limit(reading: LimitReading, outstanding: int | None) -> None:
    headroom = None if reading.remaining is None or outstanding is None else reading.remaining - outstanding
    figures = {
        "limit": reading.limit,
        "used": reading.used,
        "remaining": reading.remaining,
        "outstanding": outstanding,
        "headroom": headroom,
    }
    for name, value in figures.items():
        if value is not None:  # an unknown is not a zero
            send(name, value, org=reading.org_id, limit_name=reading.name)


_lock = Lock()
_spent: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_gauges_told: dict[str, float] = {}


def _spent_since(hook: ApiUsageHook) -> int:
    """Return what a hook has spent since it was asked last."""
    with _lock:
        before, now = _spent.get(hook, 0), hook.api_calls
        _spent[hook] = now
        return now - before


def _is_time(org_id: str) -> bool:
    with _lock:
        last, now = _gauges_told.get(org_id), monotonic()
        if last is not None and now - last < GAUGES_EVERY:
            return False
        _gauges_told[org_id] = now
        return True


def _part(value: str) -> str:
    """Return a tag's value as one part of a name: no dot, which would make two of it, and nothing that is refused."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", value)[:LONGEST_PART] or "_"
