"""Ways in: OAuth token requests and the SOAP login call.

Error bodies as in Salesforce's OAuth guide (``{"error", "error_description"}``) and SOAP API guide (faults with
``sf:exceptionCode``). None of these calls counts against the allocation (REST API guide, API request limits).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus
from xml.sax.saxutils import escape, unescape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from airflow_provider_apiusage.sandbox.http import MY_DOMAIN, Answer, Request
from airflow_provider_apiusage.sandbox.identity import NO_APP, ConnectedApp, Session, User, long_id

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

#: The org whose id begins tokens while the fault ``wrong_org`` is on.
OTHER_ORG_ID = "00DSB0000000666"
_GENERIC_HOSTS = ("login.salesforce.com", "test.salesforce.com")
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class _Refused(Exception):
    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.answer = Answer.of({"error": error, "error_description": description}, status)


def token(org: SandboxOrg, request: Request, *, wrong_org: bool = False) -> Answer:
    """Answer ``POST /services/oauth2/token``."""
    fields = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))
    grants: dict[str, Callable[[SandboxOrg, Request, Mapping[str, str]], tuple[User, ConnectedApp]]] = {
        "password": _password,
        "client_credentials": _client_credentials,
        _JWT_GRANT: _jwt_bearer,
        "refresh_token": _refresh_token,
    }
    try:
        grant = grants.get(fields.get("grant_type", ""))
        if grant is None:
            raise _Refused("unsupported_grant_type", "grant type not supported")
        user, app = grant(org, request, fields)
    except _Refused as refused:
        return refused.answer
    session = _open(org, user, app, wrong_org)
    return Answer.of(
        {
            "access_token": session.token,
            "instance_url": request.origin,
            "id": f"{request.origin}/id/{long_id(org.identity.org_id)}/{long_id(user.id)}",
            "token_type": "Bearer",
            "issued_at": str(int(org.now().timestamp() * 1000)),
            "signature": base64.b64encode(session.token[-32:].encode()).decode(),
            "scope": "api refresh_token",
        },
        Cache_Control="no-cache, no-store",
    )


def _open(org: SandboxOrg, user: User, app: ConnectedApp, wrong_org: bool) -> Session:
    return org.sessions.open(
        user,
        app,
        opaque=org.settings.session_id_style == "opaque",
        org_id=OTHER_ORG_ID if wrong_org else None,
    )


def _client(org: SandboxOrg, request: Request, fields: Mapping[str, str]) -> ConnectedApp:
    key, secret = fields.get("client_id", ""), fields.get("client_secret", "")
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _Refused("invalid_client", "invalid client credentials", 401) from None
        key, secret = unquote_plus(key), unquote_plus(secret)
    app = org.identity.client_app
    if key != app.consumer_key:
        raise _Refused("invalid_client_id", "client identifier invalid")
    if secret != app.consumer_secret:
        raise _Refused("invalid_client", "invalid client credentials")
    return app


def _password(org: SandboxOrg, request: Request, fields: Mapping[str, str]) -> tuple[User, ConnectedApp]:
    app = _client(org, request, fields)
    user = org.identity.user(fields.get("username", ""))
    accepted = (org.identity.password, org.identity.password + org.identity.security_token)
    if user is None or fields.get("password") not in accepted or not org.settings.password_flow_enabled:
        raise _Refused("invalid_grant", "authentication failure")
    return user, app


def _client_credentials(org: SandboxOrg, request: Request, fields: Mapping[str, str]) -> tuple[User, ConnectedApp]:
    if request.host.partition(":")[0] in _GENERIC_HOSTS:
        raise _Refused("invalid_grant", "request not supported on this domain")
    return org.identity.client_user, _client(org, request, fields)


def _refresh_token(org: SandboxOrg, request: Request, fields: Mapping[str, str]) -> tuple[User, ConnectedApp]:
    app = org.identity.client_app
    if fields.get("client_id") not in (app.consumer_key, org.command_line_client_id) and not request.headers.get(
        "authorization"
    ):
        raise _Refused("invalid_client_id", "client identifier invalid")
    if "client_secret" in fields or "authorization" in request.headers:
        _client(org, request, fields)
    known = org.sessions.of_refresh_token(fields.get("refresh_token", ""))
    if known is None:
        raise _Refused("invalid_grant", "expired access/refresh token")
    return known.user, known.app


def _jwt_bearer(org: SandboxOrg, request: Request, fields: Mapping[str, str]) -> tuple[User, ConnectedApp]:
    """Check the assertion; ``exp`` against the machine's clock, since clients sign by their own."""
    try:
        signed, _, signature = fields.get("assertion", "").rpartition(".")
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        if header.get("alg") != "RS256":
            raise _Refused("invalid_grant", "algorithm not supported")
        org.public_key.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), SHA256())
    except (ValueError, AttributeError):
        raise _Refused("invalid_grant", "invalid assertion") from None
    except InvalidSignature:
        raise _Refused("invalid_grant", "invalid assertion signature") from None
    audiences = {
        f"https://{host}" for host in (*_GENERIC_HOSTS, MY_DOMAIN, request.host, request.host.partition(":")[0])
    }
    if claims.get("iss") != org.identity.consumer_key:
        raise _Refused("invalid_client_id", "client identifier invalid")
    if str(claims.get("aud", "")).rstrip("/") not in audiences:
        raise _Refused("invalid_grant", "audience is invalid")
    try:
        expiry = float(claims.get("exp", 0))
    except (TypeError, ValueError):
        expiry = 0.0
    if not time.time() - 60 < expiry < time.time() + 3_600:
        raise _Refused("invalid_grant", "expired authorization code")
    user = org.identity.user(str(claims.get("sub", "")))
    if user is None:
        raise _Refused("invalid_grant", "user hasn't approved this consumer")
    return user, org.identity.client_app


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def user_info(org: SandboxOrg, request: Request, session: Session) -> Answer:
    """Answer ``/services/oauth2/userinfo``."""
    user, org_id = session.user, long_id(org.identity.org_id)
    return Answer.of(
        {
            "sub": f"{request.origin}/id/{org_id}/{long_id(user.id)}",
            "user_id": long_id(user.id),
            "organization_id": org_id,
            "preferred_username": user.username,
            "nickname": user.name,
            "name": user.name,
            "email": user.username,
            "email_verified": True,
            "zoneinfo": "GMT",
            "language": "en_US",
            "locale": "en_US",
            "urls": {
                "rest": f"{request.origin}/services/data/v{{version}}/",
                "custom_domain": request.origin,
            },
            "active": True,
            "user_type": "STANDARD",
            "is_app_installed": True,
        }
    )


