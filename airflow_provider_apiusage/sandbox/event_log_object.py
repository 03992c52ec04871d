"""The queryable object ``ApiTotalUsageEventLog``, made from the counted calls when it is asked for.

Fields and their properties from the object reference, ApiTotalUsageEventLog: all can be filtered and sorted, all but
``Timestamp`` grouped. Whether aggregates work, how late rows are and how long they stay is not documented: settings.
Its connected app ids have been seen with 18 characters, where log files have 15.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.http import ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id
from airflow_provider_apiusage.sandbox.ledger import Caller, to_instant, to_second
from airflow_provider_apiusage.sandbox.soql import Query

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

NAME = "ApiTotalUsageEventLog"
OLDEST_VERSION = 61
FIELDS = (
    "Id", "ApiFamily", "ApiResource", "ClientIp", "ClientName", "ConnectedAppIdentifier", "HttpMethod",
    "IsApiLimitCounted", "ObjectName", "RequestIdentifier", "StatusCode", "Timestamp", "UserIdentifier",
)  # fmt: skip
_BY_LOWER = {name.lower(): name for name in FIELDS}
#: Fields that ``COUNT(...)`` does not take (SOQL reference, Support for Field Types in Aggregate Functions).
_UNCOUNTABLE = ("IsApiLimitCounted",)
_NO_ID = "000000000000000AAA"


def rows(org: SandboxOrg, call: Call, query: Query) -> Iterator[dict[str, Any]]:
    """Return the rows that may pass the query's conditions, newest first: only ``ORDER BY`` promises an order.

    :raises ApiError: 400 ``INVALID_TYPE`` if there is no such object for this client, ``INVALID_FIELD`` for an unknown
        field, ``MALFORMED_QUERY`` for what cannot be grouped or counted.
    """
    if org.settings.event_log_object == "absent" or call.version < OLDEST_VERSION:
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{query.object_name}' is not supported.")
    fields = [name for name in query.fields if name != "FIELDS()"]
    ordered = [] if query.is_aggregate else [name for name, _descending in query.order]
    for name in (*fields, *(count.field for count in query.counts), *query.group, *query.compared, *ordered):
        if name.lower() not in _BY_LOWER:
            raise ApiError(400, "INVALID_FIELD", f"No such column '{name}' on entity '{NAME}'.")
    for name in query.group:
        if org.settings.event_log_object == "rows" or name.lower() == "timestamp":
            known = _BY_LOWER[name.lower()]
            raise ApiError(400, "MALFORMED_QUERY", f"field '{known}' can not be grouped in a query call")
    for count in query.counts:
        known = _BY_LOWER[count.field.lower()]
        if org.settings.event_log_object == "rows" or known in _UNCOUNTABLE:
            raise ApiError(400, "MALFORMED_QUERY", f"field {known} does not support aggregate operator COUNT")
    now, settings = org.now(), org.settings
    oldest = to_second(now - timedelta(days=settings.event_log_object_days))
    newest = to_second(now - timedelta(minutes=settings.event_log_object_lag_minutes))
    low, high = query.between("Timestamp")
    start = oldest if low is None else max(oldest, to_second(low))
    end = newest if high is None else min(newest, to_second(high))
    return _rows(org, start, end + 1)


def _rows(org: SandboxOrg, start: int, end: int) -> Iterator[dict[str, Any]]:
    alike: dict[Caller, dict[str, Any]] = {}
    for calls in reversed(list(org.ledger.between(start, end))):
        if not calls.caller.logged:
            continue
        if calls.caller not in alike:
            alike[calls.caller] = _values(calls.caller)
        second = f"{to_instant(calls.second):%Y-%m-%dT%H:%M:%S}"
        for number in range(calls.number):
            yield alike[calls.caller] | {
                "RequestIdentifier": f"TID:{calls.second:010d}{number:09d}",
                "Timestamp": f"{second}.{number * 1_000 // calls.number % 1_000:03d}+0000",
            }


def _values(caller: Caller) -> dict[str, Any]:
    """Return what all rows of a caller have in common; blank is null."""
    values: dict[str, Any] = {
        "Id": _NO_ID,
        "ApiFamily": caller.family,
        "ApiResource": caller.resource,
        "ClientIp": "192.0.2.10",
        "ClientName": caller.client,
        "ConnectedAppIdentifier": long_id(caller.app) if len(caller.app) == 15 else caller.app,
        "HttpMethod": caller.method,
        "IsApiLimitCounted": caller.counted,
        "ObjectName": caller.entity,
        "StatusCode": caller.status,
        "UserIdentifier": caller.user[:15],
    }
    return {name: None if value == "" else value for name, value in values.items()}
