"""What a login host said: a token, a refusal, or nothing that is a verdict on the credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from airflow_provider_apiusage.salesforce.errors import Complaint, complaint_of

if TYPE_CHECKING:
    from requests import Response

LONGEST_SAID = 300
"""Characters of an answer that are told; a page of an outage is longer than anybody wants to read in a log."""

PASSING_STATUSES = frozenset({420, 429})
PASSING_CODES = frozenset(
    {"server_error", "temporarily_unavailable", "unknown_error"}  # OAuth (RFC 6749, 4.1.2.1, and Salesforce's own)
    | {"SERVER_UNAVAILABLE", "UNKNOWN_EXCEPTION", "REQUEST_RUNNING_TOO_LONG"}  # SOAP
)
"""Codes that say that the host could not look at the credentials."""


def trouble_with(response: Response) -> str | None:
    """Return what keeps a login's answer from being a token or a refusal; ``None`` if it is one of them.

    A refusal is told by its error code. SOAP refuses with status 500, so the status alone tells nothing there; OAuth
    refuses with 4xx.

    :param response: the answer to a login, its body read.
    """
    if response.status_code == 200:
        return None if _has_token(response) else _said(response)
    return None if is_refusal(response) else _said(response)


def is_refusal(response: Response) -> bool:
    """Tell whether an answer refuses the credentials; asking again with the same ones would not help.

    :param response: the answer to a login, its body read.
    """
    complaint = _complaint_of(response)
    if not complaint.code or complaint.code in PASSING_CODES or response.status_code in PASSING_STATUSES:
        return False
    if "rate exceeded" in complaint.message.lower():
        return False  # too many logins of this user within the hour
    return response.status_code != 200 and (response.status_code < 500 or _is_soap(response))


def org_id_of_login(response: Response) -> str | None:
    """Return the 15-character org id that a login's answer tells, or ``None``.

    OAuth has it in ``id`` (``https://login.salesforce.com/id/<org>/<user>``), SOAP in ``organizationId``.

    :param response: the answer to a login, its body read.
    """
    if response.status_code != 200:
        return None
    if _is_soap(response):
        found = re.search(r"organizationId>(00D\w{12}(?:\w{3})?)<", response.text)
    else:
        body = _object_in(response)
        found = re.search(r"/id/(00D\w{12}(?:\w{3})?)/", str((body or {}).get("id")))
    return found[1][:15] if found else None


def _has_token(response: Response) -> bool:
    if _is_soap(response):
        from simple_salesforce.util import getUniqueElementValueFromXmlString

        try:
            told = [getUniqueElementValueFromXmlString(response.content, name) for name in ("sessionId", "serverUrl")]
        except (ExpatError, ValueError, AttributeError, IndexError):
            return False
    else:
        body = _object_in(response) or {}
        told = [body.get("access_token"), body.get("instance_url")]
    return all(isinstance(value, str) and value for value in told)


def _complaint_of(response: Response) -> Complaint:
    """Return code and message of a refusal in the form of its protocol; an answer in another form has none."""
    if _is_soap(response):
        return Complaint() if _json_in(response) is not None else complaint_of(response.text)
    body = _object_in(response)
    if body is None or not isinstance(body.get("error"), str):
        return Complaint()
    return Complaint(body["error"], str(body.get("error_description") or ""))


def _said(response: Response) -> str:
    complaint = complaint_of(response.text)
    said = ": ".join(part for part in (complaint.code, complaint.message) if part)
    kind = response.headers.get("Content-Type") or "no content type"
    return f"{response.status_code} with {said or f'{len(response.content)} bytes of {kind}'}"


def _is_soap(response: Response) -> bool:
    return urlsplit(response.request.url or "").path.startswith("/services/Soap/")


def _object_in(response: Response) -> dict[str, Any] | None:
    body = _json_in(response)
    return body if isinstance(body, dict) else None


def _json_in(response: Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
