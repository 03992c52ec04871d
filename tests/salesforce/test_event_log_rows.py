"""One log file on disk: DuckDB's hourly counts against Python's csv module, and every oddity that is known."""

from __future__ import annotations

import csv
import io
from array import array
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce import event_log_rows
from airflow_provider_apiusage.salesforce.event_log_rows import (
    UnreadableLogError,
    shortened_resource,
    usage_of_file,
)
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Told, unite
from airflow_provider_apiusage.usage.hourly import Caller, resource_class, short_id

ORG = "00DAA0000000001"
DAY = datetime(2026, 10, 6, tzinfo=UTC)
COLUMNS = (
    "EVENT_TYPE", "TIMESTAMP", "REQUEST_ID", "ORGANIZATION_ID", "USER_ID", "API_FAMILY", "API_VERSION",
    "API_RESOURCE", "CLIENT_NAME", "HTTP_METHOD", "CLIENT_IP", "COUNTS_AGAINST_API_LIMIT", "CONNECTED_APP_ID",
    "ENTITY_NAME", "STATUS_CODE", "CONNECTED_APP_NAME", "USER_NAME", "TIMESTAMP_DERIVED",
)  # fmt: skip

Values = dict[str, str]


def row(**changes: str) -> Values:
    """A row as Salesforce documents it."""
    values = dict.fromkeys(COLUMNS, "") | {
        "EVENT_TYPE": "ApiTotalUsage",
        "TIMESTAMP": "20261006053000.123",
        "REQUEST_ID": "TID-a",
        "ORGANIZATION_ID": ORG,
        "USER_ID": "005AA0000000001",
        "API_FAMILY": "REST",
        "API_RESOURCE": "/v67.0/query",
        "CLIENT_NAME": "nightly-elt",
        "COUNTS_AGAINST_API_LIMIT": "1",
        "CONNECTED_APP_ID": "0H4AA0000000001",
        "TIMESTAMP_DERIVED": "2026-10-06T05:30:00.123Z",
    }
    return values | changes


def text(rows: list[Values], columns: tuple[str, ...] = COLUMNS, **style: object) -> str:
    """The rows as CSV."""
    out = io.StringIO()
    options: dict[str, object] = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n", "extrasaction": "ignore"}
    writer = csv.DictWriter(out, columns, restval="", **(options | style))  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def usage(path: Path, content: str | bytes, interval: LogInterval = LogInterval.DAILY) -> FileUsage:
    """What a file with this content tells."""
    file = path / "rows.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    starts_at = DAY if interval is LogInterval.DAILY else DAY + timedelta(hours=5)
    return usage_of_file(file, LogFile(starts_at, 0, DAY + timedelta(days=1), "0ATAA0000000001", interval), org_id=ORG)


def calls(told: FileUsage) -> Counter[tuple[datetime, Caller]]:
    """Calls by hour and caller."""
    return Counter({(part.starts_at, part.caller): part.calls for part in told.parts})


def codes(told: FileUsage) -> set[str]:
    """The codes of the findings."""
    return {finding.code for finding in told.findings}


PIECES = (
    "/", "//", "?", " ", "\n", "é", "x", "v64.0", "v1", "vx", "services", "data", "jobs", "ingest", "composite",
    "describe", "sobjects", "apexrest", "async", "Soap", "limits",
)  # fmt: skip

