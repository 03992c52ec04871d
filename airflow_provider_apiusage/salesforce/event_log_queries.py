"""What is asked of ``ApiTotalUsageEventLog``, how its answers are counted, and what they cover. No I/O.

Facts from the Object reference, ApiTotalUsageEventLog: API version 61.0 or newer; permission *View Event Log Object
Data*; every field but ``Timestamp`` can be grouped, which can only be filtered and sorted. So each hour takes a query
of its own. Not documented: whether aggregates work, how late rows come, how long they stay, whether they are repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apiusage.salesforce.errors import ApiUsageError
from airflow_provider_apiusage.usage.hourly import Caller, hour_of, resource_class, short_id
from airflow_provider_apiusage.usage.model import WINDOW, Finding, Severity

OBJECT = "ApiTotalUsageEventLog"
PERMISSION = "View Event Log Object Data"
OLDEST_VERSION = "61.0"

SETTLING = timedelta(hours=1)
"""How long after its end an hour is read at the earliest. How late rows come is not documented, so this is a margin and
no bound: the counts stay a lower bound until a log file tells the hour."""

SURELY_KEPT = WINDOW
"""Rows of this age are taken to be there still. Retention is not documented; log files stay for a day at the least
(Using Event Monitoring). An older hour without rows may have been forgotten, so nothing is known about it."""

MOST_GROUPS = 2_000
"""Groups in one answer at most: there is no ``queryMore`` for them (SOQL reference, GROUP BY)."""

TOO_MUCH = ("EXCEEDED_ID_LIMIT", "QUERY_TIMEOUT", "OPERATION_TOO_LARGE")
"""Error codes that a shorter period may cure; any other refusal of a grouped query means that the org groups not."""

FIELDS = "UserIdentifier, ConnectedAppIdentifier, ClientName, ApiFamily, ApiResource, IsApiLimitCounted"

_COUNTED = {"true": True, "1": True, "false": False, "0": False}


def grouped_query(start: datetime, end: datetime) -> str:
    """Return the query for the calls of ``[start, end)`` by caller; both in whole seconds."""
    return f"SELECT {FIELDS}, COUNT(Id) calls FROM {OBJECT} WHERE {_period(start, end)} GROUP BY {FIELDS}"  # noqa: S608


def rows_query(start: datetime, end: datetime) -> str:
    """Return the query for the single calls of ``[start, end)`` in order of time."""
    return f"SELECT Timestamp, {FIELDS} FROM {OBJECT} WHERE {_period(start, end)} ORDER BY Timestamp"  # noqa: S608


def _period(start: datetime, end: datetime) -> str:
    return f"Timestamp >= {_literal(start)} AND Timestamp < {_literal(end)}"


def _literal(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def halves(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Return the two halves of a period of two seconds or more, cut at a whole second."""
    middle = start + timedelta(seconds=(end - start) // timedelta(seconds=2))
    return [(start, middle), (middle, end)]


def too_much(refused: ApiUsageError) -> bool:
    """Whether a query was refused for the size of its answer, or for the time it took."""
    return any(code in refused.what for code in TOO_MUCH)


def counted_groups(records: Iterable[Mapping[str, Any]]) -> Counter[Caller]:
    """Return the calls by caller: several groups are one caller where only ids of resources tell them apart.

    :raises KeyError, TypeError, ValueError, AttributeError: if a record is no group with a count.
    """
    calls: Counter[Caller] = Counter()
    for record in records:
        if (number := int(record["calls"])) < 0:
            raise ValueError(number)
        calls[caller_of(record)] += number
    return calls


def counted_rows(records: Iterable[Mapping[str, Any]]) -> tuple[Counter[tuple[datetime, Caller]], list[datetime]]:
    """Return the calls by hour and caller, and the time of each row as it comes.

    :raises KeyError, TypeError, ValueError, AttributeError: if a record is no row with a time.
    """
    calls: Counter[tuple[datetime, Caller]] = Counter()
    times: list[datetime] = []
    for record in records:
        times.append(datetime.fromisoformat(record["Timestamp"]))
        calls[hour_of(times[-1]), caller_of(record)] += 1
    return calls, times


def caller_of(record: Mapping[str, Any]) -> Caller:
    """Return who made the calls of a row or group. Names of users and apps are not told here.

    ``IsApiLimitCounted`` is documented as true or false; 1 and 0 and text are understood as in log files.
    """
    return Caller(
        user=short_id(record.get("UserIdentifier")),
        app=short_id(record.get("ConnectedAppIdentifier")),
        client=(record.get("ClientName") or "").strip() or None,
        family=(record.get("ApiFamily") or "").strip() or None,
        resource=resource_class(record.get("ApiResource")),
        counted=_COUNTED.get(str(record.get("IsApiLimitCounted")).strip().lower()),
    )


def known_until(now: datetime) -> datetime:
    """Return the instant up to which the object can be read.

    :param now: the org's clock.
    """
    return hour_of(now - SETTLING)


def known_since(start: datetime, until: datetime, now: datetime, first: datetime | None) -> datetime:
    """Return the instant from which the answer for ``[start, until)`` is known to be one.

    :param now: the org's clock.
    :param first: the first hour with calls; ``None`` if there is none.
    """
    kept = min(until, hour_of(now - SURELY_KEPT))
    return min(until if first is None else first, max(start, kept))


def denied(refused: ApiUsageError, version: str) -> Finding:
    """Return the finding that the user may not read the object, or that the org has none.

    :param refused: what the org answered.
    :param version: API version of the connection.
    """
    return Finding(
        "event-log-object-denied",
        Severity.WARNING,
        f"{refused} Reading {OBJECT} takes the user permissions '{PERMISSION}' and 'API Enabled', and API version "
        f"{OLDEST_VERSION} or newer (the connection's is {version}). The other sources go on.",
        {"kind": refused.kind, "object": OBJECT, "permission": PERMISSION, "oldest_version": OLDEST_VERSION},
    )


def ungrouped(refused: ApiUsageError) -> Finding:
    """Return the finding that the org does not group.

    :param refused: what the org answered.
    """
    return Finding(
        "event-log-object-ungrouped",
        Severity.INFO,
        f"{refused.what} So the rows of {OBJECT} are read one by one, which takes one API call for every 2,000 calls "
        "told; log files (events='auto') take fewer.",
        {"object": OBJECT},
    )


def silent(start: datetime, since: datetime) -> Finding:
    """Return the finding that the object tells nothing of ``[start, since)``."""
    return Finding(
        "event-log-object-silent",
        Severity.INFO,
        f"{OBJECT} tells no call from {start:%Y-%m-%d %H:%M} to {since:%Y-%m-%d %H:%M} UTC: none was made, or rows "
        "that old are not kept. These hours stay unknown.",
        {"start": start.isoformat(), "end": since.isoformat()},
    )
