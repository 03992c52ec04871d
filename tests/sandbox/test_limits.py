"""Limits, the limit header, and what happens when the allocation is used up."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

HEADER = "Sforce-Limit-Info"


def test_the_versions_resource_is_free_and_open(client: Any) -> None:
    """Versions need no token, are not counted, and carry no limit header."""
    answer = requests.get(client.server.url + "/services/data/", verify=str(client.server.ca_file), timeout=30)

    assert answer.json()[-1] == {"label": "Version 67", "url": "/services/data/v67.0", "version": "67.0"}
    assert HEADER not in answer.headers
    assert client.org.used == 25_000


def test_every_call_counts_once_and_is_told_at_once(client: Any) -> None:
    """N calls raise used by N, in the header as in the body and in the truth."""
    seen = [client.get("limits").headers[HEADER] for _ in range(5)]

    assert seen == [f"api-usage={25_000 + number}/100000" for number in range(1, 6)]
    assert client.get("limits").json()["DailyApiRequests"]["Remaining"] == 100_000 - 25_006
    assert client.control("GET", "/truth")["rolling"] == 25_006


def test_limits_hold_pairs_and_children(client: Any) -> None:
    """Every limit has Max and Remaining; connected apps are nested with 0 of 0."""
    body = client.get("limits").json()

    assert all({"Max", "Remaining"} <= set(limit) for limit in body.values())
    assert body["DailyApiRequests"]["Nightly ELT"] == {"Max": 0, "Remaining": 0}
    assert body["PermissionSets"]["CreateCustom"] == {"Max": 1_000, "Remaining": 996}


@pytest.mark.parametrize(
    ("version", "present", "missing"),
    [
        (46, {"DailyBulkApiRequests"}, {"DailyBulkApiBatches", "DailyBulkV2QueryJobs"}),
        (48, {"DailyBulkApiRequests", "DailyBulkV2QueryJobs"}, {"DailyBulkApiBatches"}),
        (49, {"DailyBulkApiBatches", "DailyBulkV2QueryJobs"}, {"DailyBulkApiRequests"}),
    ],
)
def test_limits_are_named_by_version(client: Any, version: int, present: set[str], missing: set[str]) -> None:
    """The batch limit changed its name in version 49; Bulk 2.0 query limits came in 47."""
    names = set(client.get(f"/services/data/v{version}.0/limits").json())

    assert present <= names
    assert not missing & names


def test_limits_can_be_bent(client: Any) -> None:
    """A limit can be dropped, zeroed, made negative, or added."""
    client.control(
        "POST",
        "/config",
        {
            "limit_overrides": {
                "MassEmail": None,
                "DailyBulkApiBatches": {"Max": 0, "Remaining": 0},
                "MonthlyPlatformEventsUsageEntitlement": {"Max": 10, "Remaining": -5},
                "NobodyKnowsThisLimit": {"Max": 1, "Remaining": 1},
            }
        },
    )
    body = client.get("limits").json()

    assert "MassEmail" not in body
    assert body["DailyBulkApiBatches"]["Max"] == 0
    assert body["MonthlyPlatformEventsUsageEntitlement"]["Remaining"] == -5
    assert body["NobodyKnowsThisLimit"] == {"Max": 1, "Remaining": 1}


def test_limits_depend_on_permissions(client: Any) -> None:
    """Without Manage Users there is no storage; without View Setup there is a 403."""
    client.org.change({"limits_access": "no_storage"})
    assert "DataStorageMB" not in client.get("limits").json()

    client.org.change({"limits_access": "denied"})
    answer = client.get("limits")

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "INSUFFICIENT_ACCESS")


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("plain", "api-usage=25001/100000"),
        ("per_app", "api-usage=25001/100000; per-app-api-usage=1/250(appName=A; B (x)=y)"),
        ("api_bursts", "api-usage=25001/100000; api-bursts=0/750"),
        ("all", "api-usage=25001/100000; per-app-api-usage=1/250(appName=A; B (x)=y); api-bursts=0/750"),
        ("reordered", "api-bursts=0/750; api-usage=25001/100000"),
        ("empty", ""),
        ("garbage", "api-usage=x/100000"),
        ("absent", None),
    ],
)
def test_the_header_has_every_documented_form(client: Any, variant: str, expected: str | None) -> None:
    """Each form of the header can be had, and one of one's own."""
    client.control("POST", "/config", {"limit_header": variant})
    assert client.get("limits").headers.get(HEADER) == expected

    client.control("POST", "/config", {"limit_header_text": "x={used} of {limit}"})
    assert client.get("limits").headers[HEADER] == "x=25002 of 100000"


