"""The usage report and event log files, as the org's calls make them."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_provider_apiusage.sandbox import Caller, SandboxOrg, UsageRow, report_csv
from airflow_provider_apiusage.sandbox import event_log as log_files
from airflow_provider_apiusage.sandbox.http import Call, Request

REPORT = "analytics/reports/00OAA0000000001"
DAYS = {"2026-10-06": 20_000, "2026-10-07": 15_000}


def details(body: Any) -> list[dict[str, Any]]:
    """Return the detail rows of a report, each with the day it is grouped under."""
    names = body["reportMetadata"]["detailColumns"]
    found = []
    for key, fact in body["factMap"].items():
        down = key.partition("!")[0]
        for row in fact.get("rows", []):
            cells = dict(zip(names, (cell["value"] for cell in row["dataCells"]), strict=True))
            if down != "T":
                cells["APIU_DAY"] = body["groupingsDown"]["groupings"][int(down)]["value"]
            found.append(cells)
    return found


@pytest.mark.parametrize("shape", ["TABULAR", "SUMMARY", "MATRIX"])
def test_every_shape_tells_the_same_days(client: Any, shape: str) -> None:
    """Detail rows add up to the days of the worked example, whatever the format."""
    client.control("POST", "/config", {"report_shape": shape})
    body = client.get(REPORT, params={"includeDetails": "true"}).json()
    days: dict[str, int] = {}
    for row in details(body):
        days[row["APIU_DAY"]] = days.get(row["APIU_DAY"], 0) + row["APIU_CALLS"]

    assert days == DAYS
    assert body["reportMetadata"]["reportFormat"] == shape
    assert body["allData"] is body["hasDetailRows"] is True
    assert body["factMap"]["T!T"]["aggregates"][0]["value"] == 35_000


def test_a_summary_can_be_read_without_details(client: Any) -> None:
    """Grouping values lead to the fact map's totals by day."""
    body = client.get(REPORT).json()
    groups = body["groupingsDown"]["groupings"]

    totals = {group["value"]: body["factMap"][f"{group['key']}!T"]["aggregates"][0]["value"] for group in groups}
    assert totals == DAYS
    assert not any("rows" in fact for fact in body["factMap"].values())


def test_a_matrix_has_totals_on_both_sides(client: Any) -> None:
    """Each cell, each row and each column has its total."""
    client.org.change({"report_shape": "MATRIX"})
    facts = client.get(REPORT).json()["factMap"]

    assert {"0!0", "0!1", "1!0", "1!1", "0!T", "1!T", "T!0", "T!1", "T!T"} == set(facts)
    assert facts["T!0"]["aggregates"][0]["value"] == 17_500


def test_labels_are_the_users_and_values_are_not(client: Any) -> None:
    """German labels and dates; ISO dates and plain numbers as values; counts may be doubles."""
    client.org.change({"report_locale": "de_DE", "report_shape": "TABULAR", "report_count_type": "double"})
    body = client.get(REPORT, params={"includeDetails": "true"}).json()
    cells = body["factMap"]["T!T"]["rows"][0]["dataCells"]

    assert cells[0] == {"label": "06.10.2026", "value": "2026-10-06"}
    assert cells[3] == {"label": "10.000", "value": 10_000.0}
    assert body["reportExtendedMetadata"]["detailColumnInfo"]["APIU_DAY"] == {"label": "Datum", "dataType": "date"}


def test_only_soap_is_in_it_unless_asked(client: Any) -> None:
    """REST calls are left out by default, and are in it once all families are."""
    client.control("POST", "/traffic", {"count": 7, "family": "REST", "user": "analyst@sandbox-org.example"})
    assert client.get(REPORT).json()["factMap"]["T!T"]["aggregates"][0]["value"] == 35_000

    client.control("POST", "/config", {"report_families": []})

    assert client.get(REPORT).json()["factMap"]["T!T"]["aggregates"][0]["value"] == 35_000 + 7 + 2


def test_too_many_rows_are_cut_and_said_to_be(client: Any) -> None:
    """Beyond the row cap allData is false and the rest is missing."""
    client.org.change({"report_row_cap": 3, "report_shape": "TABULAR"})
    body = client.get(REPORT, params={"includeDetails": "true"}).json()

    assert body["allData"] is False
    assert len(details(body)) == 3


def test_filters_can_be_posted(client: Any) -> None:
    """A posted filter on day or user is applied; one on an unknown column is refused."""

    def post(column: str, operator: str, value: str) -> Any:
        filters = [{"column": column, "operator": operator, "value": value}]
        return client.post(REPORT, {"reportMetadata": {"reportFilters": filters}}).json()

    assert {row["APIU_DAY"] for row in details(post("APIU_DAY", "greaterThan", "2026-10-06"))} == {"2026-10-07"}
    assert {row["APIU_USER"] for row in details(post("APIU_USER", "equals", "analyst@sandbox-org.example"))} == {
        "analyst@sandbox-org.example"
    }
    assert post("OTHER", "equals", "1")[0]["errorCode"] == "BAD_REQUEST"


