"""REST queries: what can be selected, page by page (REST API guide, Query)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox import entitlements, event_log, event_log_object
from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id
from airflow_provider_apiusage.sandbox.records import Records
from airflow_provider_apiusage.sandbox.soql import Query, Row, parse, value_of

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

#: Groups that an aggregate query gives at most, because there is no ``queryMore`` for them (SOQL reference, GROUP BY).
MOST_GROUPS = 2_000
_NO_MORE_GROUPS = ApiError(
    400,
    "EXCEEDED_ID_LIMIT",
    "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch",
)


def query(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /query?q=`` and ``/queryAll``."""
    parsed = parse(call.request.query.get("q", ""), org.now())
    if parsed.is_aggregate:
        return _groups(org, call, parsed.aggregate(_rows(org, call, parsed)))
    rows = parsed.apply(_rows(org, call, parsed))
    if parsed.count:
        return Answer.of({"totalSize": len(rows), "done": True, "records": []})
    visible = [shown(call, parsed.object_name, row, parsed.fields) for row in rows]
    return _page(org, call, visible, 0)


def query_more(org: SandboxOrg, call: Call) -> Answer:
    """Answer the ``nextRecordsUrl`` of an earlier query."""
    locator, _, start = call.parts["locator"].rpartition("-")
    rows = org.cursors.get(locator)
    if rows is None or not start.isdigit():
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    if rows and rows[0]["attributes"]["type"] == "AggregateResult":
        raise _NO_MORE_GROUPS
    return _page(org, call, rows, int(start), locator)


def _groups(org: SandboxOrg, call: Call, groups: list[dict[str, Any]]) -> Answer:
    """Answer an aggregate query; what becomes of too many groups is a setting."""
    rows = [{"attributes": {"type": "AggregateResult"}, **group} for group in groups]
    told = rows[:MOST_GROUPS]
    if len(rows) == len(told):
        return Answer.of({"totalSize": len(rows), "done": True, "records": rows})
    if org.settings.aggregate_overflow == "refused":
        raise _NO_MORE_GROUPS
    if org.settings.aggregate_overflow == "cut":
        return Answer.of({"totalSize": len(told), "done": True, "records": told})
    more = f"{call.base}/query/{org.keep_cursor(rows)}-{MOST_GROUPS}"
    return Answer.of({"totalSize": len(rows), "done": False, "records": told, "nextRecordsUrl": more})


def _page(org: SandboxOrg, call: Call, rows: list[dict[str, Any]], start: int, locator: str = "") -> Answer:
    size = org.settings.query_page_size
    end = min(start + size, len(rows))
    body: dict[str, Any] = {"totalSize": len(rows), "done": end >= len(rows), "records": rows[start:end]}
    if end < len(rows):
        locator = locator or org.keep_cursor(rows)
        body["nextRecordsUrl"] = f"{call.base}/query/{locator}-{end}"
    return Answer.of(body)


def select(org: SandboxOrg, call: Call, text: str) -> tuple[Query, list[Row]]:
    """Return a parsed query and its rows, for Bulk queries.

    :raises ApiError: if the query is malformed or its object does not exist.
    """
    parsed = parse(text, org.now())
    if parsed.is_aggregate:
        raise ApiError(400, "API_ERROR", "Aggregate Relationships not supported in Bulk Query")
    return parsed, parsed.apply(_rows(org, call, parsed))


def _rows(org: SandboxOrg, call: Call, parsed: Query) -> Iterable[Row]:
    if parsed.object_name.lower() == event_log_object.NAME.lower():
        return event_log_object.rows(org, call, parsed)
    return rows_of(org, call, parsed.object_name)


def rows_of(org: SandboxOrg, call: Call, name: str) -> list[dict[str, Any]]:
    """Return all records of an object, loaded or the org's own.

    :raises ApiError: 400 ``INVALID_TYPE`` if there is no such object.
    """
    lowered = name.lower()
    if lowered in entitlements.OBJECTS:
        return entitlements.rows(org, call, lowered)
    if lowered == "user":
        return [
            {"Id": long_id(user.id), "Username": user.username, "Name": user.name, "IsActive": True}
            for user in org.identity.users
        ]
    if lowered == "eventlogfile" and org.settings.event_log_access:
        return event_log.file_rows(org, call)
    if lowered == "eventlogfile":
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return org.records.rows(Records.object_name(name))


def shown(call: Call, name: str, row: Row, fields: tuple[str, ...]) -> dict[str, Any]:
    """Return a row as REST shows it: its ``attributes`` and the fields asked for."""
    names = tuple(row) if fields == ("FIELDS()",) else fields
    body: dict[str, Any] = {"attributes": {"type": name, "url": f"{call.base}/sobjects/{name}/{row.get('Id', '')}"}}
    return body | {field: value_of(row, field) for field in names}
