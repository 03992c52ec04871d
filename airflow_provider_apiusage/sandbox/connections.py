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

FLOWS = {
    "access_token": (False, False),
    "client_credentials": (False, False),
    "jwt": (True, False),
    "refresh_token": (False, False),
    "password_soap": (True, True),
    "password_ip": (True, True),
    "password_oauth": (True, True),
    "official_client_credentials": (False, False),
    "official_jwt": (True, False),
}
"""Ways to log in, and whether their connections have a login and a password."""


def private_key_pem(org: SandboxOrg) -> str:
    """Return the private key for JWT assertions, whose public half the org knows."""
    return org.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def connection(org: SandboxOrg, url: str, proxy_url: str, flow: str) -> dict[str, Any]:
    """Return an Airflow connection (conn_type ``salesforce``) of one of :data:`FLOWS`.

    ``access_token``, ``client_credentials``, ``jwt`` and ``refresh_token`` speak to ``instance_url`` directly.
    ``password_soap``, ``password_ip``, ``password_oauth``, ``official_client_credentials`` and ``official_jwt``
    go to salesforce.com names through the ``proxies`` extra, as the official hook and simple-salesforce do.
    Every call makes a new session for ``access_token`` and a new token for ``refresh_token``.

    :raises KeyError: if there is no such flow.
    """
    with_login, with_password = FLOWS[flow]
    identity = org.identity
    user = identity.client_user
    return {
        "conn_type": "salesforce",
        **({"login": user.username} if with_login else {}),
        **({"password": identity.password} if with_password else {}),
        "extra": {**_place(flow, url, proxy_url), **_credentials(org, flow)},
    }


def _place(flow: str, url: str, proxy_url: str) -> dict[str, Any]:
    if flow in ("access_token", "client_credentials", "jwt", "refresh_token"):
        return {"instance_url": url, "version": _VERSION}
    proxied = {"proxies": {"https": proxy_url}}
    if flow in ("password_soap", "password_ip"):
        return {"domain": "login", "version": _SOAP_VERSION, **proxied}
    return {"domain": MY_DOMAIN.removesuffix(".salesforce.com"), "version": _VERSION, **proxied}


def _credentials(org: SandboxOrg, flow: str) -> dict[str, Any]:
    identity = org.identity
    user, app = identity.client_user, identity.client_app
    consumer = {"consumer_key": identity.consumer_key, "consumer_secret": identity.consumer_secret}
    match flow:
        case "access_token":
            opaque = org.settings.session_id_style == "opaque"
            return {"access_token": org.sessions.open(user, app, opaque=opaque).token}
        case "refresh_token":
            return {**consumer, "refresh_token": org.sessions.refresh_token(user, app)}
        case "jwt" | "official_jwt":
            return {"consumer_key": identity.consumer_key, "private_key": private_key_pem(org)}
        case "password_soap":
            return {"security_token": identity.security_token}
        case "password_ip":
            return {"organization_id": long_id(identity.org_id)}
        case _:
            return consumer
