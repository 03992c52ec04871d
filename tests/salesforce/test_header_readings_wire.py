"""What an exchange over HTTPS tells a listener about a refusal, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_apiusage.salesforce.errors import Where
from airflow_provider_apiusage.salesforce.metering import Exchange
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.sandbox import Fault, SandboxServer


@pytest.fixture
def get(sandbox: SandboxServer) -> Callable[..., tuple[requests.Response, Exchange]]:
    """Asks the sandbox org something; returns the answer, and what was heard of it."""
    heard: list[Exchange] = []
    session = MeteredSession(Where("sf_test"), listener=heard.append, retries=0)
    token = sandbox.connection("access_token")["extra"]["access_token"]

    def ask(path: str = "/services/data/v62.0/sobjects", **options: Any) -> tuple[requests.Response, Exchange]:
        headers = {"Authorization": f"Bearer {token}"}
        return session.get(f"{sandbox.url}{path}", headers=headers, **options), heard[-1]

    return ask


def test_a_refusal_is_told_by_its_body(
    get: Callable[..., tuple[requests.Response, Exchange]], sandbox: SandboxServer
) -> None:
    """The same code stands for too many calls at once; only the message of a used-up allowance is one."""
    sandbox.org.faults.order(Fault("exhausted", count=1))
    response, heard = get()
    assert (heard.status, heard.exhausted, heard.org_id) == (403, True, sandbox.org.identity.org_id)
    assert response.json()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"

    sandbox.org.faults.order(Fault("concurrency", count=1))
    assert not get()[1].exhausted
    sandbox.org.faults.order(Fault("status", status=403, body=[{"errorCode": "ExceededQuota", "message": "x"}]))
    assert not get()[1].exhausted


@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_refusal_in_another_form(
    get: Callable[..., tuple[requests.Response, Exchange]], sandbox: SandboxServer, status: int
) -> None:
    """Bulk 1.0 answers with an object or XML, and with a status that the documentation leaves open."""
    xml = "<error><exceptionCode>REQUEST_LIMIT_EXCEEDED</exceptionCode><exceptionMessage>TotalRequests Limit exceeded."
    json = {"exceptionCode": "REQUEST_LIMIT_EXCEEDED", "exceptionMessage": "TotalRequests Limit exceeded."}
    for body in (f"{xml}</exceptionMessage></error>", json):
        sandbox.org.faults.order(Fault("status", status=status, body=body, count=1))
        assert get()[1].exhausted


def test_a_streamed_body_is_left_alone(
    get: Callable[..., tuple[requests.Response, Exchange]], sandbox: SandboxServer
) -> None:
    """Whoever streams an answer gets every byte of it, of a refusal too."""
    sandbox.org.faults.order(Fault("exhausted", count=1))
    response, heard = get(stream=True)

    assert not heard.exhausted
    assert b"TotalRequests" in response.raw.read()
