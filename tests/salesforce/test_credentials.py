"""Which fields of a connection choose which login."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from airflow_provider_apiusage.salesforce.credentials import Credentials, Flow, credentials_from
from airflow_provider_apiusage.salesforce.errors import ConfigurationError, Where

WHERE = Where("salesforce_default")
URL = "https://acme.my.salesforce.com"


def chosen(login: str | None = None, password: str | None = None, **extras: Any) -> Credentials:
    return credentials_from(login=login, password=password, extras=extras, where=WHERE)


FLOWS = [
    (Flow.ACCESS_TOKEN, {"access_token": "00D!x", "instance_url": URL}),
    (Flow.REFRESH_TOKEN, {"refresh_token": "r", "consumer_key": "k"}),
    (Flow.PASSWORD_TOKEN, {"login": "u", "password": "p", "security_token": "t"}),
    (Flow.PASSWORD_ORGANIZATION, {"login": "u", "password": "p", "organization_id": "00D"}),
    (Flow.OAUTH_PASSWORD, {"login": "u", "password": "p", "consumer_key": "k", "consumer_secret": "s"}),
    (Flow.JWT, {"login": "u", "consumer_key": "k", "private_key": "pem"}),
    (Flow.JWT, {"login": "u", "consumer_key": "k", "private_key_file_path": "/key.pem"}),
    (Flow.CLIENT_CREDENTIALS, {"consumer_key": "k", "consumer_secret": "s", "instance_url": URL}),
    (Flow.CLIENT_CREDENTIALS, {"consumer_key": "k", "consumer_secret": "s", "domain": "acme.my"}),
]


@pytest.mark.parametrize(("flow", "fields"), FLOWS)
def test_complete_fields_choose_their_flow(flow: Flow, fields: dict[str, str]) -> None:
    """Each flow is chosen by exactly the fields that it needs."""
    assert chosen(**fields).flow is flow


@pytest.mark.parametrize(("flow", "fields"), FLOWS)
def test_blank_fields_mean_absent(flow: Flow, fields: dict[str, str]) -> None:
    """A form sends the fields that nobody filled in as blank text; they change nothing."""
    blank = dict.fromkeys(
        [
            "access_token", "refresh_token", "security_token", "organization_id", "consumer_key", "consumer_secret",
            "private_key", "private_key_file_path", "instance", "instance_url", "domain", "proxies", "version",
            "client_id",
        ],
        "",
    )  # fmt: skip

    assert chosen(**{"login": "", "password": "  ", **blank, **fields}).flow is flow


@pytest.mark.parametrize(("flow", "fields"), FLOWS)
def test_prefixed_extras_are_found(flow: Flow, fields: dict[str, str]) -> None:
    """Connections made by old forms keep their extras under ``extra__salesforce__``."""
    plain = {name: fields[name] for name in ("login", "password") if name in fields}
    prefixed = {f"extra__salesforce__{name}": value for name, value in fields.items() if name not in plain}

    assert chosen(**plain, **prefixed).flow is flow


def test_every_incomplete_combination_is_refused_with_the_missing_part() -> None:
    """Whatever subset of fields is given, either a flow is complete or the error says what is missing."""
    fields = {
        "login": "u", "password": "p", "security_token": "t", "consumer_key": "k", "consumer_secret": "s",
        "access_token": "a", "refresh_token": "r",
    }  # fmt: skip
    refused: list[str] = []
    for size in range(len(fields) + 1):
        for names in itertools.combinations(fields, size):
            try:
                chosen(**{name: fields[name] for name in names})
            except ConfigurationError as error:
                refused.append(str(error))

    assert len(refused) > 20
    for message in refused:
        assert "salesforce_default" in message
        assert "No way to log in is complete: " in message


def test_the_order_is_that_of_simple_salesforce_behind_a_token() -> None:
    """With everything filled in, the most explicit way wins; without tokens, simple-salesforce's own order holds."""
    everything: dict[str, str] = {}
    for _, fields in FLOWS:
        everything |= fields
    order = []
    for leave_out in ("access_token", "refresh_token", "security_token", "organization_id", "password", "login", None):
        order.append(chosen(**everything).flow)
        everything.pop(leave_out or "", None)

    assert order == [
        Flow.ACCESS_TOKEN, Flow.REFRESH_TOKEN, Flow.PASSWORD_TOKEN, Flow.PASSWORD_ORGANIZATION,
        Flow.OAUTH_PASSWORD, Flow.JWT, Flow.CLIENT_CREDENTIALS,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "url", "bare"),
    [
        ("https://acme.my.salesforce.com/", URL, None),
        ("acme.my.salesforce.com", URL, None),
        ("https://localhost:8443", "https://localhost:8443", None),
        ("https://acme.my.salesforce.com:443/home", URL, None),
        ("acme.my", None, "acme.my"),
    ],
)
def test_instance_url_is_read_as_url_or_as_subdomain(written: str, url: str | None, bare: str | None) -> None:
    """A full URL names the org; a bare word is what simple-salesforce expects in its JWT flow."""
    credentials = chosen(login="u", consumer_key="k", private_key="pem", instance_url=written)

    assert (credentials.instance_url, credentials.bare_instance_url) == (url, bare)


