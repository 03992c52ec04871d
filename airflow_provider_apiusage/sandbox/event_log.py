"""``ApiTotalUsage`` event log files, made from the counted calls when they are asked for.

Columns and their order from the object reference, EventLogFile, ApiTotalUsage; lags, sequences and replacement
from the same guide's "Using Event Monitoring".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id
from airflow_provider_apiusage.sandbox.ledger import Caller, Calls, to_instant
from airflow_provider_apiusage.sandbox.tally import DAY, HOUR

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

COLUMNS = (
    "EVENT_TYPE", "TIMESTAMP", "REQUEST_ID", "ORGANIZATION_ID", "USER_ID", "API_FAMILY", "API_VERSION",
    "API_RESOURCE", "CLIENT_NAME", "HTTP_METHOD", "CLIENT_IP", "COUNTS_AGAINST_API_LIMIT", "CONNECTED_APP_ID",
    "ENTITY_NAME", "STATUS_CODE", "CONNECTED_APP_NAME", "USER_NAME", "TIMESTAMP_DERIVED",
)  # fmt: skip
_HEADER = ",".join(f'"{name}"' for name in COLUMNS) + "\n"
_ROWS_PER_CHUNK = 500
_TOLD = {"true": 1.0, "overstated": 2.0, "understated": 0.5}


@dataclass(frozen=True, slots=True)
class LogFile:
    """One log file: the rows of ``[start, start + length)``, those before (or from) a share of them.

    ``part`` is ``all``, ``first`` (a share of the rows) or ``late`` (the others).
    """

    start: int
    length: int
    sequence: int
    part: str
    share: float
    created_at: datetime

    @property
    def id(self) -> str:
        """The 15-character id, which tells the file's period, sequence and part."""
        kind = "D" if self.length == DAY else "H"
        part = {"all": "A", "first": "F", "late": "L"}[self.part]
        return f"0AT{kind}{part}{self.sequence}{self.start // HOUR:09d}"

    def has(self, index: int) -> bool:
        """Whether the row with this running number within its period is in the file."""
        return self.count(index, 1) == 1

    def count(self, index: int, calls: int) -> int:
        """Return how many of ``calls`` rows, the first numbered ``index``, are in the file."""
        thousandths = round((1 - self.share) * 1_000)
        late = (index + calls) * thousandths // 1_000 - index * thousandths // 1_000
        return {"all": calls, "first": calls - late, "late": late}[self.part]


