"""Which fields of a connection choose which way to log in.

The order is that of simple-salesforce and so of the official Airflow hook, with our additions (a token, a refresh
token) in front, because whoever wrote a token into a connection means it. ``docs/connections.md`` shows it as a table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_apiusage.salesforce.errors import ConfigurationError, Where

DEFAULT_VERSION = "59.0"
"""simple-salesforce's default, so that the same connection means the same with and without us."""

GENERIC_DOMAINS = ("login", "test")


class Flow(StrEnum):
    """The ways to log in, in the order in which they are tried."""

    ACCESS_TOKEN = "access token"  # noqa: S105 - a name, not a secret
    REFRESH_TOKEN = "refresh token"  # noqa: S105 - a name, not a secret
    PASSWORD_TOKEN = "password and security token (SOAP)"  # noqa: S105 - a name, not a secret
    PASSWORD_ORGANIZATION = "password and organization id (SOAP, trusted IP range)"  # noqa: S105 - a name, not a secret
    OAUTH_PASSWORD = "OAuth username and password"  # noqa: S105 - a name, not a secret
    JWT = "OAuth JWT bearer"
    CLIENT_CREDENTIALS = "OAuth client credentials"


@dataclass(frozen=True)
class Credentials:
    """The fields of a connection, blank ones dropped. Its ``repr`` shows no secret.

    :param instance_url: full URL of the org (``https://acme.my.salesforce.com``), or ``None``.
    :param bare_instance_url: an ``instance_url`` without scheme, which simple-salesforce reads as a sub-domain of
        ``salesforce.com`` in the JWT flow (``acme.my``).
    """

    flow: Flow
    version: str = DEFAULT_VERSION
    domain: str | None = None
    instance_url: str | None = None
    bare_instance_url: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    security_token: str | None = field(default=None, repr=False)
    organization_id: str | None = None
    consumer_key: str | None = field(default=None, repr=False)
    consumer_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    private_key_file_path: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    proxies: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must not show in a message."""
        values = (
            self.password,
            self.security_token,
            self.consumer_secret,
            self.private_key,
            self.access_token,
            self.refresh_token,
            *(part for url in (self.proxies or {}).values() for part in _passwords_of(url)),
        )
        return tuple(value for value in values if value)

    @property
    def renewable(self) -> bool:
        """Whether a new token can be had when the present one has expired."""
        return self.flow is not Flow.ACCESS_TOKEN or (self.refresh_token is not None and self.consumer_key is not None)


def credentials_from(
    *,
    login: str | None,
    password: str | None,
    extras: Mapping[str, Any],
    where: Where,
    session_id: str | None = None,
) -> Credentials:
    """Choose the flow from the fields of a connection.

    :param login: the connection's login.
    :param password: the connection's password.
    :param extras: the connection's extras; each is also found as ``extra__salesforce__<name>``.
    :param where: names the connection in errors.
    :param session_id: an access token given in code; it wins over everything.
    :raises ConfigurationError: if no flow is complete (says what is missing), a field cannot be understood, or a
        ``session_id`` is given without an org to use it at.
    """

    def extra(name: str) -> str | None:
        return _present(extras.get(name)) or _present(extras.get(f"extra__salesforce__{name}"))

    instance_url, bare_instance_url = _instance(extra("instance_url"), extra("instance"), where)
    if _present(session_id) and instance_url is None:
        raise ConfigurationError(
            "A session_id is given, but the connection has no 'instance_url' to use it at.",
            where,
            "Add extra 'instance_url' (https://<My Domain>.my.salesforce.com), or leave session_id out.",
        )
    fields: dict[str, Any] = {
        "version": _version(extra("version"), where),
        "domain": _domain(extra("domain"), where),
        "instance_url": instance_url,
        "bare_instance_url": bare_instance_url,
        "username": _present(login),
        "password": _present(password),
        "security_token": extra("security_token"),
        "organization_id": extra("organization_id"),
        "consumer_key": extra("consumer_key"),
        "consumer_secret": extra("consumer_secret"),
        "private_key": _pem(extra("private_key")),
        "private_key_file_path": extra("private_key_file_path"),
        "access_token": _present(session_id) or extra("access_token"),
        "refresh_token": extra("refresh_token"),
        "client_id": extra("client_id"),
        "proxies": _proxies(extras.get("proxies") or extras.get("extra__salesforce__proxies"), where),
    }
    return Credentials(flow=_flow_of(fields, where), **fields)


def _flow_of(has: Mapping[str, Any], where: Where) -> Flow:
    my_domain = has["instance_url"] or (has["domain"] and has["domain"] not in GENERIC_DOMAINS)
    user, password, key = has["username"], has["password"], has["consumer_key"]
    complete: list[tuple[Flow, Any]] = [
        (Flow.ACCESS_TOKEN, has["access_token"] and has["instance_url"]),
        (Flow.REFRESH_TOKEN, has["refresh_token"] and key),
        (Flow.PASSWORD_TOKEN, user and password and has["security_token"]),
        (Flow.PASSWORD_ORGANIZATION, user and password and has["organization_id"]),
        (Flow.OAUTH_PASSWORD, user and password and key and has["consumer_secret"]),
        (Flow.JWT, user and key and (has["private_key"] or has["private_key_file_path"])),
        (Flow.CLIENT_CREDENTIALS, key and has["consumer_secret"] and my_domain),
    ]
    for flow, present in complete:
        if present:
            return flow
    raise ConfigurationError(f"No way to log in is complete: {_missing(has)}.", where)


def _missing(has: Mapping[str, Any]) -> str:
    if has["access_token"]:
        return "extra 'access_token' is there, but 'instance_url' (https://<My Domain>.my.salesforce.com) is not"
    if has["refresh_token"]:
        return "extra 'refresh_token' is there, but 'consumer_key' is not"
    if has["consumer_key"] and has["consumer_secret"]:
        return "client credentials need the org's My Domain as 'instance_url' (login and test do not serve them)"
    if has["consumer_key"] and has["username"]:
        return "extra 'consumer_key' is there, but neither 'private_key' nor 'consumer_secret' with a password is"
    if has["username"] and has["password"]:
        return "login and password are there, but none of 'security_token', 'organization_id', 'consumer_key' is"
    return "it has neither login and password, nor 'consumer_key', nor 'access_token'"


def _present(value: Any) -> str | None:
    """A form sends blank fields as empty strings; they mean absent."""
    return value if isinstance(value, str) and value.strip() else None


def _pem(value: str | None) -> str | None:
    """Undo line breaks that were written as backslash and n, as environment variables make people do."""
    return value.replace("\\n", "\n") if value and "\n" not in value.strip() else value


def _version(value: str | None, where: Where) -> str:
    if value is None:
        return DEFAULT_VERSION
    match = re.fullmatch(r"v?(\d{2,3})(\.0)?", value.strip())
    if not match:
        raise ConfigurationError(
            f"Extra 'version' is {value!r}, which is no API version.", where, "Write it like 62.0."
        )
    return f"{match[1]}.0"


def _domain(value: str | None, where: Where) -> str | None:
    if value is None:
        return None
    domain = re.sub(r"^https?://|\.salesforce\.com/?$", "", value.strip())
    if not re.fullmatch(r"[A-Za-z0-9.-]+", domain):
        raise ConfigurationError(
            f"Extra 'domain' is {value!r}, which is no host name.",
            where,
            "Write the part before .salesforce.com: login, test, or your My Domain such as acme.my.",
        )
    return domain


def _instance(url: str | None, host: str | None, where: Where) -> tuple[str | None, str | None]:
    """Return (full URL, bare sub-domain); a bare host name with a dot and ``salesforce.com`` counts as a URL."""
    text = (url or host or "").strip().rstrip("/")
    if not text:
        return None, None
    if "://" not in text:
        if url and not re.search(r"\.salesforce\.com(:\d+)?$", text):
            return None, text
        text = f"https://{text}"
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme != "https" or not parts.hostname or parts.username or port == -1:
        raise ConfigurationError(
            f"Extra 'instance_url' must be an https URL of a host; scheme {parts.scheme!r}, "
            f"host {parts.hostname!r} is not.",
            where,
            "Write it like https://acme.my.salesforce.com.",
        )
    return f"https://{parts.hostname}" + (f":{port}" if port not in (None, 443) else ""), None


def _proxies(value: Any, where: Where) -> Mapping[str, str] | None:
    """The form gives text, a JSON connection gives an object: accept a URL, JSON text, or a mapping."""
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            raise ConfigurationError(
                "Extra 'proxies' is no valid JSON object.",
                where,
                'Write it like {"https": "http://proxy.example:3128"}.',
            ) from None
    if isinstance(value, Mapping):
        proxies = {str(scheme): str(url) for scheme, url in value.items() if _present(url)}
    else:
        text = _present(value)
        proxies = {"http": text, "https": text} if text else {}
    for scheme, url in proxies.items():
        if not _is_proxy(url):
            # The URL may hold a password, and where it ends cannot be told: nothing of it is shown.
            raise ConfigurationError(
                f"Extra 'proxies' has for {scheme!r} what is no URL of a proxy.",
                where,
                "Write it like http://user:password@proxy.example:3128, with %2F for / and %40 for @ in a password.",
            )
    return proxies or None


def _proxy_parts(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"http://{url}")


def _is_proxy(url: str) -> bool:
    try:
        parts = _proxy_parts(url)
        port = parts.port
    except ValueError:
        return False
    usual = parts.scheme in ("http", "https") or re.fullmatch("socks(4a?|5h?)", parts.scheme)
    beyond_the_host = parts.path.strip("/") or parts.query or parts.fragment
    return bool(usual and parts.hostname and not beyond_the_host and port != 0)


def _passwords_of(url: str) -> tuple[str, ...]:
    """Return the password in a proxy's URL, as written and as meant."""
    password = _proxy_parts(url).password
    return (password, unquote(password)) if password else ()