def test_the_header_can_be_missing_on_errors_and_bulk(client: Any) -> None:
    """Where the documentation is silent, the header can be switched."""
    assert HEADER in client.get("nothing").headers
    client.org.change(
        {"limit_header_on_errors": False, "limit_header_on_bulk_1": True, "limit_header_on_bulk_2": False}
    )
    job = {"object": "Account", "operation": "insert", "contentType": "JSON"}
    bulk_1 = client.post("/services/async/59.0/job", job, headers={"X-SFDC-Session": client.token})

    assert HEADER not in client.get("nothing").headers
    assert HEADER in bulk_1.headers
    assert HEADER not in client.post("jobs/ingest", {"object": "Account", "operation": "insert"}).headers


def test_beyond_the_hard_limit_calls_are_refused_and_not_counted(client: Any) -> None:
    """The last call is served, the next is a 403 as Salesforce sends it, and refusals do not count."""
    client.org.change({"limit": 25_002})
    assert [client.get("limits").status_code for _ in range(4)] == [200, 200, 403, 403]
    answer = client.get("query", params={"q": "SELECT Id FROM Account"})

    assert answer.status_code == 403
    assert answer.json() == [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]
    assert answer.headers[HEADER] == "api-usage=25002/25002"
    truth = client.control("GET", "/truth")
    assert (truth["rolling"], truth["refused"]) == (25_002, 3)


def test_a_soft_limit_can_be_overrun(client: Any) -> None:
    """Between limit and hard limit calls are served and used exceeds limit."""
    client.org.change({"limit": 25_000, "hard_limit": 25_001})
    served = client.get("limits")

    assert served.headers[HEADER] == "api-usage=25001/25000"
    assert served.json()["DailyApiRequests"]["Remaining"] == 0
    assert client.get("limits").status_code == 403
    client.org.change({"remaining_when_over": "negative", "limits_when_exhausted": "answered"})
    assert client.get("limits").json()["DailyApiRequests"]["Remaining"] == -1


def test_the_org_opens_again_as_calls_expire(client: Any) -> None:
    """A blocked org answers once the oldest calls have left the window, and tells the org's time."""
    client.org.change({"limit": 25_000})
    refused = client.get("limits")
    client.control("POST", "/clock", {"advance_seconds": 60})
    served = client.get("limits")

    assert (refused.status_code, served.status_code) == (403, 200)
    assert parsedate_to_datetime(served.headers["Date"]) - parsedate_to_datetime(refused.headers["Date"]) == timedelta(
        minutes=1
    )
    assert refused.headers["Date"] == "Wed, 07 Oct 2026 14:30:00 GMT"


def test_stale_figures_do_not_soften_the_limit(client: Any) -> None:
    """With stale figures the header lags, while refusal follows the true count."""
    client.org.change({"staleness_seconds": 300, "limit": 25_003})
    answers = [client.get("limits") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 403]
    assert {answer.headers[HEADER] for answer in answers} == {"api-usage=25000/25003"}


def test_a_wrong_token_is_no_call(client: Any) -> None:
    """Without a valid token there is a 401 that does not count; the same after tokens were expired."""
    wrong = client.get("limits", headers={"Authorization": "Bearer nonsense"})
    client.control("POST", "/sessions/expire")
    expired = client.get("limits")

    for answer in (wrong, expired):
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
        assert answer.headers["Date"].startswith("Wed, 07 Oct 2026")
    assert client.org.used == 25_000


def test_retired_and_future_versions_are_refused(client: Any) -> None:
    """Versions 7 to 30 are gone, those to come do not exist."""
    assert client.get("/services/data/v30.0/limits").json()[0]["errorCode"] == "GONE"
    assert client.get("/services/data/v99.0/limits").status_code == 404