@pytest.mark.parametrize(
    "url", ["http://acme.my.salesforce.com", "https://", "https://u:p@host", "ftp://x", "https://h:no"]
)
def test_an_instance_url_that_is_not_https_is_refused(url: str) -> None:
    """A token never goes over plain HTTP, and credentials do not belong into a URL."""
    with pytest.raises(ConfigurationError, match="instance_url"):
        chosen(access_token="a", instance_url=url)


@pytest.mark.parametrize(("written", "version"), [("62", "62.0"), ("v62.0", "62.0"), ("", "59.0"), ("100.0", "100.0")])
def test_version_is_normalised(written: str, version: str) -> None:
    """The API version is accepted as people write it."""
    assert chosen(access_token="a", instance_url=URL, version=written).version == version


def test_a_version_that_is_none_names_the_field() -> None:
    """A wrong version says which extra is wrong and how to write it."""
    with pytest.raises(ConfigurationError, match=r"Extra 'version' is 'latest'.*Write it like 62\.0"):
        chosen(access_token="a", instance_url=URL, version="latest")


@pytest.mark.parametrize("domain", ["https://test.salesforce.com", "test", "test.salesforce.com/"])
def test_domain_may_be_written_in_full(domain: str) -> None:
    """A domain is accepted with and without what simple-salesforce puts around it."""
    assert chosen("u", "p", security_token="t", domain=domain).domain == "test"


@pytest.mark.parametrize(
    ("written", "proxies"),
    [
        ("http://proxy:3128", {"http": "http://proxy:3128", "https": "http://proxy:3128"}),
        (json.dumps({"https": "http://proxy:3128"}), {"https": "http://proxy:3128"}),
        ({"https": "http://proxy:3128"}, {"https": "http://proxy:3128"}),
        ("", None),
        ({}, None),
    ],
)
def test_proxies_are_read_from_form_and_from_json(written: Any, proxies: Any) -> None:
    """The form gives text, a JSON connection an object."""
    assert chosen(access_token="a", instance_url=URL, proxies=written).proxies == proxies


def test_neither_repr_nor_error_shows_a_secret() -> None:
    """Printing credentials, or failing on them, gives nothing away."""
    fields = {
        "password": "hunter2-secret", "security_token": "tok-secret", "consumer_secret": "con-secret",
        "private_key": "pem-secret", "access_token": "acc-secret", "refresh_token": "ref-secret",
    }  # fmt: skip
    credentials = chosen(login="u", consumer_key="k", instance_url=URL, **fields)

    assert "secret" not in repr(credentials)
    assert set(credentials.secrets) == set(fields.values())
    with pytest.raises(ConfigurationError) as error:
        chosen(access_token="acc-secret")
    assert "acc-secret" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"login": "u", "password": "p", "security_token": "t"},
        {"consumer_key": "k", "consumer_secret": "s", "domain": "acme.my"},
        {"login": "u", "consumer_key": "k", "private_key": "pem", "instance_url": "acme.my"},
    ],
)
def test_a_session_id_that_cannot_be_used_is_refused(fields: dict[str, str]) -> None:
    """Whoever gives a token means it: without an org to use it at, nobody else is logged in in its place."""
    login, password = fields.pop("login", None), fields.pop("password", None)
    with pytest.raises(ConfigurationError, match="instance_url") as refused:
        credentials_from(login=login, password=password, extras=fields, where=WHERE, session_id="00D!of-another")
    assert "of-another" not in str(refused.value)


PROXIES_OF_NO_USE = [
    "http://corp:s3cr3t-pw@proxy.example:31x28",
    "http://corp:s3cr3t/pw@127.0.0.1:9",
    "http://corp:99/s3cr3t@127.0.0.1:9",
    "http://corp:s3cr3t?pw@127.0.0.1:9",
    "http://corp:s3cr3t#pw@127.0.0.1:9",
    "http://corp:s3cr3t@",
    "gopher://corp:s3cr3t@127.0.0.1:9",
    "http://[corp:s3cr3t@127.0.0.1:9",
    "http://corp:s3cr3t@127.0.0.1:99999",
]


@pytest.mark.parametrize("proxy", PROXIES_OF_NO_USE)
@pytest.mark.parametrize("wrap", [str, lambda url: {"https": url}, lambda url: json.dumps({"https": url})])
def test_a_proxy_that_is_no_url_is_refused_without_its_password(proxy: str, wrap: Any) -> None:
    """A slash that was not escaped splits a password in two; neither half shows."""
    with pytest.raises(ConfigurationError, match="'proxies'") as refused:
        chosen(access_token="a", instance_url=URL, proxies=wrap(proxy))
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://proxy:3128",
        "https://proxy",
        "proxy:3128",
        "corp:pw@proxy:3128",
        "socks5h://corp:pw@proxy/",
        "http://[::1]:3",
    ],
)
def test_a_proxy_is_kept_as_it_was_written(proxy: str) -> None:
    """With and without a scheme, a port, or a user."""
    assert chosen(access_token="a", instance_url=URL, proxies=proxy).proxies == {"http": proxy, "https": proxy}


def test_the_password_of_a_proxy_is_a_secret() -> None:
    """As it is written in the URL, and as it is meant."""
    secrets = chosen(access_token="a", instance_url=URL, proxies="http://corp:s3cr3t%2Fpw@proxy:9").secrets

    assert {"s3cr3t%2Fpw", "s3cr3t/pw"} <= set(secrets)
