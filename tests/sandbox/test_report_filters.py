"""Filters of the usage report: its own and those that a run asks for; and what an org may refuse."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from airflow_provider_apiusage.sandbox import Caller, UsageRow, report_csv
from airflow_provider_apiusage.sandbox.http import ApiError
from airflow_provider_apiusage.sandbox.report_filters import filtered

REPORT = "analytics/reports/00OAA0000000001"
DAY = date(2026, 10, 7)
COLUMNS = ("DAY", "USER", "CLIENT", "CALLS")


def is_client(name: str, operator: str = "equals", column: str = "CLIENT") -> dict[str, str]:
    return {"column": column, "operator": operator, "value": name}


def clients_left(logic: str | None, *names: str) -> str:
    """Filter rows of the clients a, b, c, d by one condition on each name, combined by the logic."""
    rows = [UsageRow(DAY, "u", client, 1) for client in "abcd"]
    metadata = {"reportFilters": [is_client(name) for name in names], "reportBooleanFilter": logic}
    return "".join(row.client for row in filtered(rows, metadata, COLUMNS))


@pytest.mark.parametrize(
    ("logic", "left"),
    [
        (None, ""),
        ("1 OR 2 OR 3", "abc"),
        ("1 AND 2 OR 3", "c"),
        ("(1 or 2) and not 3", "ab"),
        ("NOT (1 OR 2 OR 3)", "d"),
        ("3 OR (1 AND NOT 2)", "ac"),
    ],
)
def test_logic_combines_filters_by_number(logic: str | None, left: str) -> None:
    """Without it all must hold; AND before OR; any case."""
    assert clients_left(logic, "a", "b", "c") == left


@pytest.mark.parametrize("logic", ["1", "1 OR 3", "1 OR", "(1 OR 2", "1 2", "1 XOR 2", "1 OR 2)", "1 & 2", "OR 1 2"])
def test_logic_that_is_not_understood_is_refused(logic: str) -> None:
    """Also where it leaves out a filter, or names one that is not there."""
    with pytest.raises(ApiError, match="400 BAD_REQUEST"):
        clients_left(logic, "a", "b")


def calls_by_client(body: Any) -> dict[str, int]:
    """What a tabular answer tells."""
    found: dict[str, int] = {}
    for row in body["factMap"]["T!T"]["rows"]:
        _, _, client, calls = (cell["value"] for cell in row["dataCells"])
        found[client] = found.get(client, 0) + calls
    return found


@pytest.fixture
def clients(client: Any) -> Any:
    """An org with three more clients, one call each and day, on two days."""
    for name in "abc":
        for back in range(2):
            caller = Caller(user="005SB0000000002", client=name, family="SOAP")
            client.org.ledger.record(client.org.now() - timedelta(days=back), caller)
    client.org.change({"report_shape": "TABULAR"})
    return client


def post(client: Any, metadata: Any) -> Any:
    return client.post(REPORT, {"reportMetadata": metadata}).json()


def test_a_report_has_filters_of_its_own(clients: Any) -> None:
    """They hold for a plain run, are told in its metadata, and are replaced by those that a run brings."""
    own = {
        "reportFilters": [is_client("a", column="APIU_CLIENT"), is_client("b", column="APIU_CLIENT")],
        "reportBooleanFilter": "1 OR 2",
    }
    clients.control("POST", "/config", {"report_saved_filters": own})
    plain = clients.get(REPORT, params={"includeDetails": "true"}).json()
    day = is_client("2026-10-07", column="APIU_DAY")
    filters = [*own["reportFilters"], day]
    of_day = post(clients, {"reportFilters": filters, "reportBooleanFilter": "(1 OR 2) AND 3"})

    assert calls_by_client(plain) == {"a": 2, "b": 2}
    assert {name: plain["reportMetadata"][name] for name in own} == own
    assert calls_by_client(of_day) == {"a": 1, "b": 1}
    assert post(clients, {"reportFilters": filters})[0]["errorCode"] == "BAD_REQUEST"  # the third is in no logic


def test_a_date_range_can_be_narrowed(clients: Any) -> None:
    """The report's own range is told, and a run may bring another."""
    clients.org.change({"report_date_range": True})
    plain = clients.get(REPORT, params={"includeDetails": "true"}).json()["reportMetadata"]["standardDateFilter"]
    narrow = {**plain, "durationValue": "CUSTOM", "startDate": "2026-10-06", "endDate": "2026-10-06"}

    assert (plain["column"], plain["durationValue"]) == ("APIU_DAY", "LAST_N_DAYS:7")
    assert sum(calls_by_client(post(clients, {"standardDateFilter": narrow})).values()) == 20_003


@pytest.mark.parametrize("path", [REPORT, REPORT + "/instances"])
def test_changed_filters_can_be_refused_or_ignored(clients: Any, path: str) -> None:
    """Refused with a 400; ignored without a word."""
    change = {"reportMetadata": {"reportFilters": [is_client("2026-10-06", column="APIU_DAY")]}}
    clients.org.change({"report_filters": "refused"})
    assert clients.post(path, change).status_code == 400
    assert clients.post(path, {}).status_code == 200
    clients.org.change({"report_filters": "ignored", "report_polls": 0})
    body = clients.post(path, change).json()
    if path != REPORT:
        body = clients.get(f"{path}/{body['id']}").json()

    assert body["factMap"]["T!T"]["aggregates"][0]["value"] == 35_006


@pytest.mark.parametrize(("sync", "status", "said"), [("timeout", 503, "too long"), ("limit", 403, "500 reports")])
def test_runs_at_once_can_be_refused(clients: Any, sync: str, status: int, said: str) -> None:
    """Those in the background go on; describing costs no run."""
    clients.org.change({"report_sync": sync})
    for answer in (clients.get(REPORT), clients.post(REPORT, {})):
        assert answer.status_code == status
        assert said in answer.json()[0]["message"]

    assert clients.post(REPORT + "/instances").json()["status"] == "New"
    assert clients.get(REPORT + "/describe").status_code == 200


def test_exports_come_in_the_users_locale() -> None:
    """Labels, days and numbers; unquoted where that was asked for."""
    rows = [UsageRow(DAY, "ada", "elt", 20_000)]

    def lines(locale: str) -> list[str]:
        text = report_csv(rows, locale=locale, delimiter=";", quoted=False, separate_thousands=True, footer=False)
        return text.decode().splitlines()

    assert lines("fr_FR") == ["Date;Utilisateur;ID client;Appels d’API", "07/10/2026;ada;elt;20\u202f000"]
    assert lines("sv_SE") == ["Datum;Användare;Klient-ID;API-anrop", "2026-10-07;ada;elt;20\u00a0000"]
    assert lines("nl_NL")[1] == "7-10-2026;ada;elt;20.000"
    assert lines("es_ES")[1] == lines("pt_BR")[1] == "07/10/2026;ada;elt;20.000"
