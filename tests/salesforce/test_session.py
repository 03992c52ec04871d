"""The metered session against a real HTTPS org: retries, logins, redirects, time-outs, what is counted and seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceExpiredSession, SalesforceRefusedRequest

from airflow_provider_apiusage.salesforce.credentials import credentials_from
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    MalformedAnswerError,
    PermissionDeniedError,
    UnavailableError,
    Where,
)
from airflow_provider_apiusage.salesforce.login import log_in
from airflow_provider_apiusage.salesforce.metering import Exchange
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.sandbox import Fault, SandboxServer

WHERE = Where("sf_test", "sandbox org")


class Client:
    """A session logged in to the sandbox org, with what it saw and how long it slept."""

    def __init__(self, server: SandboxServer, flow: str = "client_credentials", **options: Any) -> None:
        self.exchanges: list[Exchange] = []
        self.pauses: list[float] = []
        connection = server.connection(flow)
        self.credentials = credentials_from(
            login=connection.get("login"),
            password=connection.get("password"),
            extras=connection["extra"],
            where=WHERE,
        )
        self.session = MeteredSession(WHERE, listener=self.exchanges.append, sleep=self.pauses.append, **options)
        if self.credentials.proxies:
            self.session.proxies = dict(self.credentials.proxies)
        self.login = log_in(self.credentials, self.session, WHERE)
        self.session.authorize(self.login.token, self._renew)
        self.org = OrgClient(
            self.session, instance_url=self.login.instance_url, token=self.login.token, version="62.0", where=WHERE
        )

    def _renew(self) -> str:
        return log_in(self.credentials, self.session, WHERE, renew=True).token

    def simple_salesforce(self) -> Salesforce:
        return Salesforce(
            session_id=self.login.token, instance_url=self.login.instance_url, session=self.session, version="62.0"
        )


@pytest.fixture
def connect(sandbox: SandboxServer) -> Callable[..., Client]:
    """Makes clients of the sandbox org."""
    return lambda flow="client_credentials", **options: Client(sandbox, flow, **options)


FLOWS = [
    "access_token", "client_credentials", "jwt", "refresh_token",
    "password_soap", "password_ip", "password_oauth", "official_client_credentials", "official_jwt",
]  # fmt: skip


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_logs_in_and_reads(connect: Callable[..., Client], sandbox: SandboxServer, flow: str) -> None:
    """Each way to log in reaches the org and costs no call; reading the limits costs exactly one."""
    used_before = sandbox.org.used
    client = connect(flow)
    assert sandbox.org.used == used_before

    readings, _, _ = client.org.limits()

    assert next(r for r in readings if r.name == "DailyApiRequests" and not r.scope).limit == sandbox.org.settings.limit
    assert sandbox.org.used - used_before == client.session.calls == 1


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow != "access_token"])
def test_an_expired_token_is_renewed_once(connect: Callable[..., Client], sandbox: SandboxServer, flow: str) -> None:
    """The org forgets the token; the next call logs in again by itself and succeeds."""
    client = connect(flow)
    sandbox.org.sessions.expire()

    assert client.org.limits()[0]
    assert [e.status for e in client.exchanges if e.path.endswith("/limits")] == [401, 200]


def test_a_token_that_cannot_be_renewed_says_so(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """With nothing but an access token, expiry is an authentication error that names the way out."""
    client = connect("access_token")
    sandbox.org.sessions.expire()

    with pytest.raises(AuthenticationError, match="'access_token'"):
        client.org.limits()


def test_a_second_401_is_not_renewed_again(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """An org that refuses every token is asked twice, not for ever; simple-salesforce does not go on either."""
    client = connect()
    sandbox.org.faults.order(Fault("unauthorized", path="/limits"))
    salesforce = client.simple_salesforce()
    client.exchanges.clear()

    with pytest.raises(SalesforceExpiredSession):
        salesforce.limits()
    assert [e.path.rsplit("/", 1)[-1] for e in client.exchanges if e.path.endswith(("limits/", "limits", "token"))] == [
        "", "token", "",
    ] or len(client.exchanges) == 3  # fmt: skip


def test_bulk_handlers_made_before_the_renewal_go_on(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """simple-salesforce's Bulk handlers keep the old token in their headers; the session swaps it."""
    client = connect()
    bulk2 = client.simple_salesforce().bulk2.Account
    bulk1 = client.simple_salesforce().bulk.Account
    sandbox.org.sessions.expire()

    assert bulk2.insert(records=[{"Name": "A"}])[0]["numberRecordsProcessed"] == 1
    sandbox.org.sessions.expire()
    assert bulk1.insert([{"Name": "B"}, {"Name": "C"}])[0]["success"] is True


