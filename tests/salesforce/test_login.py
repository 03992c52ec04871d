"""Logging in while the login host is down, answers nonsense, or refuses: three things, told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_apiusage.salesforce.credentials import credentials_from
from airflow_provider_apiusage.salesforce.errors import (
    ApiUsageError,
    AuthenticationError,
    ConfigurationError,
    UnavailableError,
    Where,
)
from airflow_provider_apiusage.salesforce.login import log_in
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.sandbox import Fault, SandboxServer

WHERE = Where("sf_test", "sandbox org")
FLOWS = ["client_credentials", "jwt", "refresh_token", "password_soap", "password_ip", "password_oauth"]
PAGE = "<html><body>Down for maintenance" + " and more" * 2_000 + "</body></html>"


class Door:
    """The sandbox org's logins, and how long we paused between tries.

    :param pauses: seconds between repeats.
    """

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.pauses: list[float] = []
        self.session = MeteredSession(WHERE, sleep=self.pauses.append)

    def answers(self, **fault: Any) -> None:
        """Let every login meet a fault."""
        self.server.org.faults.clear()
        for path in ("/oauth2/token", "/Soap/"):
            self.server.org.faults.order(Fault(**{"kind": "status", "path": path, **fault}))

    def log_in(self, flow: str, **changes: Any) -> ApiUsageError | str:
        """Return what comes of a login: the token, or the error."""
        connection = self.server.connection(flow)
        credentials = credentials_from(
            login=connection.get("login"),
            password=changes.pop("password", connection.get("password")),
            extras={**connection["extra"], **changes},
            where=WHERE,
        )
        self.session.proxies = dict(credentials.proxies or {})
        outcome: ApiUsageError | str
        try:
            outcome = log_in(credentials, self.session, WHERE).token
        except ApiUsageError as failed:
            outcome = failed
        told = str(outcome) if isinstance(outcome, ApiUsageError) else ""
        assert not [secret for secret in credentials.secrets if secret in told]
        return outcome

    def logins(self) -> int:
        """Return how many logins the org has seen."""
        seen = requests.get(f"{self.server.control_url}/requests", timeout=10).json()
        return sum("/oauth2/token" in each["path"] or "/Soap/" in each["path"] for each in seen["requests"])


@pytest.fixture
def door(sandbox: SandboxServer) -> Iterator[Door]:
    """The way into the sandbox org."""
    door = Door(sandbox)
    yield door
    door.session.close()


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 503, "body": PAGE},
        {"status": 500, "body": [{"errorCode": "SERVER_UNAVAILABLE", "message": "down"}]},
        {"status": 502, "body": {"error": "bad_gateway"}},
        {"status": 420, "body": ""},
        {"status": 429, "body": {"error": "too_many"}},
        {"status": 400, "body": [{"errorCode": "X", "message": "y"}]},
        {"status": 400, "body": {"error": "server_error", "error_description": "try again"}},
        {"status": 400, "body": {"error": "temporarily_unavailable"}},
        {"status": 404, "body": PAGE},
        {"status": 200, "body": PAGE},
        {"status": 200, "body": []},
        {"status": 200, "body": {"access_token": None, "instance_url": 5}},
        {"status": 200, "body": {"access_token": "abc"}},
        {"status": 200, "body": "<envelope><sessionId>abc</sessionId></envelope>"},
        {"status": 200, "body": "<a><sessionId>abc</sessionId>"},
        {"status": 200, "body": "\x00 nothing"},
    ],
    ids=lambda answer: f"{answer['status']}-{str(answer['body'])[:24]}",
)
def test_a_login_host_that_answers_nothing_usable_is_unavailable(door: Door, answer: dict[str, Any]) -> None:
    """An outage is no verdict on the credentials: who waits may go on waiting, and no page floods the log."""
    door.answers(**answer)

    for flow in FLOWS:
        failed = door.log_in(flow)
        assert isinstance(failed, UnavailableError)
        assert str(answer["status"]) in failed.what
        assert len(failed.what) < 450
        assert "sf_test" in str(failed)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("fault", ["reset", "truncate"])
def test_a_login_that_breaks_off_is_unavailable(door: Door, flow: str, fault: str) -> None:
    """A broken connection is repeated, and then told as what it is."""
    door.answers(kind=fault)

    assert isinstance(door.log_in(flow), UnavailableError)
    assert len(door.pauses) == 3


def test_a_long_refusal_is_cut(door: Door) -> None:
    """What the org says is told, but not all of a novel."""
    door.answers(status=400, body={"error": "invalid_grant", "error_description": "no " * 5_000})

    failed = door.log_in("client_credentials")

    assert isinstance(failed, AuthenticationError)
    assert "invalid_grant: no no" in failed.what
    assert len(failed.what) < 450


@pytest.mark.parametrize("flow", ["password_soap", "password_ip"])
def test_a_wrong_password_is_tried_once(door: Door, flow: str) -> None:
    """SOAP refuses with status 500: repeating that like an outage would lock the user out."""
    failed = door.log_in(flow, password="wrong-secret")

    assert isinstance(failed, AuthenticationError)
    assert "INVALID_LOGIN" in failed.what
    assert (door.pauses, door.logins()) == ([], 1)


@pytest.mark.parametrize("content", [bytes(range(128, 256)), b"-----BEGIN PRIVATE KEY-----"])
def test_a_key_file_that_is_no_pem_is_a_configuration_error(door: Door, tmp_path: Path, content: bytes) -> None:
    """A key in binary form, or half of one: the field is named."""
    file = tmp_path / "key.der"
    file.write_bytes(content)

    failed = door.log_in("jwt", private_key=None, private_key_file_path=str(file))

    assert isinstance(failed, ConfigurationError)
    assert "private_key" in str(failed)


@pytest.mark.parametrize("path", ["/nowhere/key.pem", "key\0.pem"])
def test_a_key_file_that_cannot_be_read_is_a_configuration_error(door: Door, path: str) -> None:
    """Missing, or no path at all."""
    failed = door.log_in("jwt", private_key=None, private_key_file_path=path)

    assert isinstance(failed, ConfigurationError)
    assert "private_key_file_path" in str(failed)


def test_a_proxy_that_cannot_be_used_is_a_configuration_error(door: Door) -> None:
    """Nobody waits for ever on a proxy that needs a package which is not there."""
    failed = door.log_in("client_credentials", proxies="socks5://corp:s3cr3t-pw@127.0.0.1:9")

    assert isinstance(failed, ConfigurationError)
    assert "s3cr3t" not in str(failed)


@pytest.mark.parametrize("flow", FLOWS)
def test_passwords_of_other_programs_stay_at_home(
    door: Door, flow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ~/.netrc, which requests would read, replaces no credentials of ours and is sent to nobody."""
    (tmp_path / "netrc").write_text("default login someone password of-another-program\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    assert isinstance(door.log_in(flow), str)


@pytest.mark.parametrize("flow", FLOWS)
def test_an_outage_that_passes_is_waited_through(door: Door, flow: str) -> None:
    """Two failures, then a token."""
    door.answers(status=503, body=PAGE, count=2)

    assert isinstance(door.log_in(flow), str)
    assert len(door.pauses) == 2
