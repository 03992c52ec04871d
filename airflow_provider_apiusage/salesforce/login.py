"""Logging in to an org by the flow that the connection chose. The protocol is simple-salesforce's; we add the URLs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_apiusage.salesforce.credentials import Credentials, Flow
from airflow_provider_apiusage.salesforce.errors import (
    ApiUsageError,
    AuthenticationError,
    ConfigurationError,
    UnavailableError,
    Where,
)
from airflow_provider_apiusage.salesforce.login_answer import LONGEST_SAID, trouble_with

if TYPE_CHECKING:
    from requests import Response, Session

Answer = tuple[str | None, str | None]
"""(token, host or URL of the org)"""

Clock = Callable[[], datetime]

LAST_SOAP_LOGIN_VERSION = "64.0"
"""SOAP ``login()`` is gone from API version 65 on; 31 to 64 retire with Summer '27 (help 005132110)."""


def utc_now() -> datetime:
    """Return the current time; callers that are tested pass their own clock instead."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Login:
    """What logging in gives: a token and the org it is for."""

    token: str = field(repr=False)
    instance_url: str


@dataclass(frozen=True)
class _Attempt:
    """Everything that logging in by any flow may need."""

    credentials: Credentials
    session: Session
    where: Where
    renew: bool
    clock: Clock


def log_in(
    credentials: Credentials,
    session: Session,
    where: Where,
    *,
    renew: bool = False,
    clock: Clock = utc_now,
) -> Login:
    """Log in by the chosen flow; costs no call of the allowance (``login()`` and OAuth do not count).

    :param credentials: from :func:`credentials_from`.
    :param session: carries the request: its time-outs, proxies and TLS settings apply.
    :param where: names the connection in errors.
    :param renew: ask for a new token even if the connection holds one.
    :param clock: the current time; a JWT says when it expires.
    :raises AuthenticationError: if the org refuses, or a token has expired and cannot be renewed.
    :raises ConfigurationError: if the private key or a proxy is of no use.
    :raises UnavailableError: if the login host cannot be reached, is down, or answers something that is no login.
    """
    import requests
    from simple_salesforce.exceptions import SalesforceAuthenticationFailed

    try:
        token, host = _FLOWS[credentials.flow](_Attempt(credentials, session, where, renew, clock))
    except ApiUsageError:
        raise
    except SalesforceAuthenticationFailed as refused:
        message = getattr(refused, "auth_message", None) or getattr(refused, "message", "")
        said = _told(f"{refused.code}: {message}", credentials)
        raise AuthenticationError(f"The login by {credentials.flow} was refused: {said}.", where) from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as unfit:
        # Of the org or of a proxy. An unreadable URL is not shown: it may hold a password.
        unreadable = isinstance(unfit, requests.exceptions.InvalidURL)
        said = type(unfit).__name__ if unreadable else _told(str(unfit), credentials)
        raise ConfigurationError(f"No login can be sent: {said}.", where) from None
    except requests.RequestException as broken:
        said = _told(f"{type(broken).__name__}: {broken}", credentials)
        raise UnavailableError(f"No answer to the login by {credentials.flow}: {said}.", where) from None
    except OSError as unfit:  # of TLS: requests itself says nothing of a bundle that is missing
        raise ConfigurationError(f"No login can be sent: {_told(str(unfit), credentials)}.", where) from None
    except Exception as unforeseen:  # its text may hold anything, so it is not shown
        raise UnavailableError(
            f"The answer to the login by {credentials.flow} could not be read: {type(unforeseen).__name__}.", where
        ) from None
    if not token or not host:
        raise AuthenticationError(f"The login by {credentials.flow} gave no token.", where)
    return Login(token, f"https://{host.removeprefix('https://').rstrip('/')}")


def _told(text: str, credentials: Credentials) -> str:
    """Return what may be told of a text: no secret of the connection, and not all of a page."""
    for secret in credentials.secrets:
        text = text.replace(secret, "***")
    return " ".join(text[:LONGEST_SAID].split()).rstrip(".")


class _Door:
    """The session as simple-salesforce sees it: only what it can read as a token or as a refusal gets through.

    It takes every other answer for a refusal, and trips over some.
    """

    def __init__(self, attempt: _Attempt) -> None:
        self._attempt = attempt

    def post(self, url: str, data: Any = None, **options: Any) -> Response:
        """Post as the session does.

        :raises UnavailableError: if the answer is neither a token nor a refusal.
        """
        response = self._attempt.session.post(url, data, **options)
        trouble = trouble_with(response)
        if trouble is not None:
            raise UnavailableError(
                f"The login by {self._attempt.credentials.flow} got no answer that is one: "
                f"{_told(trouble, self._attempt.credentials)}.",
                self._attempt.where,
                "Let the task retry; if it lasts, look at the status page of the org's instance, and check that the "
                "connection names the org's login host and that no proxy answers in its place.",
            )
        return response


def _with_access_token(attempt: _Attempt) -> Answer:
    credentials = attempt.credentials
    if not attempt.renew:
        return credentials.access_token, credentials.instance_url
    if credentials.renewable:
        return _with_refresh_token(attempt)
    raise AuthenticationError(
        "The access token has expired or belongs to another org, and the connection has nothing to get a new one.",
        attempt.where,
        "Put a new 'access_token' into the connection, or one of the flows that log in by themselves.",
    )


def _with_refresh_token(attempt: _Attempt) -> Answer:
    credentials = attempt.credentials
    data = {
        "grant_type": "refresh_token",
        "refresh_token": credentials.refresh_token,
        "client_id": credentials.consumer_key,
    }
    if credentials.consumer_secret:
        data["client_secret"] = credentials.consumer_secret
    return _token_login(attempt, data)


def _with_simple_salesforce(attempt: _Attempt) -> Answer:
    """The flows that simple-salesforce knows; the flow is chosen by what is passed, so pass only what belongs to it."""
    from simple_salesforce.login import SalesforceLogin

    credentials = attempt.credentials

    wanted: dict[Flow, tuple[str, ...]] = {
        Flow.PASSWORD_TOKEN: ("username", "password", "security_token", "client_id"),
        Flow.PASSWORD_ORGANIZATION: ("username", "password", "organization_id", "client_id"),
        Flow.OAUTH_PASSWORD: ("username", "password", "consumer_key", "consumer_secret"),
    }
    arguments: dict[str, Any] = {name: getattr(credentials, name) for name in wanted[credentials.flow]}
    if "organization_id" in arguments:
        arguments["organizationId"] = arguments.pop("organization_id")
    version = min(credentials.version, LAST_SOAP_LOGIN_VERSION, key=float)
    session = cast(Any, _Door(attempt))
    return SalesforceLogin(session=session, domain=credentials.domain, sf_version=version, **arguments)


def _with_jwt(attempt: _Attempt) -> Answer:
    """JWT bearer; the audience is the host that is asked, unless ``domain`` names another."""
    import jwt

    credentials = attempt.credentials

    try:
        key = credentials.private_key or Path(credentials.private_key_file_path or "").read_text()
    except (OSError, ValueError) as unreadable:
        why = getattr(unreadable, "strerror", None) or "it is no text, or the path is none"
        raise ConfigurationError(
            f"The file in 'private_key_file_path' cannot be read: {why}.",
            attempt.where,
            "Name a file that holds the whole key in PEM form, and that Airflow's user may read.",
        ) from None
    audience = f"https://{credentials.domain}.salesforce.com" if credentials.domain else None
    if audience is None:
        audience = credentials.instance_url or "https://login.salesforce.com"
    claims = {
        "iss": credentials.consumer_key,
        "sub": credentials.username,
        "aud": audience,
        "exp": int((attempt.clock() + timedelta(minutes=3)).timestamp()),
    }
    try:
        assertion = jwt.encode(claims, key, algorithm="RS256")
    except (ValueError, TypeError, jwt.PyJWTError):
        raise ConfigurationError(
            "The private key is no RSA key in PEM form.",
            attempt.where,
            "Put the whole PEM text, line breaks included, into 'private_key', or name its file.",
        ) from None
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    return _token_login(attempt, {"grant_type": grant, "assertion": assertion})


def _with_client_credentials(attempt: _Attempt) -> Answer:
    credentials = attempt.credentials
    pair = f"{credentials.consumer_key}:{credentials.consumer_secret}"
    header = f"Basic {b64encode(pair.encode()).decode()}"
    return _token_login(attempt, {"grant_type": "client_credentials"}, headers={"Authorization": header})


def _token_login(
    attempt: _Attempt,
    data: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Answer:
    from simple_salesforce.login import token_login

    credentials = attempt.credentials
    token_host = credentials.instance_url
    if token_host is None:
        domain = credentials.bare_instance_url or credentials.domain or "login"
        token_host = f"https://{domain}.salesforce.com"
    return token_login(
        f"{token_host}/services/oauth2/token",
        dict(data),
        credentials.domain or "login",
        credentials.consumer_key or "",
        dict(headers) if headers else None,
        None,
        cast(Any, _Door(attempt)),
    )


_FLOWS: dict[Flow, Callable[[_Attempt], Answer]] = {
    Flow.ACCESS_TOKEN: _with_access_token,
    Flow.REFRESH_TOKEN: _with_refresh_token,
    Flow.PASSWORD_TOKEN: _with_simple_salesforce,
    Flow.PASSWORD_ORGANIZATION: _with_simple_salesforce,
    Flow.OAUTH_PASSWORD: _with_simple_salesforce,
    Flow.JWT: _with_jwt,
    Flow.CLIENT_CREDENTIALS: _with_client_credentials,
}
