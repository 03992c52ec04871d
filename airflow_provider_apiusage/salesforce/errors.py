"""What an org's answer means: a few kinds of error, chosen by error code and message, never by status alone.

Salesforce answers ``403 REQUEST_LIMIT_EXCEEDED`` both when the day's allowance is gone and when too many long calls
run at once; only the message tells them apart (REST API guide, status codes; App Limits cheat sheet).

None of these derives from ``AirflowException``: a sensor's ``soft_fail`` must not turn a broken credential into a
skipped task.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Where:
    """Whom an error is about: shown in its message, so nothing in here may be secret.

    :param connection: the Airflow connection id, or whatever names the credentials.
    :param org: the org's host or id, as far as known.
    """

    connection: str
    org: str = "org not known yet"

    def __str__(self) -> str:
        return f"connection {self.connection!r} ({self.org})"


class ApiUsageError(Exception):
    """Base of everything that can go wrong between us and an org.

    :param what: what happened, one sentence.
    :param where: connection and org.
    :param fix: what the reader can do about it; the class has a default.

    Where an answer caused it, ``observed_at`` (the org's clock), ``received_at`` (ours) and ``limit_info`` (the raw
    ``Sforce-Limit-Info``) are kept: an exhausted allowance is a reading too.
    """

    kind: ClassVar[str] = "error"
    fix: ClassVar[str] = "See the message above."

    def __init__(self, what: str, where: Where, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.observed_at: datetime | None = None
        self.received_at: datetime | None = None
        self.limit_info: str | None = None
        self.advice = fix or self.fix
        super().__init__(f"{what} [{where}] What to do: {self.advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.where, self.advice)


class ConfigurationError(ApiUsageError):
    """The connection or an argument is missing or contradicts itself; asking again cannot help."""

    kind = "configuration"
    fix = "Correct the connection named above."


class AuthenticationError(ApiUsageError):
    """The org does not accept the credentials."""

    kind = "authentication"
    fix = "Check user, password, token or key of the connection, and the connected app's policies in the org."


class PermissionDeniedError(ApiUsageError):
    """The user is known but may not do this."""

    kind = "permission"
    fix = (
        "Give the connection's user the permissions 'API Enabled' and 'View Setup and Configuration' "
        "(for a report, access to the report as well)."
    )


class AllowanceExhaustedError(ApiUsageError):
    """The org's allowance of API calls (or Bulk batches) for 24 hours is used up: wait, do not retry."""

    kind = "allowance-exhausted"
    fix = (
        "Wait until calls of the last 24 hours have left the window; see who spends them in Setup > System "
        "Overview or in a reconciliation."
    )


class ConcurrencyLimitError(ApiUsageError):
    """Too many long-running calls at once (25 of 20 s or more in production); passes in seconds or minutes."""

    kind = "concurrency-limit"
    fix = "Let the task retry in a few minutes, or run fewer long calls at the same time."


class UnavailableError(ApiUsageError):
    """No usable answer: time-out, broken connection, 5xx, maintenance."""

    kind = "unavailable"
    fix = "Let the task retry; if it lasts, look at the status page of the org's instance and at your network."


class MalformedAnswerError(ApiUsageError):
    """An answer that is not what the documentation promises, such as HTML where JSON was asked for."""

    kind = "malformed-answer"
    fix = "Check that instance_url names the org's My Domain and that no proxy answers in its place."


class NotFoundError(ApiUsageError):
    """The org does not have what was asked for."""

    kind = "not-found"
    fix = "Check the id or name, and the API version of the connection."


CONCURRENCY_MESSAGES = re.compile(r"Concurrent", re.IGNORECASE)

_KIND_BY_CODE: dict[str, type[ApiUsageError]] = {
    "INVALID_SESSION_ID": AuthenticationError,
    "InvalidSessionId": AuthenticationError,
    "INVALID_AUTH_HEADER": AuthenticationError,
    "INVALID_LOGIN": AuthenticationError,
    "INSUFFICIENT_ACCESS": PermissionDeniedError,
    "INSUFFICIENT_ACCESS_OR_READONLY": PermissionDeniedError,
    "FORBIDDEN": PermissionDeniedError,
    "API_DISABLED_FOR_ORG": PermissionDeniedError,
    "API_CURRENTLY_DISABLED": PermissionDeniedError,
    "FeatureNotEnabled": PermissionDeniedError,
    "ExceededQuota": AllowanceExhaustedError,
    "NOT_FOUND": NotFoundError,
    "INVALID_TYPE": NotFoundError,
    "SERVER_UNAVAILABLE": UnavailableError,
    "UNSUPPORTED_API_VERSION": ConfigurationError,
    "InvalidVersion": ConfigurationError,
}

_EXPIRED = (
    "The token has expired or belongs to another org: put a new 'access_token' into the connection, or the fields of a "
    "flow that logs in by itself (docs/connections.md)."
)
_ADVICE_BY_CODE = {"INVALID_SESSION_ID": _EXPIRED, "InvalidSessionId": _EXPIRED}

_KIND_BY_STATUS: dict[int, type[ApiUsageError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    410: ConfigurationError,
    420: UnavailableError,
    429: ConcurrencyLimitError,
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """The error code and message an org put into the body of a refusal; empty strings if it gave none."""

    code: str = ""
    message: str = ""


def complaint_of(body: str) -> Complaint:
    """Read the error code and message out of a body: REST list, Bulk 1.0 object, OAuth object, or SOAP/Bulk XML.

    :param body: the text of the answer; anything unreadable gives an empty complaint.
    """
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        code = re.search(r"exceptionCode>([^<]+)<", body)
        message = re.search(r"exceptionMessage>([^<]*)<", body)
        return Complaint(code[1] if code else "", message[1] if message else "")
    if isinstance(parsed, list):
        parsed = parsed[0] if parsed else {}
    if not isinstance(parsed, dict):
        return Complaint()
    code_value = parsed.get("errorCode") or parsed.get("exceptionCode") or parsed.get("error") or ""
    message_value = parsed.get("message") or parsed.get("exceptionMessage") or parsed.get("error_description") or ""
    return Complaint(str(code_value), str(message_value))


def kind_of(status: int, complaint: Complaint) -> type[ApiUsageError]:
    """Choose the kind of error by error code and message, and by the status only where the org gave no code.

    :param status: the HTTP status, 300 or more.
    :param complaint: what :func:`complaint_of` found in the body.
    """
    if complaint.code in ("REQUEST_LIMIT_EXCEEDED", "ExceededQuota"):
        # The allowance is the safe reading of a message nobody has seen yet: it is waited for, not retried.
        return ConcurrencyLimitError if CONCURRENCY_MESSAGES.search(complaint.message) else AllowanceExhaustedError
    if complaint.code in _KIND_BY_CODE:
        return _KIND_BY_CODE[complaint.code]
    if status >= 500:
        return UnavailableError
    return _KIND_BY_STATUS.get(status, MalformedAnswerError)


def error_from(status: int, body: str, where: Where, *, doing: str) -> ApiUsageError:
    """Turn a refusal into the error to raise.

    :param status: the HTTP status.
    :param body: the text of the answer.
    :param where: connection and org, for the message.
    :param doing: what we were doing, e.g. ``"reading /limits"``.
    """
    complaint = complaint_of(body)
    said = ": ".join(part for part in (complaint.code, complaint.message) if part) or "no explanation"
    kind = kind_of(status, complaint)
    said = said.rstrip(".")
    return kind(f"The org answered {status} while {doing}: {said}.", where, _ADVICE_BY_CODE.get(complaint.code))