def files(org: SandboxOrg, now: datetime) -> list[LogFile]:
    """Return the log files that exist at ``now``, oldest first."""
    settings = org.settings
    hours = org.ledger.hours_with_logged_calls()
    found: list[LogFile] = []
    if settings.event_log_hourly:
        share = settings.event_log_hourly_first_share
        first = timedelta(hours=1, minutes=settings.event_log_hourly_lag_minutes, seconds=40)
        late = first + timedelta(minutes=settings.event_log_hourly_late_minutes)
        for hour in hours:
            created = to_instant(hour) + first
            found.append(LogFile(hour, HOUR, 1, "first" if share < 1 else "all", share, created))
            if share < 1:
                found.append(LogFile(hour, HOUR, 2, "late", share, to_instant(hour) + late))
    share = settings.event_log_daily_first_share
    for day in sorted({hour // DAY * DAY for hour in hours}):
        end = to_instant(day) + timedelta(days=1)
        created = end + timedelta(hours=settings.event_log_daily_lag_hours, minutes=13)
        replaced = end + timedelta(hours=settings.event_log_daily_replaced_hours, minutes=13)
        if share < 1 and now < replaced:
            found.append(LogFile(day, DAY, 0, "first", share, created))
        else:
            found.append(LogFile(day, DAY, 0, "all", 1.0, replaced if share < 1 else created))
    oldest = now - timedelta(days=settings.event_log_retention_days)
    return sorted(
        (file for file in found if oldest < file.created_at <= now and _length(org, file) > 0),
        key=lambda file: (file.created_at, file.start),
    )


def file_rows(org: SandboxOrg, call: Call) -> list[dict[str, Any]]:
    """Return the log files as ``EventLogFile`` records."""
    rows = []
    for file in files(org, org.now()):
        record_id = long_id(file.id)
        rows.append(
            {
                "Id": record_id,
                "EventType": "ApiTotalUsage",
                "Interval": "Daily" if file.length == DAY else "Hourly",
                "Sequence": file.sequence,
                "LogDate": _datetime(to_instant(file.start)),
                "CreatedDate": _datetime(file.created_at),
                "LogFileLength": float(_length(org, file) * _TOLD[org.settings.event_log_length]),
                "LogFileFieldNames": ",".join(COLUMNS),
                "LogFileFieldTypes": ",".join("String" for _ in COLUMNS),
                "LogFileContentType": "text/csv",
                "ApiVersion": 67.0,
                "LogFile": f"{call.base}/sobjects/EventLogFile/{record_id}/LogFile",
            }
        )
    return rows


def download(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /sobjects/EventLogFile/{id}/LogFile`` with the CSV, row by row."""
    wanted = call.parts["id"][:15]
    for file in files(org, org.now()) if org.settings.event_log_access else ():
        if file.id == wanted:
            if org.settings.event_log_ranges:
                return _ranged(call, b"".join(_chunks(org, file)), f'"{file.id}-{_length(org, file)}"')
            return Answer(200, _chunks(org, file), "application/octet-stream")
    raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")


def _ranged(call: Call, body: bytes, tag: str) -> Answer:
    """Answer the whole, or from an offset on if the client has the beginning of the same (RFC 9110, 14)."""
    headers = {"Accept-Ranges": "bytes", "ETag": tag}
    wanted = re.fullmatch(r"bytes=(\d+)-", call.request.headers.get("range", ""))
    if wanted is None or call.request.headers.get("if-range", tag) != tag or int(wanted[1]) >= len(body):
        return Answer(200, body, "application/octet-stream", headers)
    offset = int(wanted[1])
    headers["Content-Range"] = f"bytes {offset}-{len(body) - 1}/{len(body)}"
    return Answer(206, body[offset:], "application/octet-stream", headers)


def _numbered(org: SandboxOrg, file: LogFile) -> Iterator[tuple[int, Calls]]:
    index = 0
    for calls in org.ledger.between(file.start, file.start + file.length):
        if calls.caller.logged:
            yield index, calls
            index += calls.number


def _length(org: SandboxOrg, file: LogFile) -> int:
    """Return the file's size in bytes, 0 if it has no row; every row of a caller is equally long."""
    calls_of_period = org.ledger.calls_in_hours(file.start, file.start + file.length)
    key = (file.id, file.share, org.settings.event_log_counted_style, calls_of_period)
    if key not in org.log_file_lengths:
        sizes: dict[Caller, int] = {}
        total = 0
        for index, calls in _numbered(org, file):
            if calls.caller not in sizes:
                row = next(_rows(calls._replace(number=1), _middle(org, calls.caller), 0))
                sizes[calls.caller] = len(row.encode())
            total += sizes[calls.caller] * file.count(index, calls.number)
        org.log_file_lengths[key] = total + len(_HEADER) if total else 0
    return org.log_file_lengths[key]


def _chunks(org: SandboxOrg, file: LogFile) -> Iterator[bytes]:
    rows = [_HEADER]
    middles: dict[Caller, str] = {}
    has = None if file.part == "all" else file.has
    for index, calls in _numbered(org, file):
        if calls.caller not in middles:
            middles[calls.caller] = _middle(org, calls.caller)
        rows.extend(_rows(calls, middles[calls.caller], index, has))
        if len(rows) >= _ROWS_PER_CHUNK:
            yield "".join(rows).encode()
            rows = []
    if rows:
        yield "".join(rows).encode()


def _rows(calls: Calls, middle: str, index: int, has: Callable[[int], bool] | None = None) -> Iterator[str]:
    """Yield the rows of calls alike, the first numbered ``index`` within its period, of which the file ``has`` some."""
    instant = to_instant(calls.second)
    begin = f'"ApiTotalUsage","{instant:%Y%m%d%H%M%S}.'
    request = f'","TID:{calls.second:010d}'
    end = f'{middle},"{instant:%Y-%m-%dT%H:%M:%S}.'
    for number in range(calls.number):
        if has is None or has(index + number):
            thousandth = f"{number * 1_000 // calls.number % 1_000:03d}"
            yield f'{begin}{thousandth}{request}{index + number:09d}"{end}{thousandth}Z"\n'


def _middle(org: SandboxOrg, caller: Caller) -> str:
    """Return the columns that are the same for all calls of a caller, from ORGANIZATION_ID to USER_NAME."""
    user = org.identity.user(caller.user)
    app = next((app.name for app in org.identity.apps if app.id == caller.app), "")
    version = caller.resource.removeprefix("/v").partition("/")[0] if caller.resource.startswith("/v") else "64.0"
    counted = {"1/0": ("0", "1"), "true/false": ("false", "true")}[org.settings.event_log_counted_style]
    values = (
        org.identity.org_id,
        caller.user[:15],
        caller.family,
        version,
        caller.resource,
        caller.client,
        caller.method,
        "192.0.2.10",
        counted[caller.counted],
        caller.app,
        caller.entity,
        str(caller.status),
        app,
        user.username if user else "",
    )
    return "," + ",".join('"' + value.replace('"', '""') + '"' for value in values)


def _datetime(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}.000+0000"