@pytest.mark.parametrize("status", [500, 502, 503, 504, 420])
def test_passing_failures_are_repeated_and_counted(
    connect: Callable[..., Client], sandbox: SandboxServer, status: int
) -> None:
    """Two failures, then success: three calls, all counted, with growing pauses between them."""
    client = connect()
    sandbox.org.faults.order(Fault("status", status=status, count=2, path="/limits"))

    client.org.limits()

    assert client.session.calls == 3
    assert 0.5 <= client.pauses[0] <= 1.0 <= client.pauses[1] <= 2.0


def test_repeats_are_bounded(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """An org that stays down is asked four times, then the error says unavailable."""
    client = connect()
    sandbox.org.faults.order(Fault("status", status=503, path="/limits"))

    with pytest.raises(UnavailableError, match="503"):
        client.org.limits()
    assert client.session.calls == 4


def test_a_post_is_never_repeated(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """A load that may have been carried out is not sent twice."""
    client = connect()
    sandbox.org.faults.order(Fault("status", status=503, method="POST"))

    response = client.session.post(
        f"{client.login.instance_url}/services/data/v62.0/sobjects/Account",
        json={"Name": "A"},
        headers={"Authorization": f"Bearer {client.login.token}"},
    )

    assert response.status_code == 503
    assert client.session.calls == 1


def test_retry_after_is_honoured(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """An org that says when to come back is believed."""
    client = connect()
    sandbox.org.faults.order(Fault("status", status=503, retry_after="7", count=1, path="/limits"))

    client.org.limits()

    assert client.pauses == [7.0]


def test_a_long_retry_after_is_not_waited_for(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """A pause of an hour would block a worker; it is reported instead."""
    client = connect()
    sandbox.org.faults.order(Fault("status", status=503, retry_after="3600", path="/limits"))

    with pytest.raises(UnavailableError):
        client.org.limits()
    assert client.pauses == []


@pytest.mark.parametrize("kind", ["reset", "truncate"])
def test_broken_connections_are_repeated(connect: Callable[..., Client], sandbox: SandboxServer, kind: str) -> None:
    """A connection reset or a body cut short is repeated for a GET."""
    client = connect()
    sandbox.org.faults.order(Fault(kind, count=2, path="/limits"))

    assert client.org.limits()[0]
    assert client.session.calls == 3


def test_a_silent_org_times_out(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """The read time-out applies although nobody passed one, and names the org in the error."""
    client = connect(timeout=(5.0, 0.2), retries=1)
    sandbox.org.faults.order(Fault("delay", seconds=2, path="/limits"))

    with pytest.raises(UnavailableError, match=r"sf_test.*sandbox org"):
        client.org.limits()


def test_an_exhausted_allowance_is_never_repeated(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """Asking an org without calls once more cannot help, and would not be answered."""
    client = connect()
    sandbox.org.change({"limit": 20_000, "hard_limit": 20_000})

    with pytest.raises(AllowanceExhaustedError) as exhausted:
        client.org.limits()
    assert client.session.calls == 1
    assert exhausted.value.observed_at == sandbox.org.now()
    with pytest.raises(SalesforceRefusedRequest):
        client.simple_salesforce().limits()
    assert client.session.calls == 2


def test_too_many_calls_at_once_is_another_kind(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """The same error code with another message means: in a moment, not tomorrow."""
    client = connect()
    sandbox.org.faults.order(Fault("concurrency", path="/limits"))

    with pytest.raises(ConcurrencyLimitError):
        client.org.limits()


def test_no_redirect_carries_the_token_away(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """An org that points to another host gets an error that names both; the other host is never called."""
    client = connect()
    with SandboxServer(type(sandbox.org)()) as elsewhere:
        sandbox.org.faults.order(Fault("redirect", location=f"{elsewhere.url}/services/data/v62.0/limits"))
        with pytest.raises(ConfigurationError, match=r"redirects to https://localhost:\d+; the token was not sent"):
            client.org.limits()
        seen = requests.get(f"{elsewhere.control_url}/requests", timeout=10).json()

    assert not [request for request in seen.get("requests", seen) if "limits" in str(request)]


def test_permission_denied_on_limits(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """A user without View Setup gets an error that names the permission."""
    client = connect()
    sandbox.org.change({"limits_access": "denied"})

    with pytest.raises(PermissionDeniedError, match="View Setup and Configuration"):
        client.org.limits()


def test_html_with_status_200_is_malformed(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """A login page or a captive proxy is not taken for figures."""
    client = connect()
    sandbox.org.faults.order(Fault("html", path="/limits"))

    with pytest.raises(MalformedAnswerError, match="text/html"):
        client.org.limits()


def test_every_response_is_seen_with_the_orgs_clock(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """Successes, errors and Bulk answers all pass the meter, with the org's instant and the header."""
    client = connect()
    sandbox.org.change({"limit_header_on_errors": True, "limit_header_on_bulk_2": True})
    salesforce = client.simple_salesforce()
    salesforce.query("SELECT Id FROM Organization")
    with pytest.raises(Exception, match="INVALID_TYPE"):
        salesforce.query("SELECT Id FROM Nothing__x")
    salesforce.bulk2.Account.insert(records=[{"Name": "A"}])
    counted = [e for e in client.exchanges if e.counted]

    assert {e.status for e in counted} >= {200, 400}
    assert all(e.limit_info and e.limit_info.startswith("api-usage=") for e in counted if e.status != 204)
    assert {e.observed_at for e in client.exchanges} == {sandbox.org.now()}
    assert len(counted) == client.session.calls
    skew = sandbox.org.now() - datetime.now(UTC)
    assert abs(counted[-1].skew - skew) < timedelta(minutes=1)


def test_our_calls_bear_our_name(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """The org's logs tell what we spent from what others spent."""
    client = connect()
    client.org.limits()
    seen = requests.get(f"{sandbox.control_url}/requests", timeout=10).json()
    requests_seen = seen["requests"] if isinstance(seen, dict) else seen

    assert [r["client"] for r in requests_seen if r["path"].endswith("/limits")] == ["airflow-provider-apiusage"]


def test_the_orgs_id_is_free_where_the_token_or_the_login_tells_it(
    connect: Callable[..., Client], sandbox: SandboxServer
) -> None:
    """A session id starts with the org's id, and a login's answer has it; a bare opaque token costs one query."""
    org_id = sandbox.org.identity.org_id
    assert connect("access_token").org.org_id() == org_id

    sandbox.org.change({"session_id_style": "opaque"})
    for flow in FLOWS:
        client = connect(flow)
        assert client.org.org_id() == client.org.org_id() == org_id
        assert client.session.calls == (1 if flow == "access_token" else 0)


@pytest.mark.parametrize("flow", FLOWS)
def test_an_exhausted_org_still_tells_who_it_is(
    connect: Callable[..., Client], sandbox: SandboxServer, flow: str
) -> None:
    """That nothing is left is a reading, and a reading needs an org."""
    sandbox.org.change({"session_id_style": "opaque", "limit": 20_000, "hard_limit": 20_000})
    client = connect(flow)

    assert client.org.org_id() == sandbox.org.identity.org_id


def test_an_exhausted_org_that_does_not_tell_who_it_is_says_that_it_is_exhausted(
    connect: Callable[..., Client], sandbox: SandboxServer
) -> None:
    """A token may not be allowed to ask whose it is; what the org said first is what counts."""
    sandbox.org.change({"session_id_style": "opaque", "limit": 20_000, "hard_limit": 20_000})
    client = connect("access_token")
    for body in ({"error": "insufficient_scope"}, {"organization_id": None}, []):
        sandbox.org.faults.clear()
        status = 403 if "error" in body else 200
        sandbox.org.faults.order(Fault("status", status=status, body=body, path="/oauth2/userinfo"))
        with pytest.raises(AllowanceExhaustedError):
            client.org.org_id()


@pytest.mark.parametrize(
    ("change", "flow"),
    [
        ({"password": "wrong-secret"}, "password_soap"),
        ({"password": "wrong-secret"}, "password_oauth"),
        ({"consumer_secret": "wrong-secret"}, "client_credentials"),
        ({"refresh_token": "wrong-secret"}, "refresh_token"),
    ],
)
def test_wrong_credentials_are_an_authentication_error_without_secrets(
    sandbox: SandboxServer, change: dict[str, str], flow: str
) -> None:
    """The org's own words come through, and nothing that was secret."""
    connection = sandbox.connection(flow)
    extras = {**connection["extra"], **{k: v for k, v in change.items() if k != "password"}}
    credentials = credentials_from(
        login=connection.get("login"),
        password=change.get("password", connection.get("password")),
        extras=extras,
        where=WHERE,
    )
    session = MeteredSession(WHERE)
    session.proxies = dict(credentials.proxies or {})

    with pytest.raises(AuthenticationError) as refused:
        log_in(credentials, session, WHERE)
    assert "sf_test" in str(refused.value)
    assert not [secret for secret in credentials.secrets if secret in str(refused.value)]
    assert refused.value.__cause__ is None


def test_a_key_that_is_none_is_a_configuration_error(sandbox: SandboxServer) -> None:
    """A private key that was pasted wrongly is named, not shown."""
    connection = sandbox.connection("jwt")
    extras = {k: v for k, v in connection["extra"].items() if k != "private_key_file_path"}
    credentials = credentials_from(
        login=connection["login"],
        password=None,
        extras={**extras, "private_key": "-----BEGIN PRIVATE KEY----- broken"},
        where=WHERE,
    )

    with pytest.raises(ConfigurationError, match="private_key") as wrong:
        log_in(credentials, MeteredSession(WHERE), WHERE)
    assert "broken" not in str(wrong.value)


def test_a_netrc_replaces_no_token(
    connect: Callable[..., Client], sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a request nor after a redirect within the org."""
    (tmp_path / "netrc").write_text("default login someone password of-another-program\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client = connect()
    sandbox.org.faults.order(
        Fault("redirect", location=f"{client.login.instance_url}/services/data/v61.0/limits", path="/v62.0/limits")
    )

    assert client.org.limits()[0]


def test_a_proxy_of_no_use_is_a_configuration_error(connect: Callable[..., Client]) -> None:
    """A gate does not wait for a scheme to become one."""
    client = connect()
    client.session.proxies = {"https": "socks5://127.0.0.1:9"}

    with pytest.raises(ConfigurationError, match="SOCKS"):
        client.org.limits()


def test_a_body_that_can_be_sent_once_is_sent_once(connect: Callable[..., Client], sandbox: SandboxServer) -> None:
    """After an expired token the caller gets the 401, not the answer to an empty request; the next call has a token."""
    client = connect()
    url = f"{client.login.instance_url}/services/data/v62.0/sobjects/Account"
    headers = {"Authorization": f"Bearer {client.login.token}", "Content-Type": "application/json"}
    sandbox.org.sessions.expire()

    def post(body: Any) -> int:
        return client.session.post(url, data=body, headers=headers).status_code

    assert post(iter([b'{"Name": "A"}'])) == 401
    assert client.session.calls == 1
    assert post(iter([b'{"Name": "A"}'])) == 201
    sandbox.org.sessions.expire()
    assert post(BytesIO(b'{"Name": "B"}')) == 201


@pytest.mark.parametrize("report", ["00OAA0000000001", "00OAA0000000001AAA"])
@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "reset"}])
def test_a_run_of_a_report_is_not_repeated(
    connect: Callable[..., Client], sandbox: SandboxServer, report: str, fault: dict[str, Any]
) -> None:
    """It is a GET, but each one makes the org work for up to two minutes; a look at one in the background is cheap."""
    client = connect()
    sandbox.org.faults.order(Fault(path="/analytics/reports/", **fault))

    with pytest.raises(UnavailableError):
        client.org.get(f"analytics/reports/{report}", "running it", params={"includeDetails": "true"})
    assert client.session.calls == 1
    for path in (f"analytics/reports/{report}/instances/0LG1", f"analytics/reports/{report}/describe"):
        calls = client.session.calls
        with pytest.raises(UnavailableError):
            client.org.get(path, "looking")
        assert client.session.calls - calls == 4
