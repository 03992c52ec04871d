"""One ``ApiTotalUsage`` file on disk -> hourly counts, in DuckDB: no row passes through Python.

Columns and their meaning: Object reference, EventLogFile, ApiTotalUsage. They are bound by the names in the file's
header; Salesforce adds columns from release to release.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.salesforce.event_log_groups import Groups, findings_of
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile
from airflow_provider_apiusage.usage.hourly import TWO_SEGMENTS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "256MB"
"""What DuckDB may hold; beyond it, it goes to disk."""

IDENTITY = ("TIMESTAMP", "REQUEST_ID", "API_RESOURCE", "HTTP_METHOD", "CLIENT_IP", "ENTITY_NAME", "STATUS_CODE")
"""What tells one row from another of the same hour and caller. A request id alone may stand for several events."""

BYTES_PER_PASS = 1_500_000_000
"""Bytes of a file whose hashes fit well into the memory limit: about 5,000,000 rows."""

BUFFER_BYTES = 8_000_000
"""What DuckDB reads at a time in each thread; a quarter of its default, no slower, and much less memory."""


class UnreadableLogError(ValueError):
    """The file is no ``ApiTotalUsage`` log: nothing of it can be used. The message says what is wrong."""


def usage_of_file(
    path: Path, file: LogFile, *, org_id: str, memory_limit: str = MEMORY_LIMIT, threads: int = 2
) -> FileUsage:
    """Aggregate a file by hour and caller, each distinct row once.

    Memory stays bounded whatever the file's size: DuckDB streams the rows and keeps one hash of 8 bytes for each; a
    file beyond 1.5 GB is read in several passes, each of which looks at a part of the hashes.

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
    passes = -(-path.stat().st_size // BYTES_PER_PASS) or 1
    groups = Groups(file, org_id)
    for turn in range(passes):
        with _engine(path.parent, memory_limit, threads) as duck:
            parameters = {"path": str(path), "delimiter": ", " if spaced else ",", "passes": passes, "turn": turn}
            duck.execute(_aggregation(header), parameters)
            groups.add(duck)
            if turn == 0:
                rejected = _number(duck, "SELECT count(DISTINCT (scan_id, line)) FROM reject_errors")
                scheme = _number(duck, "SELECT hash('apiusage', NULL, 'fingerprint')")
    tally = groups.tally()
    return FileUsage(
        file=file,
        parts=groups.parts(),
        rows=tally.rows,
        repeated=tally.repeated,
        unread=rejected + tally.undated,
        scheme=f"{scheme:016x}",
        findings=tuple(findings_of(file, header, rejected, tally)),
    )


def _number(duck: DuckDBPyConnection, query: str) -> int:
    return int(duck.execute(query).fetchall()[0][0])


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
    derived = "left(regexp_replace(TIMESTAMP_DERIVED, '[^0-9]', '', 'g'), 10)" if "TIMESTAMP_DERIVED" in has else "NULL"
    identity = ", ".join(column(name) for name in IDENTITY)
    return f"""
        CREATE TEMP TABLE told AS
        SELECT hour, org, user_id, app, client, family, counted, resource,
               any_value(user_name) AS user_name, any_value(app_name) AS app_name,
               count(*) AS total, count(*) - count(fingerprint) AS nameless,
               coalesce(list(fingerprint) FILTER (fingerprint IS NOT NULL), []) AS fingerprints
        FROM (
            SELECT CASE WHEN length({stamp}) >= 14 THEN left({stamp}, 10) ELSE {derived} END AS hour,
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
                          columns = {{{columns}}}, store_rejects = true, rejects_limit = 0,
                          buffer_size = {BUFFER_BYTES})
        )
        WHERE $passes = 1 OR coalesce(fingerprint, 0) % $passes = $turn
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
