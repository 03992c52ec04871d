"""Faults to order, and the control port."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from airflow_provider_apiusage.sandbox import Fault, SandboxOrg, SandboxServer

NOW = "2026-10-07T14:30:00+00:00"


def test_a_status_can_be_ordered_for_a_number_of_requests(client: Any) -> None:
    """A 503 befalls two requests, is not counted, and has the org's date; then all is well."""
    number = client.control("POST", "/faults", {"kind": "status", "status": 503, "count": 2, "retry_after": 7})["id"]
    answers = [client.get("limits") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].json()[0]["errorCode"] == "SERVER_UNAVAILABLE"
    assert answers[0].headers["Date"] == "Wed, 07 Oct 2026 14:30:00 GMT"
    assert client.org.used == 25_001
    assert number == 1


def test_faults_choose_by_path_and_method_and_can_be_cleared(client: Any) -> None:
    """Only fitting requests are hit; orders are listed and taken back."""
    client.control("POST", "/faults", {"kind": "status", "status": 420, "path": "/query", "method": "GET"})
    client.control("POST", "/faults", {"kind": "status", "status": 500, "path": "/limits", "method": "POST"})
    statuses = [
        client.get("query", params={"q": "SELECT COUNT() FROM Account"}).status_code,
        client.get("limits").status_code,
    ]

    assert statuses == [420, 200]
    assert [fault["path"] for fault in client.control("GET", "/faults")["faults"]] == ["/query", "/limits"]
    assert client.control("DELETE", "/faults?id=1") == {"cleared": 1}
    assert client.control("DELETE", "/faults") == {"cleared": 1}
    assert client.get("query", params={"q": "SELECT COUNT() FROM Account"}).status_code == 200