def test_a_report_can_run_in_the_background(client: Any) -> None:
    """An asynchronous run is new, then running, then there."""
    started = client.post(REPORT + "/instances").json()
    path = f"{REPORT}/instances/{started['id']}"
    running, done = client.get(path).json(), client.get(path).json()

    assert started["status"] == "New"
    assert (running["attributes"]["status"], "factMap" in running) == ("Running", False)
    assert done["attributes"]["status"] == "Success"
    assert done["factMap"]["T!T"]["aggregates"][0]["value"] == 35_000
    assert [each["id"] for each in client.get(REPORT + "/instances").json()] == [started["id"]]
    assert client.get("limits").json()["HourlyAsyncReportRuns"] == {"Max": 1_200, "Remaining": 1_199}


def test_a_report_may_be_missing_or_forbidden(client: Any) -> None:
    """Another id is not found; without permission there is a 403; describe and the empty list work."""
    assert client.get("analytics/reports/00OAA0000000009").json()[0]["errorCode"] == "NOT_FOUND"
    assert set(client.get(REPORT + "/describe").json()) == {"attributes", "reportMetadata", "reportExtendedMetadata"}
    assert client.get("analytics/reports").json() == []
    client.org.change({"report_access": "denied"})
    assert client.get(REPORT).json()[0]["errorCode"] == "INSUFFICIENT_ACCESS"


def export(client: Any, sid: str) -> requests.Response:
    """Fetch the CSV export as a browser would."""
    return requests.get(
        client.server.url + "/00OAA0000000001",
        params={"isdtp": "p1", "export": "1", "enc": "UTF-8", "xf": "csv"},
        cookies={"sid": sid},
        verify=str(client.server.ca_file),
        timeout=30,
    )


def test_the_export_is_csv_with_a_footer(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header, the rows and five footer lines, for a session that may see pages; else a log-in page with 200."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(client.server.ca_file))
    answer = export(client, client.token)
    lines = [line for line in answer.text.splitlines() if line]

    assert answer.headers["Content-Type"].startswith("text/csv")
    assert lines[1] == '"10/6/2026","analyst@sandbox-org.example","spreadsheet","10000"'
    assert lines[-1] == '"Sandbox Org"'
    assert len(lines) == 1 + 4 + 5
    for page in (
        export(client, "wrong"),
        client.org.change({"report_export": "login_page"}) and export(client, client.token),
    ):
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=UTF-8")


def test_csv_text_can_be_made_for_tests() -> None:
    """Locale, delimiter, encoding, thousands, duplicates and footer are all to be had."""
    rows = [UsageRow(date(2026, 10, 6), "jörg@example.org", "ELT", 20_000)]
    text = report_csv(
        rows, locale="de_DE", delimiter=";", encoding="cp1252", separate_thousands=True, duplicates=1, footer=False
    ).decode("cp1252")

    assert text.splitlines() == [
        '"Datum";"Benutzer";"Client-ID";"API-Aufrufe"',
        '"06.10.2026";"jörg@example.org";"ELT";"20.000"',
        '"06.10.2026";"jörg@example.org";"ELT";"20.000"',
    ]


# Event log files


@pytest.fixture
def logged(client: Any) -> Any:
    """An org with 1,000 calls between 11 and 12 o'clock on Wednesday, apart from the worked example."""
    client.control(
        "POST", "/traffic", {"count": 900, "at": "2026-10-07T11:10:00+00:00", "family": "REST", "client": 'say "hi"'}
    )
    client.control(
        "POST", "/traffic", {"count": 100, "at": "2026-10-07T11:50:00+00:00", "family": "SOAP", "counted": False}
    )
    return client


def files(client: Any, where: str) -> Any:
    fields = "Id, EventType, Interval, Sequence, LogDate, CreatedDate, LogFileLength, LogFile, LogFileFieldNames"
    text = f"SELECT {fields} FROM EventLogFile WHERE EventType = 'ApiTotalUsage' AND {where} ORDER BY CreatedDate"
    return client.query(text)["records"]


def blob(client: Any, file: Any) -> list[dict[str, str]]:
    answer = client.get(file["LogFile"])
    assert len(answer.content) == file["LogFileLength"]
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_hourly_files_are_late_and_come_in_two(logged: Any) -> None:
    """Two hours after the hour the first file, an hour later the rest; together they hold every call once."""
    eleven = "Interval = 'Hourly' AND LogDate = 2026-10-07T11:00:00Z"
    assert [file["Sequence"] for file in files(logged, eleven)] == [1]
    first = files(logged, eleven)[0]
    logged.control("POST", "/clock", {"advance_seconds": 3_600})
    both = files(logged, eleven)
    rows = [row for file in both for row in blob(logged, file)]
    hour = sum(
        period.count for period in logged.org.ledger.hourly() if period.start == datetime(2026, 10, 7, 11, tzinfo=UTC)
    )

    assert first["CreatedDate"] == "2026-10-07T14:00:40.000+0000"
    assert first["LogFileFieldNames"].split(",")[:2] == ["EVENT_TYPE", "TIMESTAMP"]
    assert [file["Sequence"] for file in both] == [1, 2]
    assert len(rows) == hour
    assert len({row["REQUEST_ID"] for row in rows}) == hour
    assert sum(row["COUNTS_AGAINST_API_LIMIT"] == "0" for row in rows) == 100
    assert {row["CLIENT_NAME"] for row in rows} >= {'say "hi"', "erp-sync"}
    assert all(row["TIMESTAMP"].startswith("2026100711") for row in rows)


def test_a_day_file_has_the_whole_day_once_it_is_over(logged: Any) -> None:
    """The file of Tuesday is there on Wednesday and holds 20,000 calls; Wednesday's is not there yet."""
    tuesday = files(logged, "Interval = 'Daily'")

    assert [(file["LogDate"], file["Sequence"]) for file in tuesday] == [("2026-10-06T00:00:00.000+0000", 0)]
    assert len(blob(logged, tuesday[0])) == 20_000


def test_a_fuller_day_file_replaces_the_first(logged: Any) -> None:
    """With a first share below one, a second file with a newer date takes the first one's place."""
    logged.org.change({"event_log_daily_first_share": 0.9, "event_log_daily_replaced_hours": 20})
    first = files(logged, "Interval = 'Daily'")
    few = len(blob(logged, first[0]))
    logged.control("POST", "/clock", {"advance_seconds": 6 * 3_600})
    second = files(logged, "Interval = 'Daily'")

    assert (few, len(blob(logged, second[0]))) == (18_000, 20_000)
    assert len(first) == len(second) == 1
    assert first[0]["Id"] != second[0]["Id"]
    assert logged.get(first[0]["LogFile"]).status_code == 404


def test_log_files_are_sent_compressed_if_wanted(logged: Any) -> None:
    """With Accept-Encoding gzip the file is compressed, else it is plain."""
    file = files(logged, "Interval = 'Daily'")[0]
    raw = logged.get(file["LogFile"], headers={"Accept-Encoding": "gzip"}, stream=True)
    plain = logged.get(file["LogFile"], headers={"Accept-Encoding": "identity"})

    assert raw.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw.raw.read(decode_content=False)) == plain.content
    assert plain.headers["Content-Type"] == "application/octet-stream"


