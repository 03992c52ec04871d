"""Event log files of an org: which there are.

Facts from the Object reference, EventLogFile, and "Using Event Monitoring": each listing is an API call, and so is
each download (``event_log_download``); a file may be gone between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apiusage.salesforce.errors import ApiUsageError, MalformedAnswerError
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.usage.event_log import LogFile, LogInterval
from airflow_provider_apiusage.usage.hourly import short_id
from airflow_provider_apiusage.usage.model import Finding, Severity

EVENT_TYPE = "ApiTotalUsage"
FIELDS = "Id, Interval, Sequence, LogDate, CreatedDate, LogFileLength"


def list_files(
    org: OrgClient, *, since: datetime, until: datetime | None = None, interval: LogInterval | None = None
) -> tuple[tuple[LogFile, ...], datetime]:
    """List the ``ApiTotalUsage`` files whose period begins in ``[since, until)``. Spends 1 API call per 2,000 files.

    :param org: the org.
    :param since: first ``LogDate``.
    :param until: ``None`` for no end.
    :param interval: hourly or daily only.
    :returns: the files, oldest first, and the org's instant of the answer.
    :raises ApiUsageError: by kind; ``NotFoundError`` where the user may not see event log files.
    """
    conditions = [f"EventType = '{EVENT_TYPE}'", f"LogDate >= {_literal(since)}"]
    if until is not None:
        conditions.append(f"LogDate < {_literal(until)}")
    if interval is not None:
        conditions.append(f"Interval = '{interval.value.capitalize()}'")
    query = f"SELECT {FIELDS} FROM EventLogFile WHERE {' AND '.join(conditions)} ORDER BY LogDate, CreatedDate"  # noqa: S608
    records, observed_at = org.query(query, "listing event log files")
    try:
        files = sorted(_file_from(record) for record in records)
    except (KeyError, ValueError, TypeError) as malformed:
        raise MalformedAnswerError(f"The list of event log files cannot be read: {malformed!r}.", org.where) from None
    return tuple(files), observed_at


def _literal(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _file_from(record: Mapping[str, Any]) -> LogFile:
    length = record.get("LogFileLength")
    return LogFile(
        starts_at=datetime.fromisoformat(record["LogDate"]).astimezone(UTC),
        sequence=int(record.get("Sequence") or 0),
        created_at=datetime.fromisoformat(record["CreatedDate"]).astimezone(UTC),
        id=short_id(record["Id"]) or "",
        interval=LogInterval(str(record["Interval"]).lower()),
        length=None if length is None else int(length),
    )


def denied(refused: ApiUsageError) -> Finding:
    """Return the finding that the user may not read event log files.

    :param refused: what the org answered.
    """
    return Finding(
        "event-log-denied",
        Severity.WARNING,
        f"{refused} Reading event log files takes the user permissions 'View Event Log Files' and 'API Enabled', and "
        "in Setup, Event Monitoring Settings, 'Generate Event Log Files' switched on. The other sources go on.",
        {"kind": refused.kind},
    )