@pytest.mark.parametrize(
    ("order", "status", "text"),
    [
        ({"kind": "html"}, 200, "<!DOCTYPE html>"),
        ({"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"}, 502, "<html>Bad Gateway</html>"),
        ({"kind": "status", "status": 500, "body": {"odd": 1}}, 500, '{"odd": 1}'),
        ({"kind": "status", "status": 500, "body": "plain"}, 500, "plain"),
        ({"kind": "concurrency"}, 403, "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
        ({"kind": "exhausted"}, 403, "TotalRequests Limit exceeded."),
        ({"kind": "unauthorized"}, 401, "INVALID_SESSION_ID"),
        ({"kind": "redirect", "location": "https://other.invalid/x"}, 302, ""),
    ],
)
def test_answers_can_be_replaced(client: Any, order: dict[str, Any], status: int, text: str) -> None:
    """Each kind of wrong answer comes as ordered, and the call is not counted."""
    client.control("POST", "/faults", order)
    answer = client.get("limits", allow_redirects=False)

    assert (answer.status_code, text in answer.text) == (status, True)
    assert answer.headers.get("Location") == order.get("location")
    assert client.org.used == 25_000


@pytest.mark.parametrize(("carried_out", "used"), [(False, 25_000), (True, 25_001)])
def test_a_connection_can_be_cut_before_or_after_the_work(client: Any, carried_out: bool, used: int) -> None:
    """A reset before the work leaves no trace; one after it has cost a call and saved the record."""
    client.control("POST", "/faults", {"kind": "reset", "carried_out": carried_out, "count": 1, "method": "POST"})
    with pytest.raises(requests.ConnectionError):
        client.post("sobjects/Account", {"Name": "Acme"})

    assert client.org.used == used
    assert len(client.org.records.rows("Account")) == used - 25_000


def test_a_body_can_be_cut_short(client: Any) -> None:
    """The length says more than is sent, so that a client sees an incomplete body."""
    client.control("POST", "/faults", {"kind": "truncate", "count": 1})

    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        client.get("limits")

    assert client.org.used == 25_001


def test_a_delay_adds_to_other_faults(client: Any) -> None:
    """A delayed request is answered as usual, or as another fault has it."""
    client.control("POST", "/faults", {"kind": "delay", "seconds": 0.01})
    assert client.get("limits").status_code == 200

    client.control("POST", "/faults", {"kind": "status", "status": 500, "count": 1})
    answer = client.get("limits")

    assert answer.status_code == 500
    assert client.control("GET", "/requests")["requests"][-1]["faults"] == ["delay", "status"]


def test_a_client_that_waits_too_little_times_out(client: Any) -> None:
    """A delay is real time, so that a client's own time-out strikes."""
    client.control("POST", "/faults", {"kind": "delay", "seconds": 5, "count": 1})

    with pytest.raises(requests.exceptions.ReadTimeout):
        client.get("limits", timeout=0.05)


@pytest.mark.parametrize(
    "order",
    [{}, {"kind": "odd"}, {"kind": "status", "status": 99}, {"kind": "status", "x": 1}, {"kind": "html", "count": 0}],
)
def test_orders_that_make_no_sense_are_refused(client: Any, order: dict[str, Any]) -> None:
    """A fault must be understood to be taken."""
    with pytest.raises(ValueError, match=r"fault|status"):
        Fault.of(order)
    if order:
        answer = requests.post(client.server.control_url + "/faults", json=order, timeout=30)
        assert (answer.status_code, "error" in answer.json()) == (400, True)


def test_the_truth_is_told(client: Any) -> None:
    """Usage, limits and requests by class; then days, hours and the expiry curve."""
    client.get("limits")
    client.get("nothing")
    truth = client.control("GET", "/truth")
    days = client.control("GET", "/truth/daily")["days"]
    hours = client.control("GET", "/truth/hourly")["hours"]
    expiry = client.control("GET", "/truth/expiry?hours=1")["expiry"]

    assert truth["now"] == NOW
    assert (truth["limit"], truth["hard_limit"], truth["rolling"], truth["reported"]) == (
        100_000,
        100_000,
        25_002,
        25_002,
    )
    assert truth["requests"] == {"limits": 1, "unknown": 1}
    assert {(row["day"], row["family"]): 0 for row in days}.keys() == {
        ("2026-10-06", "SOAP"), ("2026-10-07", "SOAP"), ("2026-10-07", "REST"),
    }  # fmt: skip
    assert sum(row["counted"] for row in hours) == 35_002
    assert expiry[0]["at"] == "2026-10-07T14:30:30+00:00"
    assert expiry[-1]["cumulative"] == sum(step["count"] for step in expiry)


def test_the_clock_takes_orders(client: Any) -> None:
    """Advance, set and speed; going back or anything unknown is refused."""
    assert client.control("GET", "/clock") == {"now": NOW, "speed": 0.0}
    assert client.control("POST", "/clock", {"advance_seconds": 90})["now"] == "2026-10-07T14:31:30+00:00"
    assert client.control("POST", "/clock", {"set": "2026-10-08T00:00:00+00:00"})["now"] == "2026-10-08T00:00:00+00:00"
    assert client.org.used == 15_000
    for order in ({"set": NOW}, {"back": 1}, {"advance_seconds": "x"}):
        assert requests.post(client.server.control_url + "/clock", json=order, timeout=30).status_code == 400
    assert client.control("POST", "/clock", {"speed": 2})["speed"] == 2.0


def test_traffic_can_be_added(client: Any) -> None:
    """Calls by user, app and family, now or at an instant, counted or not."""
    orders = [
        {"count": 5},
        {"count": 7, "at": "2026-10-07T10:00:00+00:00", "app": "Nightly ELT", "user": "support@sandbox-org.example"},
        {"count": 9, "counted": False},
        {"count": 11, "at": "2026-10-06T10:00:00+00:00"},
    ]
    added = [client.control("POST", "/traffic", order)["rolling"] for order in orders]

    assert added == [25_005, 25_012, 25_012, 25_012]
    for order in ({"user": "nobody"}, {"app": "none"}, {"colour": "red"}, {"count": -1}, ["not an object"]):
        assert requests.post(client.server.control_url + "/traffic", json=order, timeout=30).status_code == 400


def test_settings_can_be_read_and_changed(client: Any) -> None:
    """The configuration is told in full; wrong settings are refused and change nothing."""
    assert client.control("POST", "/config", {"limit": 30_000, "report_families": ["SOAP", "REST"]})["limit"] == 30_000
    refused = requests.post(client.server.control_url + "/config", json={"limit": "x"}, timeout=30)

    assert refused.status_code == 400
    assert client.control("GET", "/config")["limit"] == 30_000
    assert client.get("limits").headers["Sforce-Limit-Info"] == "api-usage=25001/30000"


def test_some_sessions_can_be_expired(client: Any) -> None:
    """Only the named tokens end."""
    other = client.server.connection("access_token")["extra"]["access_token"]

    assert client.control("POST", "/sessions/expire", {"tokens": [client.token]}) == {"expired": 1}
    assert client.get("limits").status_code == 401
    assert client.get("limits", headers={"Authorization": f"Bearer {other}"}).status_code == 200


def test_two_servers_cannot_share_a_port(server: SandboxServer) -> None:
    """A port that is taken is an error at start."""
    port = int(server.url.rpartition(":")[2])
    second = SandboxServer(SandboxOrg(start=datetime(2026, 10, 7, tzinfo=UTC)), port=port)

    with pytest.raises(OSError, match="address"):
        second.start()


def test_a_failure_of_the_org_itself_is_an_answer_too(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the org trip over a request, the client gets a 500 with the org's date."""

    def trip(_: Any) -> Any:
        raise RuntimeError("tripped")

    monkeypatch.setattr(client.org, "handle", trip)
    answer = client.get("limits")

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (500, "UNKNOWN_EXCEPTION")
    assert answer.headers["Date"] == "Wed, 07 Oct 2026 14:30:00 GMT"