words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=6)
log_rows = st.builds(
    row,
    TIMESTAMP=st.sampled_from(["20261006000000.000", "20261006235959.999", "20261006120000.5"]),
    REQUEST_ID=st.sampled_from(["a", "b", "c", "d"]),
    USER_ID=st.sampled_from(["005AA0000000001", "005AA0000000001AAA", "005AA0000000002", ""]),
    API_FAMILY=st.sampled_from(["REST", "SOAP", "Bulk"]),
    API_RESOURCE=st.sampled_from(["login", "/v67.0/query", "/v64.0/sobjects/Account/001AA0000000001"]) | words,
    CLIENT_NAME=st.sampled_from(["", "elt"]) | words,
    COUNTS_AGAINST_API_LIMIT=st.sampled_from(["1", "0", "true", "False", "TRUE", "", "maybe"]),
    ENTITY_NAME=words,
    CONNECTED_APP_ID=st.sampled_from(["", "0H4AA0000000001"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(log_rows, max_size=12), repeats=st.integers(0, 3), order=st.permutations(COLUMNS))
def test_counts_are_those_of_the_csv_module(tmp_path: Path, rows: list[Values], repeats: int, order: list[str]) -> None:
    """Any text in any column order: each distinct row is one call of its caller, in its hour."""
    rows = rows + rows[:repeats]
    identity = ("TIMESTAMP", "REQUEST_ID", "API_RESOURCE", "HTTP_METHOD", "CLIENT_IP", "ENTITY_NAME", "STATUS_CODE")
    distinct = set()
    for values in csv.DictReader(io.StringIO(text(rows), newline="")):
        counted = {"1": True, "true": True, "0": False, "false": False}.get(
            values["COUNTS_AGAINST_API_LIMIT"].strip().lower()
        )
        caller = Caller(
            short_id(values["USER_ID"]),
            short_id(values["CONNECTED_APP_ID"]),
            values["CLIENT_NAME"].strip() or None,
            values["API_FAMILY"],
            resource_class(values["API_RESOURCE"]),
            counted,
        )
        hour = datetime.strptime(values["TIMESTAMP"][:10], "%Y%m%d%H").replace(tzinfo=UTC)
        distinct.add((hour, caller, tuple(values[name] for name in identity)))

    told = usage(tmp_path, text(rows, tuple(order)))

    assert calls(told) == Counter((hour, caller) for hour, caller, _ in distinct)
    assert (told.rows, told.repeated, told.unread) == (len(rows), len(rows) - len(distinct), 0)


@settings(max_examples=120, deadline=None)
@given(resource=st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@example(resource="/services/data/v64.0/jobs/query/750AA")
@example(resource="/v64.0/sobjects/Account/describe?x=/y")
def test_cutting_a_path_short_does_not_change_its_class(resource: str) -> None:
    """What groups the rows inside DuckDB and what names the class outside agree."""
    with duckdb.connect() as duck:
        found = duck.execute(f"SELECT {shortened_resource('r')} FROM (SELECT ?::VARCHAR AS r)", [resource]).fetchone()

    assert found is not None
    assert resource_class(found[0]) == resource_class(resource)


def test_sequences_of_an_hour_unite_by_their_fingerprints(tmp_path: Path) -> None:
    """A late file that repeats a row of the first adds only what is new."""
    first = usage(tmp_path, text([row(REQUEST_ID=f"r{n}") for n in range(5)]), LogInterval.HOURLY)
    late = usage(tmp_path, text([row(REQUEST_ID=f"r{n}") for n in range(4, 7)]), LogInterval.HOURLY)

    assert first.scheme == late.scheme
    told = [Told(LogInterval.HOURLY, each.scheme, part) for each in (first, late) for part in each.parts]
    assert list(unite(told).values()) == [7]
    assert [len(part.fingerprints) for part in first.parts] == [5 * 8]


@pytest.mark.parametrize("interval", [LogInterval.HOURLY, LogInterval.DAILY])
def test_a_file_read_in_several_passes_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: LogInterval
) -> None:
    """A very large file does not fit at once: each pass looks at other fingerprints, and malformed rows count once."""
    rows = [row(REQUEST_ID=f"r{n % 40}", CLIENT_NAME=f"client-{n % 3}") for n in range(150)]
    rows += [row(REQUEST_ID="", TIMESTAMP="20261006050000.000")] * 3 + [row(TIMESTAMP="never", TIMESTAMP_DERIVED="")]
    content = text(rows) + '"too","few"\n'
    once = usage(tmp_path, content, interval)
    monkeypatch.setattr(event_log_rows, "BYTES_PER_PASS", 4_000)
    assert len(content) > 4 * 4_000

    several = usage(tmp_path, content, interval)

    assert calls(several) == calls(once)
    figures = ("rows", "repeated", "unread", "scheme", "findings")
    assert [getattr(several, name) for name in figures] == [getattr(once, name) for name in figures]
    fingerprints = {part.caller: set(array("Q", part.fingerprints)) for part in once.parts}
    assert {part.caller: set(array("Q", part.fingerprints)) for part in several.parts} == fingerprints


def test_a_daily_file_carries_no_fingerprints_but_those_of_strays(tmp_path: Path) -> None:
    """Five million rows would be 40 MB that nothing is ever compared with."""
    told = usage(tmp_path, text([row(), row(TIMESTAMP="20261007000000.004", REQUEST_ID="b")]))

    assert [len(part.fingerprints) for part in sorted(told.parts, key=lambda part: part.starts_at)] == [0, 8]


def test_rows_outside_the_period_count_in_their_own_hour_and_are_told(tmp_path: Path) -> None:
    """Up to a day away; what tells another time altogether is unread."""
    stamps = ["20261006053000.123", "20261006045959.999", "20261006060000.000", "20360101000000.000", "yesterday", ""]
    rows = [row(TIMESTAMP=stamp, TIMESTAMP_DERIVED="", REQUEST_ID=stamp) for stamp in stamps]

    told = usage(tmp_path, text(rows), LogInterval.HOURLY)

    assert sorted(part.starts_at.hour for part in told.parts) == [4, 5, 6]
    assert told.unread == 3
    figures = {finding.code: finding.figures["rows"] for finding in told.findings}
    assert figures == {"event-log-rows-outside": 2, "event-log-rows-undated": 3}


def test_without_a_time_stamp_the_derived_one_serves(tmp_path: Path) -> None:
    """Where the column is blank in a row, and where it is absent from the file; with neither, nothing can be placed."""
    columns = tuple(name for name in COLUMNS if name != "TIMESTAMP")

    assert sum(calls(usage(tmp_path, text([row(TIMESTAMP="")]))).values()) == 1
    assert sum(calls(usage(tmp_path, text([row()], columns))).values()) == 1
    with pytest.raises(UnreadableLogError, match="TIMESTAMP"):
        usage(tmp_path, text([row()], tuple(name for name in columns if name != "TIMESTAMP_DERIVED")))


def test_unknown_columns_are_normal_and_missing_ones_are_told(tmp_path: Path) -> None:
    """A column of a later release changes nothing; without CLIENT_NAME the client is unknown."""
    added = text([row()], (*COLUMNS, "API_CLIENT_CATEGORY", "BOT_IDENTIFIER"))
    without = text([row()], tuple(name for name in COLUMNS if name != "CLIENT_NAME"))

    assert usage(tmp_path, added).findings == ()
    told = usage(tmp_path, without)
    assert [finding.figures["columns"] for finding in told.findings] == [["CLIENT_NAME"]]
    assert told.parts[0].caller.client is None


@pytest.mark.parametrize("missing", [name for name in COLUMNS if name not in ("TIMESTAMP", "TIMESTAMP_DERIVED")])
def test_no_single_column_is_needed_to_count_calls(tmp_path: Path, missing: str) -> None:
    """Whatever else a release leaves out, two calls stay two calls."""
    columns = tuple(name for name in COLUMNS if name != missing)

    told = usage(tmp_path, text([row(), row(REQUEST_ID="TID-b")], columns))

    assert sum(part.calls for part in told.parts) == 2


def test_malformed_rows_are_counted_and_the_others_kept(tmp_path: Path) -> None:
    """Too few fields, too many, bytes that are no UTF-8: each may be a call, and the finding says how many."""
    good = text([row(REQUEST_ID=f"r{n}") for n in range(3)]).encode()
    header, *rows = good.splitlines(keepends=True)
    bad = [b'"ApiTotalUsage","20261006050000.000"\n', rows[0].rstrip() + b',"more"\n', rows[1].replace(b"elt", b"\xff")]

    told = usage(tmp_path, b"".join([header, rows[0], bad[0], rows[1], bad[1], bad[2], rows[2]]))

    assert sum(part.calls for part in told.parts) == 3
    assert told.unread == 3
    assert {finding.code: finding.figures["rows"] for finding in told.findings} == {"event-log-rows-malformed": 3}


def test_spaces_after_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    """Salesforce's samples differ: a space after each comma, text with quotes in quotes, no quotes at all, CRLF."""
    rows = [row(CLIENT_NAME='say "hi", twice', REQUEST_ID="a"), row(CLIENT_NAME="", REQUEST_ID="b")]
    spaced = text(rows).replace('","', '", "')
    clients = {'say "hi", twice', None}

    for content in (text(rows), spaced, text(rows, lineterminator="\r\n"), text(rows, quoting=csv.QUOTE_MINIMAL)):
        told = usage(tmp_path, content)
        assert {part.caller.client for part in told.parts} == clients, content
        assert told.unread == 0
    assert usage(tmp_path, "\ufeff" + text(rows)).rows == 2


def test_the_shape_of_a_public_sample_is_read(tmp_path: Path) -> None:
    """A file that somebody published (ids here are made up): no quotes, a consumer key for an app id, a lone space for
    none, and a row that has lost its HTTP method and so one field."""
    published = (
        ",".join(COLUMNS)
        + f"""
ApiTotalUsage,20261006183437.652,4aBcDeFgHiJkLmNoPqRsT,{ORG},005AA0000000001,SOAP,64.0,login,,192.0.2.7,1,, ,200,,a@example.invalid,2026-10-06T18:34:37.652Z
ApiTotalUsage,20261006184000.123,4bBcDeFgHiJkLmNoPqRsT,{ORG},005AA0000000001AAA,REST,64.0,/v64.0/sobjects/Account,ECA,GET,192.0.2.7,1,3MVG9kBt168mda_,Account,200,MyApp,a@example.invalid,2026-10-06T18:40:00.123Z
ApiTotalUsage,20261006184100.007,4cBcDeFgHiJkLmNoPqRsT,{ORG},005AA0000000001,SOAP,64.0,login,,,192.0.2.7,1, ,,200,,a@example.invalid,2026-10-06T18:41:00.007Z
"""  # noqa: E501
    )

    told = usage(tmp_path, published)

    rest = Caller("005AA0000000001", "3MVG9kBt168mda_", "ECA", "REST", "sobjects", True)
    soap = Caller("005AA0000000001", None, None, "SOAP", "login", True)
    hour = DAY + timedelta(hours=18)
    assert calls(told) == {(hour, rest): 1, (hour, soap): 1}
    assert (told.unread, codes(told)) == (1, {"event-log-rows-malformed"})


def test_a_file_without_rows_tells_that_there_were_none(tmp_path: Path) -> None:
    """A header alone is an empty hour; no header at all is no log."""
    told = usage(tmp_path, text([]))
    assert (told.rows, told.parts, told.findings) == (0, (), ())

    with pytest.raises(UnreadableLogError, match="empty"):
        usage(tmp_path, "")
    with pytest.raises(UnreadableLogError, match="TIMESTAMP"):
        usage(tmp_path, "<html><body>Log in</body></html>")


def test_rows_of_another_org_are_left_out(tmp_path: Path) -> None:
    """An id of 18 characters is the same org."""
    rows = [row(ORGANIZATION_ID=f"{ORG}EAA"), row(ORGANIZATION_ID="00DBB0000000002", REQUEST_ID="b")]

    told = usage(tmp_path, text(rows))

    assert sum(part.calls for part in told.parts) == 1
    assert codes(told) == {"event-log-other-org"}


def test_rows_without_a_request_id_are_all_counted(tmp_path: Path) -> None:
    """Two calls of one client in one millisecond may look alike; the finding says that repeats cannot be told."""
    told = usage(tmp_path, text([row(REQUEST_ID="")] * 3))

    assert [(part.told_apart, part.nameless) for part in told.parts] == [(0, 3)]
    assert codes(told) == {"event-log-rows-nameless"}


def test_column_names_are_found_whatever_their_case_and_only_once(tmp_path: Path) -> None:
    """The first of two columns of one name is the one that counts."""
    content = text([row()], (*COLUMNS, "USER_ID")).replace("CLIENT_NAME", "client_name")

    told = usage(tmp_path, content)

    assert told.parts[0].caller.client == "nightly-elt"
    assert told.parts[0].caller.user == "005AA0000000001"


def test_names_for_people_come_along(tmp_path: Path) -> None:
    """They are no part of what tells callers apart."""
    told = usage(tmp_path, text([row(USER_NAME="etl@example.invalid", CONNECTED_APP_NAME="Nightly ELT")]))

    caller = told.parts[0].caller
    assert (caller.user_name, caller.app_name) == ("etl@example.invalid", "Nightly ELT")
    assert caller == Caller(
        *[getattr(caller, name) for name in ("user", "app", "client", "family", "resource", "counted")]
    )
