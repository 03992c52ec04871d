"""Airflow connections to the sandbox org, one for each way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_apiusage.sandbox.http import MY_DOMAIN
from airflow_provider_apiusage.sandbox.identity import long_id

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

_SOAP_VERSION = "59.0"
_VERSION = "64.0"


def private_key_pem(org: SandboxOrg) -> str:
    """Return the private key for JWT assertions, whose public half the org knows."""
    return org.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def connections(org: SandboxOrg, url: str, proxy_url: str) -> dict[str, dict[str, Any]]:
    """Return Airflow connections (conn_type ``salesforce``) by flow.

    ``access_token``, ``client_credentials``, ``jwt`` and ``refresh_token`` speak to ``instance_url`` directly.
    ``password_soap``, ``password_ip``, ``password_oauth``, ``official_client_credentials`` and ``official_jwt``
    go to salesforce.com names through the ``proxies`` extra, as the official hook and simple-salesforce do.
    Every call makes a new session for ``access_token`` and a new token for ``refresh_token``.
    """
    identity = org.identity
    user, app = identity.client_user, identity.client_app
    consumer = {"consumer_key": identity.consumer_key, "consumer_secret": identity.consumer_secret}
    key = {"consumer_key": identity.consumer_key, "private_key": private_key_pem(org)}
    direct = {"instance_url": url, "version": _VERSION}
    proxied = {"proxies": {"https": proxy_url}}
    my_domain = {"domain": MY_DOMAIN.removesuffix(".salesforce.com"), "version": _VERSION, **proxied}
    soap = {"domain": "login", "version": _SOAP_VERSION, **proxied}
    session = org.sessions.open(user, app, opaque=org.settings.session_id_style == "opaque")
    extras: dict[str, tuple[bool, bool, dict[str, Any]]] = {
        "access_token": (False, False, {**direct, "access_token": session.token}),
        "client_credentials": (False, False, {**direct, **consumer}),
        "jwt": (True, False, {**direct, **key}),
        "refresh_token": (
            False, False, {**direct, **consumer, "refresh_token": org.sessions.refresh_token(user, app)}
        ),
        "password_soap": (True, True, {**soap, "security_token": identity.security_token}),
        "password_ip": (True, True, {**soap, "organization_id": long_id(identity.org_id)}),
        "password_oauth": (True, True, {**my_domain, **consumer}),
        "official_client_credentials": (False, False, {**my_domain, **consumer}),
        "official_jwt": (True, False, {**my_domain, **key}),
    }  # fmt: skip
    return {
        flow: {
            "conn_type": "salesforce",
            **({"login": user.username} if with_login else {}),
            **({"password": identity.password} if with_password else {}),
            "extra": extra,
        }
        for flow, (with_login, with_password, extra) in extras.items()
    }