def soap(org: SandboxOrg, request: Request, version: int, *, wrong_org: bool = False) -> Answer:
    """Answer ``POST /services/Soap/u/<version>`` (and ``/c/``), of which only ``login`` is here."""
    text = request.body.decode(errors="replace")
    if not re.search(r"<(?:\w+:)?login[\s>]", text):
        return _soap_fault("UNKNOWN_EXCEPTION", "UNKNOWN_EXCEPTION: the sandbox org knows only login()")
    if version >= org.settings.oldest_soap_login_refused:
        return _soap_fault(
            "UNSUPPORTED_API_VERSION",
            f"UNSUPPORTED_API_VERSION: login() is not available in API version {version}.0",
        )
    user = org.identity.user(_element(text, "username"))
    password = _element(text, "password")
    wanted = org.identity.password + org.identity.security_token
    organization = _element(text, "organizationId")
    if organization:
        wanted = org.identity.password
        if organization[:15] != org.identity.org_id:
            user = None
    if user is None or password != wanted:
        return _soap_fault(
            "INVALID_LOGIN",
            "INVALID_LOGIN: Invalid username, password, security token; or user locked out.",
        )
    session = _open(org, user, NO_APP, wrong_org)
    org_id = long_id(org.identity.org_id)
    server = f"{request.origin}/services/Soap/u/{version}.0/{org_id}"
    details: dict[str, Any] = {
        "accessibilityMode": "false", "organizationId": org_id, "organizationName": org.identity.org_name,
        "userEmail": user.username, "userFullName": user.name, "userId": long_id(user.id),
        "userLanguage": "en_US", "userLocale": "en_US", "userName": user.username, "userTimeZone": "GMT",
    }  # fmt: skip
    info = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in details.items())
    return _envelope(
        '<loginResponse xmlns="urn:partner.soap.sforce.com"><result>'
        f"<metadataServerUrl>{server.replace('/u/', '/m/')}</metadataServerUrl>"
        "<passwordExpired>false</passwordExpired><sandbox>true</sandbox>"
        f"<serverUrl>{server}</serverUrl><sessionId>{session.token}</sessionId>"
        f"<userId>{long_id(user.id)}</userId><userInfo>{info}</userInfo></result></loginResponse>"
    )


def _element(text: str, name: str) -> str:
    found = re.search(rf"<(?:\w+:)?{name}>(.*?)</(?:\w+:)?{name}>", text, re.DOTALL)
    return unescape(found[1], {"&quot;": '"', "&#x27;": "'", "&#39;": "'"}) if found else ""


def _soap_fault(code: str, message: str) -> Answer:
    return _envelope(
        f"<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{escape(message)}</faultstring><detail>"
        '<sf:LoginFault xsi:type="sf:LoginFault">'
        f"<sf:exceptionCode>{code}</sf:exceptionCode>"
        f"<sf:exceptionMessage>{escape(message.partition(': ')[2] or message)}</sf:exceptionMessage>"
        "</sf:LoginFault></detail></soapenv:Fault>",
        500,
    )


def _envelope(body: str, status: int = 200) -> Answer:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:sf="urn:fault.partner.soap.sforce.com"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    )
    return Answer(status, text.encode(), "text/xml;charset=UTF-8")