def test_log_files_vanish_and_can_be_forbidden(logged: Any) -> None:
    """After the retention there are none; without permission the object does not exist."""
    logged.control("POST", "/clock", {"advance_seconds": 5 * 86_400})
    assert files(logged, "Interval = 'Daily'") == []

    logged.org.change({"event_log_access": False})
    answer = logged.get("query", params={"q": "SELECT Id FROM EventLogFile"})

    assert answer.json()[0]["errorCode"] == "INVALID_TYPE"


def test_columns_are_bound_to_the_documented_order(logged: Any) -> None:
    """The header of a log file is the documented one, and flags may be true and false."""
    logged.org.change({"event_log_counted_style": "true/false", "event_log_hourly_first_share": 1.0})
    file = files(logged, "Interval = 'Hourly' AND LogDate = 2026-10-07T11:00:00Z")[0]
    rows = blob(logged, file)

    assert ",".join(rows[0]) == file["LogFileFieldNames"] == ",".join(log_files.COLUMNS)
    assert {row["COUNTS_AGAINST_API_LIMIT"] for row in rows} == {"true", "false"}


def test_a_million_calls_a_day_are_listed_quickly() -> None:
    """Listing a week of log files works from counts, without writing the rows."""
    org = SandboxOrg(
        start=datetime(2026, 10, 7, 14, 30, tzinfo=UTC), calls_per_day=1_000_000, limit=5_000_000,
        event_log_retention_days=30,
    )  # fmt: skip
    session = org.sessions.open(org.identity.client_user)
    call = Call(Request("GET", "/"), session, 64)
    rows = log_files.file_rows(org, call)

    daily = [row for row in rows if row["Interval"] == "Daily"]
    assert len(daily) == 8
    assert daily[-1]["LogFileLength"] > 150_000_000


def test_calls_of_the_future_cannot_be_added(client: Any) -> None:
    """Added traffic lies in the past or present."""
    with pytest.raises(ValueError, match="future"):
        client.org.add_calls(1, client.org.now() + timedelta(seconds=1), Caller("x"))
