"""The "API Usage Last 7 Days" report through the Analytics API, and its CSV export.

Shapes from the Reports and Dashboards REST API guide. The report's column API names are documented nowhere, so
the sandbox org's are made up and can be set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call
from airflow_provider_apiusage.sandbox.identity import Session, long_id
from airflow_provider_apiusage.sandbox.report_csv import (
    UsageRow,
    column_labels,
    local_date,
    local_number,
    report_csv,
    report_name,
)
from airflow_provider_apiusage.sandbox.report_filters import filtered

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

_DAYS = 7
_LOGIN_PAGE = (
    b"<!DOCTYPE html><html><head><title>Login | Salesforce</title></head><body>"
    b'<form id="login_form" method="post"><input name="username"/><input name="pw"/></form></body></html>'
)


@dataclass(slots=True)
class Instance:
    """An asynchronous run of the report."""

    id: str
    requested_at: str
    body: dict[str, Any]
    polls_left: int


def usage_rows(org: SandboxOrg) -> list[UsageRow]:
    """Return counted calls by UTC day, user and client for the last seven days, today included."""
    today = org.now().date()
    families = org.settings.report_families
    apps = {app.id: app.name for app in org.identity.apps}
    calls: dict[tuple[date, str, str], int] = {}
    for period in org.ledger.daily():
        day, caller = period.start.date(), period.caller
        if not today - timedelta(days=_DAYS) < day <= today or not caller.counted:
            continue
        if families and caller.family not in families:
            continue
        user = org.identity.user(caller.user)
        key = day, user.username if user else caller.user, caller.client or apps.get(caller.app, "")
        calls[key] = calls.get(key, 0) + period.count
    return [UsageRow(*key, count) for key, count in sorted(calls.items())]


def run(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET`` and ``POST /analytics/reports/{id}``: a synchronous run."""
    _check(org, call)
    if org.settings.report_sync == "timeout":
        raise ApiError(503, "SERVER_UNAVAILABLE", "The report took too long to run.")
    if org.settings.report_sync == "limit":
        raise ApiError(403, "FORBIDDEN", "You can't run more than 500 reports synchronously every 60 minutes.")
    org.use("sync_report_runs", 1)
    return Answer.of(_body(org, call))


