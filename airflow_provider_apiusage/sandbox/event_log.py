"""``ApiTotalUsage`` event log files over REST: as ``EventLogFile`` records, and their content."""

from __future__ import annotations

import re
import zlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.sandbox.event_log_files import LogFile, chunks, files, length
from airflow_provider_apiusage.sandbox.event_log_rows import COLUMNS, columns_of
from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call
from airflow_provider_apiusage.sandbox.identity import long_id
from airflow_provider_apiusage.sandbox.ledger import to_instant
from airflow_provider_apiusage.sandbox.tally import DAY

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

__all__ = ["COLUMNS", "LogFile", "download", "file_rows", "files"]

_TOLD = {"true": 1.0, "overstated": 2.0, "understated": 0.5}


def file_rows(org: SandboxOrg, call: Call) -> list[dict[str, Any]]:
    """Return the log files as ``EventLogFile`` records."""
    columns, rows = columns_of(org.settings.event_log_style), []
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
                "LogFileLength": float(length(org, file) * _TOLD[org.settings.event_log_length]),
                "LogFileFieldNames": ",".join(columns),
                "LogFileFieldTypes": ",".join("String" for _ in columns),
                "LogFileContentType": "text/csv",
                "ApiVersion": 67.0,
                "LogFile": f"{call.base}/sobjects/EventLogFile/{record_id}/LogFile",
            }
        )
    return rows


def download(org: SandboxOrg, call: Call) -> Answer:
    """Answer ``GET /sobjects/EventLogFile/{id}/LogFile`` with the CSV, row by row.

    :raises ApiError: 404 ``NOT_FOUND`` if there is no such file, or no longer.
    """
    wanted, settings = call.parts["id"][:15], org.settings
    found = files(org, org.now()) if settings.event_log_access else []
    file = next((file for file in found if file.id == wanted), None)
    if file is not None and len(org.vanished_log_files) < settings.event_log_vanish:
        org.vanished_log_files.add((file.id, file.created_at))
        file = None
    if file is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    if settings.event_log_ranges:
        return _ranged(call, b"".join(chunks(org, file)), file)
    headers = {} if settings.event_log_gzip else {"Cache-Control": "no-transform"}
    return Answer(200, chunks(org, file), "application/octet-stream", headers)


def _ranged(call: Call, body: bytes, file: LogFile) -> Answer:
    """Answer the whole, or from an offset on if the client has the beginning of the same (RFC 9110, 14)."""
    tag = f'"{file.id}-{zlib.crc32(body):08x}"'
    headers = {"Accept-Ranges": "bytes", "ETag": tag}
    wanted = re.fullmatch(r"bytes=(\d+)-", call.request.headers.get("range", ""))
    if wanted is None or call.request.headers.get("if-range", tag) != tag or int(wanted[1]) >= len(body):
        return Answer(200, body, "application/octet-stream", headers)
    offset = int(wanted[1])
    headers["Content-Range"] = f"bytes {offset}-{len(body) - 1}/{len(body)}"
    return Answer(206, body[offset:], "application/octet-stream", headers)


def _datetime(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}.000+0000"
