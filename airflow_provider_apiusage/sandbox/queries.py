"""REST queries: what can be selected, page by page (REST API guide, Query)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox import entitlements, event_log
from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id
from airflow_provider_apiusage.sandbox.records import Records
from airflow_provider_apiusage.sandbox.soql import Query, Row, parse, value_of

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg


def query(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /query?q=`` and ``/queryAll``."""
    parsed = parse(call.request.query.get("q", ""), org.now())
    rows = parsed.apply(rows_of(org, call, parsed.object_name))
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
    return _page(org, call, rows, int(start), locator)


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
    return parsed, parsed.apply(rows_of(org, call, parsed.object_name))


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
