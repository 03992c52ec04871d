"""``ApiUsageSnapshotOperator``: read an org's usage once and keep it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_apiusage.hooks.context import announce, asset_alias, gauge, holder_of
from airflow_provider_apiusage.usage.model import API_REQUESTS, Snapshot

if TYPE_CHECKING:
    from airflow.sdk import Context


class ApiUsageSnapshotOperator(BaseOperator):
    """Fetch every limit of ``/limits`` (and the 7-day report, if asked for), keep it in the store, return a summary.

    Spends 1 API call; with a report by id 2; with a CSV still 1. A retry of a task that has already kept its snapshot
    returns that one and spends none.

    XCom::

        {"org_id": "00D...", "observed_at": "2026-10-07T14:30:00+00:00",
         "limits": {"DailyApiRequests": {"limit": 100000, "used": 25000, "remaining": 75000}, ...},
         "daily": {"2026-10-07": 15000, ...}, "findings": [...], "api_calls": 1}

    It emits an asset event on ``salesforce-usage://<org id>/snapshot`` through the asset alias
    ``apiusage_snapshot``, and sets the gauges ``apiusage.<org id>.<limit name>.used``, ``.limit`` and ``.remaining``.

    :param salesforce_conn_id: connection of type ``salesforce`` (templated).
    :param store_conn_id: where to keep it; default ``[apiusage] store_conn_id`` (templated).
    :param daily_report: id of a saved copy of the report "API Usage Last 7 Days", or path or URL of its CSV export;
        ``None`` for no report (templated).
    :param report_options: further arguments of ``ApiUsageHook.get_daily_usage``, such as ``{"coverage": "all"}``
        (templated).
    """

    template_fields: Sequence[str] = ("salesforce_conn_id", "store_conn_id", "daily_report", "report_options")
    ui_color = "#d5eef7"

    def __init__(
        self,
        *,
        salesforce_conn_id: str = "salesforce_default",
        store_conn_id: str | None = None,
        daily_report: str | None = None,
        report_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = [*kwargs.get("outlets", ()), asset_alias("snapshot")]
        super().__init__(**kwargs)
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.daily_report = daily_report
        self.report_options = report_options

    def execute(self, context: Context) -> dict[str, Any]:
        """Take the snapshot, keep it, announce it.

        :raises ApiUsageError: if the org could not be read.
        :raises StoreError: if the store could not be written.
        """
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        hook = ApiUsageHook(self.salesforce_conn_id, self.store_conn_id)
        taken_by = str(holder_of(context))
        kept = hook.store.find_snapshot(hook.get_org_id(), taken_by)
        if kept is not None:
            self.log.info(
                "This task instance has kept its snapshot of %s already; trigger a new run for a new one.",
                f"{kept.observed_at:%Y-%m-%d %H:%M:%S} UTC",
            )
            return summary(kept, api_calls=hook.api_calls)
        snapshot = hook.take_snapshot(
            daily_report=self.daily_report or None, taken_by=taken_by, **(self.report_options or {})
        )
        hook.store.add(snapshot)
        self.log.info("%s", in_words(snapshot))
        for reading in snapshot.readings:
            if not reading.scope:
                gauge(reading)
        result = summary(snapshot, api_calls=hook.api_calls)
        extra = {"observed_at": result["observed_at"], **result["limits"].get(API_REQUESTS, {})}
        announce(context, "snapshot", snapshot.org_id, extra)
        return result


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