def describe(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /analytics/reports/{id}/describe``."""
    _check(org, call)
    body = _body(org, call)
    return Answer.of({name: body[name] for name in ("attributes", "reportMetadata", "reportExtendedMetadata")})


def instances(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET`` and ``POST /analytics/reports/{id}/instances``: asynchronous runs."""
    _check(org, call)
    if call.request.method == "POST":
        org.use("async_report_runs", 1)
        run_id = org.jobs.id("0LG")
        instance = Instance(run_id, org.timestamp(), _body(org, call), org.settings.report_polls)
        org.report_instances[run_id[:15]] = instance
        return Answer.of(_summary(org, call, instance, "New"))
    return Answer.of([_summary(org, call, each, _status(each)) for each in org.report_instances.values()])


def instance(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /analytics/reports/{id}/instances/{instance}``: status, and the result once there is one."""
    _check(org, call)
    found = org.report_instances.get(call.parts["instance"][:15])
    if found is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    status = _status(found)
    found.polls_left = max(0, found.polls_left - 1)
    attributes = {"type": "ReportInstance", **_summary(org, call, found, status), "reportId": org.settings.report_id}
    if status != "Success":
        return Answer.of({"attributes": attributes})
    return Answer.of({**found.body, "attributes": attributes})


def listed(_org: SandboxOrg, _call: Call) -> Answer:
    """Answer ``GET /analytics/reports``: recently viewed reports, of which there are none."""
    return Answer.of([])


def export(org: SandboxOrg, session: Session | None) -> Answer:
    """Answer ``GET /{report id}?export=1&xf=csv``: the CSV, or a login page with status 200."""
    if session is None or org.settings.report_export == "login_page":
        return Answer(200, _LOGIN_PAGE, "text/html; charset=UTF-8")
    text = report_csv(
        usage_rows(org),
        locale=org.settings.report_locale,
        generated_by=session.user.name,
        generated_at=org.now(),
        org_name=org.identity.org_name,
    )
    name = f"report{int(org.now().timestamp())}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Answer(200, text, "text/csv; charset=UTF-8", headers)


def _check(org: SandboxOrg, call: Call) -> None:
    if call.parts["report"][:15] != org.settings.report_id[:15]:
        raise ApiError(404, "NOT_FOUND", "The data you're trying to access is unavailable.")
    if org.settings.report_access == "denied":
        raise ApiError(403, "INSUFFICIENT_ACCESS", "You don't have sufficient privileges to run this report.")


def _status(found: Instance) -> str:
    return "Running" if found.polls_left > 0 else "Success"


def _summary(org: SandboxOrg, call: Call, found: Instance, status: str) -> dict[str, Any]:
    url = f"{call.base}/analytics/reports/{org.settings.report_id}/instances/{found.id}"
    return {
        "id": found.id,
        "status": status,
        "requestDate": found.requested_at,
        "completionDate": org.timestamp() if status == "Success" else None,
        "hasDetailRows": found.body["hasDetailRows"],
        "queryable": False,
        "ownerId": long_id(call.session.user.id),
        "url": url,
    }


def _body(org: SandboxOrg, call: Call) -> dict[str, Any]:
    settings, request = org.settings, call.request
    metadata: dict[str, Any] = {}
    if request.method == "POST" and request.body.strip():
        posted = request.json()
        metadata = (posted.get("reportMetadata") or {}) if isinstance(posted, dict) else {}
    columns, locale = settings.report_columns, settings.report_locale
    shape = str(metadata.get("reportFormat") or settings.report_shape)
    details = request.query.get("includeDetails", "true" if request.method == "POST" else "false") == "true"
    if metadata and settings.report_filters == "refused":
        raise ApiError(400, "BAD_REQUEST", "The report filters cannot be changed.")
    saved = dict(settings.report_saved_filters or {})
    asked = saved if settings.report_filters == "ignored" else {**saved, **metadata}
    rows = filtered(usage_rows(org), asked, columns)
    truncated = details and len(rows) > settings.report_row_cap
    labels = dict(zip(columns, column_labels(locale), strict=True))
    day, user, _, count = columns
    down, across = {"TABULAR": ([], []), "SUMMARY": ([day], []), "MATRIX": ([day], [user])}[shape]
    shown = [name for name in columns if name not in (*down, *across)]
    types = dict(zip(columns, ("date", "string", "string", settings.report_count_type), strict=True))
    days = sorted({row.day for row in rows})
    users = sorted({row.user for row in rows})
    return {
        "attributes": {
            "type": "Report",
            "reportId": long_id(settings.report_id[:15]),
            "reportName": report_name(locale),
            "describeUrl": f"{call.base}/analytics/reports/{settings.report_id}/describe",
            "instancesUrl": f"{call.base}/analytics/reports/{settings.report_id}/instances",
        },
        "allData": not truncated,
        "hasDetailRows": details,
        "reportMetadata": {
            "id": long_id(settings.report_id[:15]),
            "name": report_name(locale),
            "reportFormat": shape,
            "aggregates": [f"s!{count}", "RowCount"],
            "detailColumns": shown,
            "groupingsDown": [{"name": name, "sortOrder": "Asc", "dateGranularity": "Day"} for name in down],
            "groupingsAcross": [{"name": name, "sortOrder": "Asc", "dateGranularity": "None"} for name in across],
            "reportFilters": asked.get("reportFilters") or [],
            "reportBooleanFilter": asked.get("reportBooleanFilter"),
            "standardDateFilter": _date_range(settings.report_date_range, asked, day),
            "reportType": {"type": "ApiUsage", "label": report_name(locale)},
        },
        "reportExtendedMetadata": {
            "detailColumnInfo": {name: {"label": labels[name], "dataType": types[name]} for name in shown},
            "aggregateColumnInfo": {
                f"s!{count}": {"label": labels[count], "dataType": types[count]},
                "RowCount": {"label": "Record Count", "dataType": "int"},
            },
            "groupingColumnInfo": {
                name: {"label": labels[name], "dataType": types[name], "groupingLevel": 0} for name in down + across
            },
        },
        "groupingsDown": {
            "groupings": [
                {"key": str(key), "label": local_date(each, locale), "value": each.isoformat(), "groupings": []}
                for key, each in enumerate(days if down else [])
            ]
        },
        "groupingsAcross": {
            "groupings": [
                {"key": str(key), "label": each, "value": each, "groupings": []}
                for key, each in enumerate(users if across else [])
            ]
        },
        "factMap": _facts(org, rows, days if down else [], users if across else [], shown, details),
    }


def _date_range(own: bool, metadata: dict[str, Any], day: str) -> dict[str, Any] | None:
    """Return the report's date range: what a run asked for, or the last seven days if it has one."""
    if asked := metadata.get("standardDateFilter"):
        return dict(asked)
    return {"column": day, "durationValue": "LAST_N_DAYS:7", "startDate": None, "endDate": None} if own else None


def _facts(
    org: SandboxOrg, rows: list[UsageRow], days: list[date], users: list[str], shown: list[str], details: bool
) -> dict[str, Any]:
    """Return the fact map: ``down!across`` -> totals and, where details are shown, rows."""
    locale, left = org.settings.report_locale, org.settings.report_row_cap

    def number(value: int) -> dict[str, Any]:
        typed = float(value) if org.settings.report_count_type == "double" else value
        return {"label": local_number(value, locale), "value": typed}

    def fact(of: list[UsageRow], with_rows: bool) -> dict[str, Any]:
        nonlocal left
        entry: dict[str, Any] = {"aggregates": [number(sum(row.calls for row in of)), number(len(of))]}
        if details and with_rows:
            entry["rows"] = [{"dataCells": cells(row)} for row in of[:left]]
            left -= len(entry["rows"])
        return entry

    def cells(row: UsageRow) -> list[dict[str, Any]]:
        typed: tuple[dict[str, Any], ...] = (
            {"label": local_date(row.day, locale), "value": row.day.isoformat()},
            {"label": row.user, "value": row.user},
            {"label": row.client or "-", "value": row.client or None},
            number(row.calls),
        )
        by_column = dict(zip(org.settings.report_columns, typed, strict=True))
        return [by_column[name] for name in shown]

    facts: dict[str, Any] = {}
    for down, day in enumerate(days):
        of_day = [row for row in rows if row.day == day]
        for across, user in enumerate(users):
            facts[f"{down}!{across}"] = fact([row for row in of_day if row.user == user], with_rows=True)
        facts[f"{down}!T"] = fact(of_day, with_rows=not users)
    for across, user in enumerate(users):
        facts[f"T!{across}"] = fact([row for row in rows if row.user == user], with_rows=False)
    facts["T!T"] = fact(rows, with_rows=not days)
    return facts
