"""``ApiTotalUsageEventLog`` by query: rows, groups, and what Salesforce refuses."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apiusage.sandbox.ledger import Caller, UsageLedger
from airflow_provider_apiusage.sandbox.soql import parse

AT = datetime(2026, 10, 7, 12, 10, tzinfo=UTC)
HOUR = "Timestamp >= 2026-10-07T12:00:00Z AND Timestamp < 2026-10-07T13:00:00Z"
ELT = Caller("005SB0000000002", "0H4SB0000000002", "elt", "REST", "/v67.0/query", "GET", "Account")
DESK = Caller("005SB0000000005", "", "", "SOAP", "login", counted=False)
OBJECT = "FROM ApiTotalUsageEventLog"


@pytest.fixture
def org(client: Any) -> Any:
    """An org with seven logged calls in the hour from 12:00, and others before it."""
    client.org.ledger = UsageLedger()
    client.org.add_calls(4, AT, ELT)
    client.org.add_calls(2, AT + timedelta(minutes=10), DESK)
    client.org.add_calls(1, AT + timedelta(minutes=20), ELT._replace(client=""))
    client.org.add_calls(9, AT - timedelta(hours=1), ELT)
    client.org.add_calls(9, AT, ELT._replace(logged=False))
    return client.org


def ask(client: Any, text: str, version: int = 64) -> Any:
    return client.get(f"/services/data/v{version}.0/query", params={"q": text})


def records(client: Any, text: str) -> list[tuple[Any, ...]]:
    answer = ask(client, text)
    assert answer.status_code == 200, answer.text
    return [tuple(value for key, value in row.items() if key != "attributes") for row in answer.json()["records"]]


def refusal(client: Any, text: str, version: int = 64) -> tuple[int, str, str]:
    answer = ask(client, text, version)
    return answer.status_code, answer.json()[0]["errorCode"], answer.json()[0]["message"]


def test_a_row_is_a_call(client: Any, org: Any) -> None:
    """One row for each logged call of the period; blank is null, and app ids have 18 characters."""
    fields = "Timestamp, UserIdentifier, ConnectedAppIdentifier, ClientName, HttpMethod, IsApiLimitCounted, StatusCode"
    rows = records(client, f"SELECT {fields} {OBJECT} WHERE {HOUR} ORDER BY Timestamp")

    assert len(rows) == 7
    assert rows[1] == (
        "2026-10-07T12:10:00.250+0000", "005SB0000000002", "0H4SB00000000020AA", "elt", "GET", True, 200,
    )  # fmt: skip
    assert rows[4] == ("2026-10-07T12:20:00.000+0000", "005SB0000000005", None, None, None, False, 200)
    assert ask(client, f"SELECT COUNT() {OBJECT} WHERE {HOUR}").json()["totalSize"] == 7
    assert len(set(records(client, f"SELECT RequestIdentifier {OBJECT} WHERE {HOUR}"))) == 7


def test_rows_can_be_filtered_to_the_millisecond(client: Any, org: Any) -> None:
    """Bounds of time are exact, together with other conditions, and if one of several is enough."""
    since = f"{HOUR} AND Timestamp > 2026-10-07T12:10:00.250Z ORDER BY Timestamp"
    told = records(client, f"SELECT Timestamp {OBJECT} WHERE {since}")
    assert [row[0][14:23] for row in told] == ["10:00.500", "10:00.750", "20:00.000", "20:00.500", "30:00.000"]
    assert len(records(client, f"SELECT Timestamp {OBJECT} WHERE {HOUR} AND IsApiLimitCounted = false")) == 2
    until = f"{HOUR} AND Timestamp <= 2026-10-07T12:10:00.250Z"
    assert len(records(client, f"SELECT Timestamp {OBJECT} WHERE {until}")) == 2
    one_or_other = "Timestamp < 2026-10-07T12:00:00Z OR Timestamp > 2026-10-07T12:25:00Z"
    assert len(records(client, f"SELECT Timestamp {OBJECT} WHERE {one_or_other}")) == 10
    assert len(records(client, f"SELECT Timestamp {OBJECT} WHERE NOT Timestamp >= 2026-10-07T12:00:00Z")) == 9


def test_groups_are_what_the_org_counted(client: Any, org: Any) -> None:
    """By caller, under an alias; ``COUNT(field)`` leaves nulls out, ``COUNT(Id)`` does not."""
    columns = "UserIdentifier u, ClientName, COUNT(Id) calls, COUNT(ClientName)"
    rows = records(
        client, f"SELECT {columns} {OBJECT} WHERE {HOUR} GROUP BY UserIdentifier, ClientName ORDER BY ClientName"
    )

    assert sorted(rows, key=str) == [
        ("005SB0000000002", "elt", 4, 4),
        ("005SB0000000002", None, 1, 0),
        ("005SB0000000005", None, 2, 0),
    ]
    assert [row[1] for row in rows] == [None, None, "elt"]
    record = ask(client, f"SELECT {columns} {OBJECT} GROUP BY UserIdentifier, ClientName LIMIT 1").json()["records"][0]
    assert list(record) == ["attributes", "u", "ClientName", "calls", "expr1"]
    assert record["attributes"] == {"type": "AggregateResult"}


def test_without_groups_all_rows_are_one(client: Any, org: Any) -> None:
    """``COUNT(field)`` alone gives one record, also of nothing; grouped, nothing gives none."""
    assert records(client, f"SELECT COUNT(Id), COUNT(ClientName) named {OBJECT} WHERE {HOUR}") == [(7, 4)]
    nothing = "WHERE Timestamp > 2026-10-07T14:00:00Z"
    assert records(client, f"SELECT COUNT(Id) {OBJECT} {nothing}") == [(0,)]
    assert records(client, f"SELECT ApiFamily, COUNT(Id) {OBJECT} {nothing} GROUP BY ApiFamily") == []


def test_loaded_records_can_be_grouped(client: Any) -> None:
    """Groups are a matter of queries, not of one object."""
    for name in ("a", "b", "a"):
        client.post("sobjects/Account", {"Name": name})

    assert records(client, "SELECT Name, COUNT(Id) n FROM Account GROUP BY Name ORDER BY n DESC") == [
        ("a", 2),
        ("b", 1),
    ]
    assert records(client, "SELECT COUNT(Id) FROM Account WHERE Name = 'a'") == [(2,)]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (f"SELECT COUNT(Id) {OBJECT} GROUP BY Timestamp", "MALFORMED_QUERY", "field 'Timestamp' can not be grouped"),
        (f"SELECT ClientIp, COUNT(Id) {OBJECT}", "MALFORMED_QUERY", "must be grouped or aggregated: ClientIp"),
        (f"SELECT ApiFamily {OBJECT} GROUP BY ClientIp", "MALFORMED_QUERY", "must be grouped or aggregated: ApiFamily"),
        (f"SELECT COUNT(Id) {OBJECT} GROUP BY ClientIp ORDER BY Timestamp", "MALFORMED_QUERY", "aggregated: Timestamp"),
        (f"SELECT COUNT(IsApiLimitCounted) {OBJECT}", "MALFORMED_QUERY", "IsApiLimitCounted does not support"),
        (f"SELECT COUNT() {OBJECT} GROUP BY ClientIp", "MALFORMED_QUERY", "COUNT()"),
        (f"SELECT ClientIp address {OBJECT}", "MALFORMED_QUERY", "address"),
        (f"SELECT COUNT(Id) {OBJECT} GROUP ClientIp", "MALFORMED_QUERY", "ClientIp"),
        (f"SELECT COUNT(Id {OBJECT}", "MALFORMED_QUERY", "FROM"),
        (f"SELECT CpuTime {OBJECT}", "INVALID_FIELD", "No such column 'CpuTime'"),
        (f"SELECT Id {OBJECT} WHERE CpuTime > 1", "INVALID_FIELD", "No such column 'CpuTime'"),
        (f"SELECT COUNT(CpuTime) {OBJECT}", "INVALID_FIELD", "No such column 'CpuTime'"),
        (f"SELECT Id {OBJECT} ORDER BY CpuTime", "INVALID_FIELD", "No such column 'CpuTime'"),
    ],
)
def test_what_cannot_be_asked_is_refused(client: Any, text: str, code: str, message: str) -> None:
    """With the code that Salesforce gives, and a message that names the field."""
    status, told, why = refusal(client, text)
    assert (status, told) == (400, code)
    assert message in why


def test_an_org_may_have_rows_without_groups_or_nothing(client: Any, org: Any) -> None:
    """By setting, and below API version 61.0 always nothing."""
    grouped, rows = f"SELECT ApiFamily, COUNT(Id) {OBJECT} GROUP BY ApiFamily", f"SELECT ApiFamily {OBJECT}"
    assert refusal(client, grouped, 60)[:2] == refusal(client, rows, 60)[:2] == (400, "INVALID_TYPE")
    assert ask(client, grouped, 61).status_code == 200

    client.control("POST", "/config", {"event_log_object": "rows"})
    assert refusal(client, grouped) == (400, "MALFORMED_QUERY", "field 'ApiFamily' can not be grouped in a query call")
    assert refusal(client, f"SELECT COUNT(Id) {OBJECT}")[1] == "MALFORMED_QUERY"
    assert ask(client, f"SELECT COUNT() {OBJECT} WHERE {HOUR}").json()["totalSize"] == 7
    assert len(records(client, f"{rows} WHERE {HOUR}")) == 7

    client.control("POST", "/config", {"event_log_object": "absent"})
    assert refusal(client, rows)[:2] == (400, "INVALID_TYPE")


def test_rows_come_late_and_go(client: Any, org: Any) -> None:
    """After the lag, and for the days that are set."""
    count = f"SELECT COUNT() {OBJECT} WHERE {HOUR}"
    org.change({"event_log_object_lag_minutes": 125})
    assert ask(client, count).json()["totalSize"] == 6
    org.clock.advance(timedelta(minutes=5))
    assert ask(client, count).json()["totalSize"] == 7
    org.clock.advance(timedelta(days=2))
    assert ask(client, count).json()["totalSize"] == 7
    org.change({"event_log_object_days": 2})
    assert ask(client, count).json()["totalSize"] == 0


def test_rows_come_in_pages(client: Any, org: Any) -> None:
    """As of any object: every row once, the last page done."""
    org.change({"query_page_size": 3})
    page = ask(client, f"SELECT Timestamp {OBJECT} WHERE {HOUR} ORDER BY Timestamp").json()
    sizes, times = [], []
    while True:
        assert page["totalSize"] == 7
        sizes.append(len(page["records"]))
        times += [row["Timestamp"] for row in page["records"]]
        if page["done"]:
            break
        page = client.get(page["nextRecordsUrl"]).json()

    assert sizes == [3, 3, 1]
    assert times == sorted(times)


@pytest.mark.parametrize("overflow", ["refused", "paged", "cut"])
def test_there_are_no_more_than_2000_groups(client: Any, org: Any, overflow: str) -> None:
    """The query is refused as Salesforce does, unless the setting says that the next page is, or nothing."""
    org.change({"aggregate_overflow": overflow})
    for number in range(2_001):
        org.add_calls(1, AT, ELT._replace(client=f"client-{number}"))
    text = f"SELECT ClientName, COUNT(Id) {OBJECT} WHERE {HOUR} AND ClientName LIKE 'client-%' GROUP BY ClientName"

    if overflow == "refused":
        assert refusal(client, text)[:2] == (400, "EXCEEDED_ID_LIMIT")
        assert len(records(client, f"{text} LIMIT 2000")) == 2_000
        return
    page = ask(client, text).json()
    assert (len(page["records"]), page["done"]) == (2_000, overflow == "cut")
    if overflow == "paged":
        refused = client.get(page["nextRecordsUrl"])
        assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")


def test_bulk_queries_have_no_groups(client: Any, org: Any) -> None:
    """Rows can be read in bulk, groups cannot."""
    grouped = client.post("jobs/query", {"operation": "query", "query": f"SELECT COUNT(Id) {OBJECT}"})
    assert (grouped.status_code, grouped.json()[0]["errorCode"]) == (400, "API_ERROR")

    rows = client.post("jobs/query", {"operation": "query", "query": f"SELECT ApiFamily {OBJECT} WHERE {HOUR}"})
    told = client.get(f"jobs/query/{rows.json()['id']}/results").text.splitlines()
    assert Counter(told[1:]) == {'"REST"': 5, '"SOAP"': 2}


@pytest.mark.parametrize(
    ("where", "low", "high"),
    [
        ("", None, None),
        ("WHERE T >= 2026-10-07T12:00:00Z AND t < 2026-10-07T13:00:00Z", 12, 13),
        ("WHERE T > 2026-10-07T11:00:00Z AND (T >= 2026-10-07T12:00:00Z AND A = 1)", 12, None),
        ("WHERE T = 2026-10-07T12:00:00Z", 12, 12),
        ("WHERE T != 2026-10-07T12:00:00Z", None, None),
        ("WHERE T >= 2026-10-07T12:00:00Z OR A = 1", None, None),
        ("WHERE NOT T >= 2026-10-07T12:00:00Z", None, None),
    ],
)
def test_bounds_are_those_every_row_must_keep(where: str, low: int | None, high: int | None) -> None:
    """Comparisons that are denied or have an alternative bound nothing."""
    bounds = parse(f"SELECT A FROM Account {where}", AT).between("T")

    assert tuple(bound and bound.hour for bound in bounds) == (low, high)
