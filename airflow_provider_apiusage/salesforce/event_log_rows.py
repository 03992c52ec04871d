"""One ``ApiTotalUsage`` file on disk -> hourly counts, in DuckDB: no row passes through Python.

Columns and their meaning: Object reference, EventLogFile, ApiTotalUsage. They are bound by the names in the file's
header; Salesforce adds columns from release to release.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.hourly import TWO_SEGMENTS, Caller, resource_class, short_id
from airflow_provider_apiusage.usage.model import Finding, Severity

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "256MB"
"""What DuckDB may hold; beyond it, it goes to disk."""

IDENTITY = ("TIMESTAMP", "REQUEST_ID", "API_RESOURCE", "HTTP_METHOD", "CLIENT_IP", "ENTITY_NAME", "STATUS_CODE")
"""What tells one row from another of the same hour and caller. A request id alone may stand for several events."""

ATTRIBUTES = (
    "USER_ID", "CONNECTED_APP_ID", "CLIENT_NAME", "API_FAMILY", "API_RESOURCE", "COUNTS_AGAINST_API_LIMIT",
    "REQUEST_ID", "ORGANIZATION_ID", "USER_NAME", "CONNECTED_APP_NAME",
)  # fmt: skip
"""What an hourly count is made of; one that is missing is a finding."""

PLAUSIBLE = timedelta(days=1)
"""A row's hour is at most this far from the beginning of its file's period; what tells another time is unread."""

_COUNTED = {"1": True, "true": True, "0": False, "false": False}
_PER_FETCH = 64


class UnreadableLogError(ValueError):
    """The file is no ``ApiTotalUsage`` log: nothing of it can be used. The message says what is wrong."""


def usage_of_file(
    path: Path, file: LogFile, *, org_id: str, memory_limit: str = MEMORY_LIMIT, threads: int = 2
) -> FileUsage:
    """Aggregate a file by hour and caller, each distinct row once.

    Memory stays bounded whatever the file's size: DuckDB streams the rows, keeps one hash of 8 bytes for each, and
    spills to the file's folder.

    :param path: the CSV, uncompressed, without NUL bytes.
    :param file: what the org says about it.
    :param org_id: rows of another org are left out, with a finding.
    :param memory_limit: of DuckDB, such as ``"256MB"``.
    :param threads: of DuckDB.
    :raises UnreadableLogError: if there is no header, or no column that tells the time.
    """
    header, spaced = _header(path)
    if not {"TIMESTAMP", "TIMESTAMP_DERIVED"} & set(header):
        raise UnreadableLogError(f"its header has no TIMESTAMP: {', '.join(header)[:200] or 'it is empty'}")
    with _engine(path.parent, memory_limit, threads) as duck:
        duck.execute(_aggregation(header), {"path": str(path), "delimiter": ", " if spaced else ","})
        rejected = duck.execute("SELECT count(DISTINCT (scan_id, line)) FROM reject_errors").fetchall()[0][0]
        parts, tally = _parts(duck, file, org_id)
        scheme = duck.execute("SELECT hash('apiusage', NULL, 'fingerprint')").fetchall()[0][0]
    return FileUsage(
        file=file,
        parts=parts,
        rows=tally.rows,
        repeated=tally.repeated,
        unread=rejected + tally.undated,
        scheme=f"{scheme:016x}",
        findings=tuple(_findings(file, header, rejected, tally)),
    )


def _header(path: Path) -> tuple[list[str], bool]:
    """Return the column names and whether a space follows each comma, as in some of Salesforce's samples."""
    with path.open("rb") as stream:
        line = stream.readline(64 * 1024).decode("utf-8-sig", "replace").strip()
    spaced = '", "' in line or (", " in line and '"' not in line)
    return [name.strip().upper() for name in next(csv.reader([line], skipinitialspace=True), [])], spaced


@contextmanager
def _engine(folder: Path, memory_limit: str, threads: int) -> Iterator[DuckDBPyConnection]:
    import duckdb

    settings: dict[str, Any] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "preserve_insertion_order": False,
        "temp_directory": str(folder / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=settings)
    try:
        yield connection
    finally:
        connection.close()


