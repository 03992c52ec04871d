"""Ways in: OAuth, SOAP, and simple-salesforce with each of them."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from typing import Any

import jwt
import pytest
import requests

from airflow_provider_apiusage.sandbox import Fault
from airflow_provider_apiusage.sandbox.connections import private_key_pem
from airflow_provider_apiusage.sandbox.identity import long_id

TOKEN = "/services/oauth2/token"


def token(client: Any, host: str | None = None, basic: str | None = None, **fields: str) -> requests.Response:
    headers = {"Host": host} if host else {}
    if basic:
        headers["Authorization"] = "Basic " + base64.b64encode(basic.encode()).decode()
    return requests.post(
        client.server.url + TOKEN,
        data=fields,
        headers=headers,
        verify=str(client.server.ca_file),
        timeout=30,
    )


@pytest.fixture(autouse=True)
def _trust(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(client.server.ca_file))


def secrets(client: Any) -> dict[str, str]:
    identity = client.org.identity
    return {"client_id": identity.consumer_key, "client_secret": identity.consumer_secret}


def test_a_long_id_tells_which_letters_are_capitals() -> None:
    """The three last characters of an 18-character id encode the capitals of the first 15."""
    assert long_id("00D000000000062") == "00D000000000062EAA"
    assert long_id("001D000000IqhSL") == "001D000000IqhSLIAZ"
    with pytest.raises(ValueError, match="15"):
        long_id("00D")


def test_client_credentials_work_in_the_header_and_in_the_body(client: Any) -> None:
    """Both ways give a token that begins with the org's id, and the URL to use it at."""
    identity = client.org.identity
    in_body = token(client, grant_type="client_credentials", **secrets(client)).json()
    in_header = token(
        client, basic=f"{identity.consumer_key}:{identity.consumer_secret}", grant_type="client_credentials"
    ).json()

    for answer in (in_body, in_header):
        assert answer["access_token"].startswith(identity.org_id + "!")
        assert answer["instance_url"] == client.server.url
        assert client.get("limits", headers={"Authorization": f"Bearer {answer['access_token']}"}).status_code == 200


@pytest.mark.parametrize("host", ["login.salesforce.com", "test.salesforce.com"])
def test_client_credentials_need_my_domain(client: Any, host: str) -> None:
    """The generic log-in hosts refuse client credentials; a My Domain host tells its own URL."""
    refused = token(client, host, grant_type="client_credentials", **secrets(client))
    served = token(client, "acme.my.salesforce.com", grant_type="client_credentials", **secrets(client))

    assert refused.status_code == 400
    assert refused.json() == {"error": "invalid_grant", "error_description": "request not supported on this domain"}
    assert served.json()["instance_url"] == "https://sandbox-org.my.salesforce.com"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"grant_type": "client_credentials", "client_id": "odd", "client_secret": "x"}, "invalid_client_id"),
        ({"grant_type": "client_credentials", "client_secret": "x"}, "invalid_client"),
        ({"grant_type": "password", "username": "nobody", "password": "x"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ({"grant_type": "device"}, "unsupported_grant_type"),
        ({}, "unsupported_grant_type"),
    ],
)
def test_bad_token_requests_are_told_why(client: Any, fields: dict[str, str], error: str) -> None:
    """Errors have the OAuth shape and are not counted."""
    answer = token(client, **{**secrets(client), **fields})

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert client.org.used == 25_000


