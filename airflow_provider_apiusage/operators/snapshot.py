"""``ApiUsageSnapshotOperator``: read an org's usage once and keep it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_apiusage.hooks.context import announce, holder_of, outlets_with
from airflow_provider_apiusage.hooks.metrics import tell_snapshot
from airflow_provider_apiusage.links import LINKS
from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.hourly import Completeness, EventUsage, hour_of
from airflow_provider_apiusage.usage.model import API_REQUESTS, WINDOW, Snapshot

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_apiusage.event_reading import EventRead
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook


class ApiUsageSnapshotOperator(BaseOperator):
    """Fetch every limit of ``/limits`` (and the 7-day report and event logs, if asked for), keep it, return a summary.

    Spends 1 API call. A report by id costs 1 more when it is fetched: once per ``report_interval``, and after each UTC
    midnight; a CSV costs none. Event logs cost 1 call when their list is due, about once an hour, and 1 for each new
    file. A retry of a task that has already kept its snapshot returns that one and spends no call on it.

    XCom::

        {"org_id": "00D...", "observed_at": "2026-10-07T14:30:00+00:00",
         "limits": {"DailyApiRequests": {"limit": 100000, "used": 25000, "remaining": 75000}, ...},
         "daily": {"2026-10-07": 15000, ...}, "findings": [...], "api_calls": 1,
         "events": {"files_read": 2, "files_left": 0, "from": "2026-10-06T14:00:00+00:00",
                    "to": "2026-10-07T14:00:00+00:00", "counted": 21874, "not_counted": 310, "unknown": 0,
                    "hours": {"none": 3, "provisional": 21, "settled": 0}}}

    ``events`` is there only if event logs were asked for: calls of the last 24 full hours, and of how many of these
    hours the logs have told nothing yet, something, or everything.

    It emits an asset event on ``salesforce-usage://<org id>/snapshot`` through the asset alias
    ``apiusage_snapshot``, and sends metrics (``docs/metrics.md``).

    :param salesforce_conn_id: connection of type ``salesforce`` (templated).
    :param store_conn_id: where to keep it; default ``[apiusage] store_conn_id`` (templated).
    :param daily_report: id of a saved copy of the report "API Usage Last 7 Days", or path or URL of its CSV export;
        ``None`` for no report (templated).
    :param report_options: further arguments of ``ApiUsageHook.get_daily_usage``, such as ``{"coverage": "all"}``
        (templated).
    :param report_interval: a report by id is not run again before this time has passed.
    :param events: read event logs, too: ``"auto"`` (daily files, and hourly ones until a day has its daily file),
        ``"hourly"``, ``"daily"``, or ``"object"`` for the queryable object ``ApiTotalUsageEventLog``; ``None`` for
        none (templated).
    :param most_files: event log files to read in one run at most, the newest first.
    """

    template_fields: Sequence[str] = ("salesforce_conn_id", "store_conn_id", "daily_report", "report_options", "events")
    ui_color = "#d5eef7"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        daily_report: str | None = None,
        report_options: Mapping[str, Any] | None = None,
        report_interval: timedelta = timedelta(hours=1),
        events: str | None = None,
        most_files: int = 200,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = outlets_with(kwargs.get("outlets"), "snapshot")
        super().__init__(**kwargs)
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.daily_report = daily_report
        self.report_options = report_options
        self.report_interval = report_interval
        self.events = events
        self.most_files = most_files

    def execute(self, context: Context) -> dict[str, Any]:
        """Take the snapshot, keep it, announce it.

        :raises ApiUsageError: if the org could not be read.
        :raises StoreError: if the store could not be written.
        """
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        with ApiUsageHook(self.salesforce_conn_id, self.store_conn_id) as hook:
            taken_by = str(holder_of(context))
            kept = hook.store.find_snapshot(hook.get_org_id(), taken_by)
            if kept is None:
                snapshot, read = self._take(hook, taken_by)
                self.log.info("%s", in_words(snapshot))
                tell_snapshot(hook, snapshot)
            else:
                snapshot, read = kept, None
                self.log.info(
                    "This task instance has kept its snapshot of %s already; trigger a new run for a new one.",
                    f"{kept.observed_at:%Y-%m-%d %H:%M:%S} UTC",
                )
            result = summary(snapshot, api_calls=hook.api_calls)
            if self.events:
                to = hour_of(snapshot.observed_at)
                result["events"] = events_summary(hook.event_store.usage(snapshot.org_id, to - WINDOW, to), read)
            # Also for one that an earlier try kept: Airflow emits the events of the try that succeeds.
            announce(context, "snapshot", snapshot.org_id, event_of(result))
            return result

    def _take(self, hook: ApiUsageHook, taken_by: str) -> tuple[Snapshot, EventRead | None]:
        """Read the limits, and the report and event logs as far as they are asked for and due; keep them."""
        source = EventSource(self.events) if self.events else None
        snapshot = hook.take_snapshot(
            daily_report=self.daily_report or None,
            report_interval=self.report_interval,
            taken_by=taken_by,
            **(self.report_options or {}),
        )
        read = None
        if source is not None:
            read, found = hook.try_events(source, snapshot, most=self.most_files)
            snapshot = replace(snapshot, findings=(*snapshot.findings, *found), api_calls=hook.api_calls)
        snapshot = replace(snapshot, findings=(*snapshot.findings, *hook.check_report(snapshot)))
        hook.store.add(snapshot)
        return snapshot, read


def events_summary(usage: EventUsage, read: EventRead | None) -> dict[str, Any]:
    """Return what event logs add to the XCom of a snapshot.

    :param usage: of the last full hours.
    :param read: what this try read; ``None`` if it read nothing.
    """
    calls = dict.fromkeys((True, False, None), 0)
    for count in usage.counts:
        calls[count.caller.counted] += count.calls
    hours = list(usage.completeness.values())
    return {
        "files_read": len(read.read) if read else 0,
        "files_left": read.left if read else 0,
        "from": usage.start.isoformat(),
        "to": usage.end.isoformat(),
        "counted": calls[True],
        "not_counted": calls[False],
        "unknown": calls[None],
        "hours": {each.value: hours.count(each) for each in Completeness},
    }


def summary(snapshot: Snapshot, *, api_calls: int) -> dict[str, Any]:
    """Return the XCom of a snapshot: small, JSON-safe, unknown figures as ``None``.

    :param snapshot: as kept.
    :param api_calls: what this try has spent.
    """
    daily: dict[str, int] = defaultdict(int)
    for count in snapshot.daily_counts:
        daily[count.day.isoformat()] += count.calls
    return {
        "org_id": snapshot.org_id,
        "observed_at": snapshot.observed_at.isoformat(),
        "limits": {
            reading.name: {"limit": reading.limit, "used": reading.used, "remaining": reading.remaining}
            for reading in snapshot.readings
            if not reading.scope
        },
        "daily": dict(sorted(daily.items())),
        "findings": [{"code": f.code, "severity": f.severity.value} for f in snapshot.findings],
        "api_calls": api_calls,
    }


def event_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``extra`` of a snapshot's asset event: what a DAG that it starts decides by; unknowns are ``None``.

    :param result: from :func:`summary`.
    """
    unknown = dict.fromkeys(("limit", "used", "remaining"))
    return {
        "org_id": result["org_id"],
        "observed_at": result["observed_at"],
        **result["limits"].get(API_REQUESTS, unknown),
        "daily": result["daily"],
        "findings": sorted({finding["code"] for finding in result["findings"]}),
    }


def in_words(snapshot: Snapshot) -> str:
    """Return one line for the log."""
    reading = snapshot.reading()
    counts = f", {len(snapshot.daily_counts):,} daily counts" if snapshot.daily_counts else ""
    if reading is None or reading.used is None or reading.limit is None:
        usage = f"{API_REQUESTS} unknown"
    else:
        usage = f"{reading.used:,} of {reading.limit:,} API calls used, {reading.remaining:,} left"
    return (
        f"Org {snapshot.org_id} at {snapshot.observed_at:%Y-%m-%d %H:%M:%S} UTC: {usage}; "
        f"{len(snapshot.readings)} limits{counts} kept; {snapshot.api_calls} API call(s) spent."
    )