def _aggregation(header: Sequence[str]) -> str:
    """Return the statement that makes table ``told``: raw values in, one row by hour and caller out.

    One pass over the file. What is done to each row is cheap (cut, compare, hash); tidying up is left to the few
    rows that come out.
    """
    columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in _unique(header))
    has = set(header)

    def column(name: str) -> str:
        return f'"{name}"' if name in has else "NULL"

    stamp = "TIMESTAMP" if "TIMESTAMP" in has else "NULL"
    derived = "regexp_replace(TIMESTAMP_DERIVED, '[^0-9]', '', 'g')[1:10]" if "TIMESTAMP_DERIVED" in has else "NULL"
    identity = ", ".join(column(name) for name in IDENTITY)
    return f"""
        CREATE TEMP TABLE told AS
        SELECT hour, org, user_id, app, client, family, counted, resource,
               any_value(user_name) AS user_name, any_value(app_name) AS app_name,
               count(*) AS total, count(*) - count(fingerprint) AS nameless,
               coalesce(list(fingerprint) FILTER (fingerprint IS NOT NULL), []) AS fingerprints
        FROM (
            SELECT CASE WHEN length({stamp}) >= 14 THEN {stamp}[1:10] ELSE {derived} END AS hour,
                   {column("ORGANIZATION_ID")} AS org,
                   {column("USER_ID")} AS user_id,
                   {column("CONNECTED_APP_ID")} AS app,
                   {column("CLIENT_NAME")} AS client,
                   {column("API_FAMILY")} AS family,
                   {column("COUNTS_AGAINST_API_LIMIT")} AS counted,
                   {shortened_resource(column("API_RESOURCE"))} AS resource,
                   {column("USER_NAME")} AS user_name,
                   {column("CONNECTED_APP_NAME")} AS app_name,
                   CASE WHEN length({column("REQUEST_ID")}) > 0 THEN hash({identity}) END AS fingerprint
            FROM read_csv($path, header = true, auto_detect = false, delim = $delimiter, quote = '"', escape = '"',
                          columns = {{{columns}}}, store_rejects = true, rejects_limit = 0)
        )
        GROUP BY ALL
    """  # noqa: S608 - names come from the file's header and are quoted; values are bound


def _unique(header: Sequence[str]) -> list[str]:
    """Number names that come twice, so that the first of them is the one that is bound."""
    seen: dict[str, int] = {}
    names = []
    for name in header:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return names


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def shortened_resource(column: str) -> str:
    """Return an SQL expression that cuts ids and names off a path, so that few groups come out of many rows.

    What it gives has the same :func:`~airflow_provider_apiusage.usage.hourly.resource_class` as the whole.

    :param column: an SQL expression of the raw ``API_RESOURCE``.
    """
    two = "|".join(sorted(TWO_SEGMENTS))
    version = "(?:/services/data)?/v[0-9][^/?]*"
    cut = f"{version}/(?:{two})/[^/?]+|{version}/[^/?]+|/services/(?:apexrest|async|Soap)/|[^?]*"
    return f"""CASE WHEN contains({column}, '//') OR contains({column}, '/describe') THEN split_part({column}, '?', 1)
                    ELSE regexp_extract({column}, '^(?:{cut})') END"""


@dataclass
class _Tally:
    """Rows of one file by what became of them."""

    rows: int = 0
    repeated: int = 0
    undated: int = 0
    outside: int = 0
    foreign: int = 0
    nameless: int = 0
    unknown: int = 0


def _parts(duck: DuckDBPyConnection, file: LogFile, org_id: str) -> tuple[tuple[Part, ...], _Tally]:
    """Give the groups in table ``told`` their callers, and count the distinct rows of each caller and hour."""
    tally = _Tally()
    keys: dict[tuple[datetime, Caller], int] = {}
    nameless: list[int] = []
    totals: list[int] = []
    groups: list[tuple[int, int]] = []
    found = duck.execute(
        "SELECT rowid, hour, org, user_id, app, client, family, resource, counted, user_name, app_name, total, nameless"
        " FROM told ORDER BY ALL"
    )
    while batch := found.fetchmany(1_000):
        for group, hour, org, user, app, client, family, resource, counted, user_name, app_name, total, blank in batch:
            tally.rows += total
            starts_at = _hour(hour)
            if starts_at is None or abs(starts_at - file.starts_at) > PLAUSIBLE:
                tally.undated += total
                continue
            if (short_id(org) or org_id)[:15] != org_id:
                tally.foreign += total
                continue
            caller = Caller(
                user=short_id(user),
                app=short_id(app),
                client=_blank(client),
                family=_blank(family),
                resource=resource_class(resource),
                counted=_COUNTED.get((counted or "").strip().lower()),
                user_name=_blank(user_name),
                app_name=_blank(app_name),
            )
            part = keys.setdefault((starts_at, caller), len(keys))
            if part == len(totals):
                totals.append(0)
                nameless.append(0)
            totals[part] += total
            nameless[part] += blank
            groups.append((group, part))
    distinct, fingerprints = _distinct(duck, groups, _united_parts(keys, file))
    parts = tuple(
        Part(starts_at, caller, distinct.get(part, 0), nameless[part], fingerprints.get(part, b""))
        for (starts_at, caller), part in keys.items()
    )
    tally.repeated = sum(totals) - sum(part.calls for part in parts)
    tally.nameless = sum(nameless)
    tally.outside = sum(part.calls for part in parts if not file.covers(part.starts_at))
    tally.unknown = sum(part.calls for part in parts if part.caller.counted is None)
    return parts, tally