def test_a_refresh_token_gives_new_sessions(client: Any) -> None:
    """The refresh token of the connection works again and again."""
    extra = client.server.connection("refresh_token")["extra"]
    first, second = (
        token(client, grant_type="refresh_token", refresh_token=extra["refresh_token"], **secrets(client)).json()
        for _ in range(2)
    )

    assert first["access_token"] != second["access_token"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"aud": "https://login.salesforce.com"}, None),
        ({"exp": 1_000}, "invalid_grant"),
        ({"aud": "https://elsewhere.invalid"}, "invalid_grant"),
        ({"iss": "someone"}, "invalid_client_id"),
        ({"sub": "nobody"}, "invalid_grant"),
    ],
)
def test_a_jwt_is_checked_claim_by_claim(client: Any, changes: dict[str, Any], error: str | None) -> None:
    """Issuer, subject, audience and expiry must hold; expiry goes by the machine's clock."""
    identity = client.org.identity
    claims = {
        "iss": identity.consumer_key,
        "sub": identity.client_user.username,
        "aud": client.server.url,
        "exp": int(time.time()) + 180,
        **changes,
    }
    assertion = jwt.encode(claims, private_key_pem(client.org), algorithm="RS256")
    answer = token(client, grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer", assertion=assertion).json()

    assert error == answer.get("error")
    assert ("access_token" in answer) == (error is None)


@pytest.mark.parametrize("broken", ["", "a.b.c", "....", "x"])
def test_a_jwt_that_is_none_is_refused(client: Any, broken: str) -> None:
    """Text that is no assertion, or one with a wrong signature, is an invalid grant."""
    answer = token(client, grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer", assertion=broken)
    good = jwt.encode({"iss": "x"}, private_key_pem(client.org), algorithm="RS256")
    forged = token(client, grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer", assertion=good[:-8] + "AAAAAAAA")

    assert answer.json()["error"] == forged.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "flow",
    ["access_token", "password_soap", "password_ip", "password_oauth", "official_client_credentials", "official_jwt"],
)
def test_simple_salesforce_gets_in(foreign: Any, client: Any, flow: str) -> None:
    """Each connection works with simple-salesforce as it is; only the one call after log-in counts."""
    salesforce = foreign(flow)

    assert salesforce.limits()["DailyApiRequests"]["Max"] == 100_000
    assert salesforce.api_usage["api-usage"].used == 25_001 == client.org.used
    assert salesforce.session_id.startswith(client.org.identity.org_id + "!")


@pytest.mark.parametrize(
    ("flow", "changes", "code"),
    [
        ("password_soap", {"security_token": "old"}, "INVALID_LOGIN"),
        ("password_soap", {"password": "<wrong>"}, "INVALID_LOGIN"),
        ("password_soap", {"version": "65.0"}, "UNSUPPORTED_API_VERSION"),
        ("password_ip", {"organization_id": "00DSB0000000099AAA"}, "INVALID_LOGIN"),
        ("password_oauth", {"password": "wrong"}, "invalid_grant"),
        ("official_jwt", {"consumer_key": "wrong"}, "invalid_client_id"),
    ],
)
def test_simple_salesforce_reads_why_it_is_refused(foreign: Any, flow: str, changes: dict[str, str], code: str) -> None:
    """Faults are in the shape that simple-salesforce takes apart."""
    from simple_salesforce.exceptions import SalesforceAuthenticationFailed

    with pytest.raises(SalesforceAuthenticationFailed) as caught:
        foreign(flow, **changes)

    assert caught.value.code == code


def test_other_soap_calls_are_not_there(client: Any) -> None:
    """Only login() is modelled; other SOAP calls get a fault."""
    answer = client.request("POST", "/services/Soap/u/59.0", data="<env:Body><query/></env:Body>")

    assert answer.status_code == 500
    assert "UNKNOWN_EXCEPTION" in answer.text


def test_tokens_can_be_opaque_or_of_another_org(client: Any) -> None:
    """By setting, tokens do not begin with the org's id; by fault, they begin with another's."""
    client.org.change({"session_id_style": "opaque"})
    assert "!" not in token(client, grant_type="client_credentials", **secrets(client)).json()["access_token"]

    client.org.change({"session_id_style": "org_id"})
    client.org.faults.order(Fault("wrong_org", count=1))
    wrong = token(client, grant_type="client_credentials", **secrets(client)).json()["access_token"]

    assert wrong.startswith("00DSB0000000666!")


def test_simple_salesforce_logs_in_again_when_its_session_ends(foreign: Any, client: Any) -> None:
    """An expired token is a 401 on which simple-salesforce logs in anew."""
    salesforce = foreign("password_soap")
    client.control("POST", "/sessions/expire")

    assert salesforce.limits()["DailyApiRequests"]["Max"] == 100_000


def test_user_info_tells_user_and_org(client: Any) -> None:
    """The user info resource names user and org, and is not counted."""
    body = client.get("/services/oauth2/userinfo").json()

    assert body["organization_id"] == long_id(client.org.identity.org_id)
    assert body["preferred_username"] == "etl@sandbox-org.example"
    assert client.org.used == 25_000


def test_the_proxy_leads_nowhere_else(client: Any) -> None:
    """Names outside salesforce.com, and other ports, are refused."""
    for url in ("https://example.org/", "https://login.salesforce.com:8443/", "https://salesforce.com.example.org/"):
        with pytest.raises(requests.exceptions.ProxyError, match="403"):
            requests.get(url, proxies={"https": client.server.proxy_url}, timeout=30)


def test_connections_are_in_airflows_shape(client: Any) -> None:
    """Every flow is a salesforce connection whose extras have the official provider's names."""
    flows = client.control("GET", "/connection")

    assert {"access_token", "client_credentials", "jwt", "refresh_token", "password_soap"} <= set(flows)
    assert {connection["conn_type"] for connection in flows.values()} == {"salesforce"}
    assert flows["client_credentials"]["extra"]["instance_url"] == client.server.url
    assert "login" not in flows["client_credentials"]
    assert client.control("GET", "/connection?flow=jwt")["extra"]["private_key"].startswith("-----BEGIN PRIVATE KEY")


def test_the_certificate_is_sound_for_strict_clients(client: Any) -> None:
    """The chain passes strict X.509 rules for localhost, 127.0.0.1 and salesforce.com names, and for no other."""
    port = int(client.server.url.rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(client.server.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    for name in ("localhost", "127.0.0.1", "login.salesforce.com", "acme.my.salesforce.com"):
        with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname=name):
            pass
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname="example.org")
    assert [path.name for path in client.server.ca_file.parent.iterdir()] == ["ca.pem"]
