"""What the org says about its limits: the ``/limits`` body and the ``Sforce-Limit-Info`` header.

Shapes from the REST API guide, Limits resource and Sforce-Limit-Info header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

#: First API version with ``/limits``, with the Bulk API 2.0 query limits, and with the newer batch limit's name.
LIMITS_SINCE, BULK_QUERY_SINCE, BULK_BATCHES_SINCE = 29, 47, 49

#: Limits that nothing in the sandbox uses up: ``(Max, Remaining)``.
_STANDING = {
    "AnalyticsExternalDataSizeMB": (40_960, 40_960),
    "ConcurrentAsyncGetReportInstances": (200, 200),
    "ConcurrentSyncReportRuns": (20, 20),
    "DailyAsyncApexExecutions": (250_000, 249_871),
    "DailyGenericStreamingApiEvents": (10_000, 10_000),
    "DailyStreamingApiEvents": (200_000, 200_000),
    "DataStorageMB": (10_240, 9_817),
    "FileStorageMB": (20_480, 20_455),
    "HourlyODataCallout": (20_000, 20_000),
    "HourlyTimeBasedWorkflow": (1_000, 1_000),
    "MassEmail": (5_000, 5_000),
    "MonthlyPlatformEventsUsageEntitlement": (0, 0),
    "SingleEmail": (5_000, 4_998),
}
_STORAGE = ("DataStorageMB", "FileStorageMB")
_PER_APP = (
    "DailyApiRequests",
    "DailyBulkApiBatches",
    "DailyBulkApiRequests",
    "DailyGenericStreamingApiEvents",
    "DailyStreamingApiEvents",
)


def limits_body(org: SandboxOrg, version: int) -> dict[str, Any]:
    """Return the limits as API ``version`` names them, overrides applied."""
    settings = org.settings
    used = org.reported
    remaining = settings.limit - used
    if settings.remaining_when_over == "zero":
        remaining = max(0, remaining)
    batches = "DailyBulkApiBatches" if version >= BULK_BATCHES_SINCE else "DailyBulkApiRequests"
    pairs: dict[str, tuple[int, int]] = {
        **_STANDING,
        "DailyApiRequests": (settings.limit, remaining),
        batches: _left(settings.bulk_batch_limit, org.used_in_window("bulk_batches")),
        "HourlySyncReportRuns": _left(500, org.used_in_window("sync_report_runs")),
        "HourlyAsyncReportRuns": _left(1_200, org.used_in_window("async_report_runs")),
    }
    if version >= BULK_QUERY_SINCE:
        pairs["DailyBulkV2QueryJobs"] = _left(settings.bulk_query_job_limit, org.used_in_window("bulk_query_jobs"))
        pairs["DailyBulkV2QueryFileStorageMB"] = _left(
            settings.bulk_query_storage_limit_megabytes, org.used_in_window("bulk_query_bytes") // 1_000_000
        )
    if settings.limits_access == "no_storage":
        for name in _STORAGE:
            del pairs[name]
    body: dict[str, Any] = {}
    for name, (maximum, left) in sorted(pairs.items()):
        body[name] = {"Max": maximum, "Remaining": left}
        if settings.limits_app_children and name in _PER_APP:
            body[name].update({app.name: {"Max": 0, "Remaining": 0} for app in org.identity.apps})
    body["PermissionSets"] = {
        "Max": 1_500, "Remaining": 1_496, "CreateCustom": {"Max": 1_000, "Remaining": 996}
    }  # fmt: skip
    for name, override in (settings.limit_overrides or {}).items():
        if override is None:
            body.pop(name, None)
        elif isinstance(override, Mapping):
            body[name] = {**body.get(name, {}), **override}
        else:
            body[name] = override
    return body


def get_limits(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /limits``."""
    if call.version < LIMITS_SINCE:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    if org.settings.limits_access == "denied":
        raise ApiError(403, "INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id")
    return Answer.of(limits_body(org, call.version))


def limit_header(org: SandboxOrg, call: Call | None = None) -> str | None:
    """Return the value of ``Sforce-Limit-Info``, or ``None`` if there is to be none."""
    settings = org.settings
    used, limit = org.reported, settings.limit
    if settings.limit_header_text is not None:
        return settings.limit_header_text.replace("{used}", str(used)).replace("{limit}", str(limit))
    usage, bursts = f"api-usage={used}/{limit}", f"api-bursts={1 if used > limit else 0}/750"
    variant = settings.limit_header
    per_app = ""
    if variant in ("per_app", "all"):
        app_used = org.rolling_of_app(call.session.app.id if call else "")
        per_app = f"per-app-api-usage={app_used}/{settings.per_app_limit}(appName={settings.per_app_name})"
    return {
        "plain": usage,
        "per_app": f"{usage}; {per_app}",
        "api_bursts": f"{usage}; {bursts}",
        "all": f"{usage}; {per_app}; {bursts}",
        "reordered": f"{bursts}; {usage}",
        "absent": None,
        "empty": "",
        "garbage": f"api-usage=x/{limit}",
    }[variant]


def _left(maximum: int, used: int) -> tuple[int, int]:
    return maximum, max(0, maximum - used)
