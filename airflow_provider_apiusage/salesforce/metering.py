"""What one HTTP exchange with an org tells: whether it was an API call, what the org's clock said, what is used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from airflow_provider_apiusage.salesforce.errors import complaint_of

LIMIT_INFO = "Sforce-Limit-Info"


def counts_against_allowance(request: PreparedRequest) -> bool:
    """Tell whether a request is one that Salesforce counts.

    Not counted: the list of API versions (``/services/data/``) and logging in (REST API guide, Sforce-Limit-Info;
    App Limits cheat sheet). Everything else under ``/services`` is taken as one call, whatever its outcome.

    :param request: as it goes over the wire.
    """
    path = urlsplit(request.url or "").path
    if not path.startswith("/services/") or path.rstrip("/") == "/services/data":
        return False
    return not is_login(request)


def is_login(request: PreparedRequest) -> bool:
    """Tell whether a request asks for a token: OAuth, or SOAP ``login()``.

    :param request: as it goes over the wire.
    """
    path = urlsplit(request.url or "").path
    soap_action = str(request.headers.get("SOAPAction", "")).strip('"')
    return path.startswith("/services/oauth2/") or (
        path.startswith(("/services/Soap/u/", "/services/Soap/c/")) and soap_action == "login"
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, without any body.

    :param observed_at: the org's clock, from the ``Date`` header; our own where the answer has none.
    :param received_at: our clock when the answer arrived.
    :param dated: whether the answer had a ``Date``.
    :param limit_info: the raw ``Sforce-Limit-Info``, or ``None``.
    :param org_id: the 15-character id of the org that the request's token names; ``None`` where it names none.
    :param exhausted: whether the org refused because its allowance is used up; a streamed body is not looked into.
    """

    method: str
    host: str
    path: str
    status: int
    counted: bool
    observed_at: datetime
    received_at: datetime
    dated: bool
    limit_info: str | None
    org_id: str | None = None
    exhausted: bool = False

    @property
    def skew(self) -> timedelta:
        """The org's clock minus ours."""
        return self.observed_at - self.received_at


class Meter:
    """Counts the API calls of one session and hands every exchange on; safe to share between threads.

    :param listener: called after each exchange, in the thread that made it.
    :param clock: our clock.
    """

    def __init__(self, clock: Callable[[], datetime], listener: Callable[[Exchange], None] | None) -> None:
        self._clock = clock
        self._listener = listener
        self._lock = threading.Lock()
        self._calls = 0

    @property
    def calls(self) -> int:
        """API calls made so far, retries and failures included."""
        return self._calls

    def sent(self, request: PreparedRequest) -> bool:
        """Count a request that is about to leave; return whether it is an API call."""
        counted = counts_against_allowance(request)
        if counted:
            with self._lock:
                self._calls += 1
        return counted

    def answered(self, response: Response, counted: bool, *, streamed: bool = False) -> None:
        """Pass on what the answer told.

        :param streamed: whether the caller wants the body unread; of others it is read now instead of in a moment.
        """
        if self._listener is None:
            return
        received_at = self._clock()
        said = date_of(response)
        parts = urlsplit(response.request.url or "")
        token = token_in(response.request)
        exhausted = False
        try:
            exhausted = not streamed and is_exhausted(response)
        finally:
            self._listener(
                Exchange(
                    method=response.request.method or "",
                    host=parts.netloc,
                    path=parts.path,
                    status=response.status_code,
                    counted=counted,
                    observed_at=said or received_at,
                    received_at=received_at,
                    dated=said is not None,
                    limit_info=response.headers.get(LIMIT_INFO),
                    org_id=None if token is None else org_id_in(token),
                    exhausted=exhausted,
                )
            )


def is_exhausted(response: Response) -> bool:
    """Tell whether the org says that its allowance of API calls is used up; reads the body of a refusal.

    The code alone does not tell: it stands for too many long calls at once as well, and ``ExceededQuota`` is about
    Bulk batches. The status is 403 by the REST API guide; Bulk 1.0 and SOAP have their own, so it is not asked.

    :raises requests.RequestException: if the body breaks off.
    """
    if response.status_code < 400 or b"REQUEST_LIMIT_EXCEEDED" not in response.content:
        return False
    complaint = complaint_of(response.content.decode("utf-8", "replace"))
    return complaint.code == "REQUEST_LIMIT_EXCEEDED" and "TotalRequests" in complaint.message


def token_in(request: PreparedRequest) -> str | None:
    """Return the access token of a request, or ``None`` if its headers hold none."""
    bearer = str(request.headers.get("Authorization") or "")
    if bearer.startswith("Bearer "):
        return bearer.removeprefix("Bearer ")
    session_id = request.headers.get("X-SFDC-Session")
    return str(session_id) if session_id else None


def org_id_in(token: str) -> str | None:
    """Return the 15-character org id that a session id starts with (``00D...!...``), or ``None`` for other tokens."""
    head, mark, _ = token.partition("!")
    return head[:15] if mark and head.startswith("00D") and len(head) in (15, 18) else None


def date_of(response: Response) -> datetime | None:
    """Return the instant in the ``Date`` header as aware UTC, or ``None`` if it is absent or unreadable."""
    try:
        said = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError, TypeError):
        return None
    return said.astimezone(UTC) if said.tzinfo else said.replace(tzinfo=UTC)


class MeteredAdapter(HTTPAdapter):
    """The transport below retries and redirects, so that each exchange on the wire is seen once."""

    def __init__(self, meter: Meter, **kwargs: object) -> None:
        self._meter = meter
        super().__init__(**kwargs)  # type: ignore[arg-type]

    def send(self, request: PreparedRequest, stream: bool = False, *args: object, **kwargs: object) -> Response:
        """Send, count and look at the answer whatever its status."""
        counted = self._meter.sent(request)
        response = super().send(request, stream, *args, **kwargs)  # type: ignore[arg-type]
        self._meter.answered(response, counted, streamed=stream)
        return response