def _united_parts(keys: dict[tuple[datetime, Caller], int], file: LogFile) -> list[int]:
    """Return the parts that may be united with those of other files: all but a daily file's own day."""
    return [
        part
        for (starts_at, _), part in keys.items()
        if file.interval is not LogInterval.DAILY or not file.covers(starts_at)
    ]


def _distinct(
    duck: DuckDBPyConnection, groups: list[tuple[int, int]], wanted: list[int]
) -> tuple[dict[int, int], dict[int, bytes]]:
    """Return by part how many distinct rows it has, and the fingerprints of the parts that are wanted."""
    duck.execute(
        "CREATE TEMP TABLE part_of AS SELECT unnest($groups::BIGINT[]) AS told_id, unnest($parts::INTEGER[]) AS part",
        {"groups": [group for group, _ in groups], "parts": [part for _, part in groups]},
    )
    rows = "(SELECT part, unnest(fingerprints) AS fingerprint FROM told JOIN part_of ON told_id = told.rowid)"
    counts = duck.execute(f"SELECT part, count(DISTINCT fingerprint) FROM {rows} GROUP BY part").fetchall()  # noqa: S608
    fingerprints: dict[int, bytes] = {}
    if not wanted:
        return dict(counts), fingerprints
    found = duck.execute(
        f"SELECT part, list_sort(list(DISTINCT fingerprint)) FROM {rows}"  # noqa: S608
        " WHERE part IN (SELECT unnest($parts::INTEGER[])) GROUP BY part",
        {"parts": wanted},
    )
    while batch := found.fetchmany(_PER_FETCH):
        fingerprints.update((part, array("Q", values).tobytes()) for part, values in batch)
    return dict(counts), fingerprints


@cache
def _hour(text: str | None) -> datetime | None:
    try:
        return datetime.strptime((text or "").strip(), "%Y%m%d%H").replace(tzinfo=UTC)
    except ValueError:
        return None


def _blank(text: str | None) -> str | None:
    return (text or "").strip() or None


def _findings(file: LogFile, header: Sequence[str], rejected: int, tally: _Tally) -> Iterator[Finding]:
    log = f"Event log {file.label} ({file.id})"
    if missing := [name for name in ATTRIBUTES if name not in header]:
        yield Finding(
            "event-log-columns-missing",
            Severity.WARNING,
            f"{log} has no column {', '.join(missing)}: what they tell is unknown for its calls.",
            {"file": file.id, "columns": missing},
        )
    told = (
        ("event-log-rows-malformed", Severity.WARNING, rejected,
         "could not be read; each may be a call, and none is counted"),
        ("event-log-rows-undated", Severity.WARNING, tally.undated,
         "tell no time near the file's period; each may be a call, and none is counted"),
        ("event-log-other-org", Severity.ERROR, tally.foreign, "are of another org and left out"),
        ("event-log-rows-outside", Severity.INFO, tally.outside,
         "lie outside the file's period; they are counted in the hour that they tell"),
        ("event-log-rows-repeated", Severity.INFO, tally.repeated, "repeat others of the file and are counted once"),
        ("event-log-rows-nameless", Severity.WARNING, tally.nameless,
         "have no REQUEST_ID: repeats among them cannot be told, so the count is an upper bound"),
        ("event-log-counted-unknown", Severity.INFO, tally.unknown,
         "do not say whether they count against the allowance"),
    )  # fmt: skip
    for code, severity, number, what in told:
        if number:
            yield Finding(code, severity, f"{log}: {number:,} row(s) {what}.", {"file": file.id, "rows": number})
