"""One metered session under everything that talks to an org, simple-salesforce and Bulk included.

It adds to ``requests.Session`` what an unattended task needs: time-outs, bounded retries of what may be repeated, one
new login when the token has expired, no redirect that carries the token to another host, our name in
``Sforce-Call-Options``, and a meter below it all.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import PreparedRequest, Response

from airflow_provider_apiusage.salesforce.errors import ConfigurationError, Where, complaint_of
from airflow_provider_apiusage.salesforce.login import utc_now
from airflow_provider_apiusage.salesforce.login_answer import is_refusal, org_id_of_login
from airflow_provider_apiusage.salesforce.metering import Exchange, Meter, MeteredAdapter, is_login, token_in

CLIENT_NAME = "airflow-provider-apiusage"
"""Shown as CLIENT_NAME in the event logs, so that what we spend can be told from what others spend."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
TRANSIENT = frozenset({420, 500, 502, 503, 504})
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_REPORT = re.compile(r"/services/data/v\d+\.\d/analytics/reports/00O\w+/?")
LONGEST_WAIT = 60.0
"""Seconds; an org that asks for a longer pause is reported as unavailable instead of blocking a worker."""


class MeteredSession(requests.Session):
    """A ``requests.Session`` for one org.

    :param where: names connection and org in errors.
    :param timeout: connect and read time-outs in seconds, where a caller gives none (simple-salesforce never does).
    :param retries: how many times an idempotent request is repeated after 5xx, 420 or a broken connection. Running a
        report is none.
    :param client_name: goes into ``Sforce-Call-Options``.
    :param listener: called with every exchange.
    :param on_close: called by :meth:`close`.
    :param clock: our clock.
    :param sleep: how to pause between retries, in seconds.

    ``org_id`` is the org's 15-character id as the last login through this session told it, or ``None``.
    """

    def __init__(
        self,
        where: Where,
        *,
        timeout: tuple[float, float] = (10.0, 60.0),
        retries: int = 3,
        client_name: str = CLIENT_NAME,
        listener: Callable[[Exchange], None] | None = None,
        on_close: Callable[[], object] | None = None,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self.where = where
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._sleep = sleep
        self._meter = Meter(clock, listener)
        self._on_close = on_close
        self._renew_lock = threading.Lock()
        self._renew: Callable[[], str] | None = None
        self._token: str | None = None
        self._stale_tokens: set[str] = set()
        self.org_id: str | None = None
        self.headers["Sforce-Call-Options"] = f"client={client_name}"
        # Otherwise requests looks for a user of the host in ~/.netrc, and puts that in the place of our token.
        self.auth = lambda request: request
        self.mount("https://", MeteredAdapter(self._meter))
        self.mount("http://", MeteredAdapter(self._meter))

    @property
    def calls(self) -> int:
        """API calls sent through this session, retries and failures included."""
        return self._meter.calls

    def now(self) -> datetime:
        """Our clock."""
        return self._clock()

    def close(self) -> None:
        """Close the connections; the session can be used again afterwards."""
        super().close()
        if self._on_close is not None:
            self._on_close()

    def pause(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)

    def adopt(self, session: requests.Session) -> None:
        """Take over the transport settings of a user's own session: proxies, TLS, headers."""
        self.proxies = dict(session.proxies)
        self.verify, self.cert, self.trust_env = session.verify, session.cert, session.trust_env
        for name, value in session.headers.items():
            self.headers.setdefault(name, value)

    def authorize(self, token: str, renew: Callable[[], str] | None) -> None:
        """Say which token is in use and how to get the next one.

        :param token: the token that callers put into their requests.
        :param renew: logs in again and returns a new token; ``None`` if that cannot be done.
        """
        self._token, self._renew = token, renew

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send with time-outs, retries and at most one new login.

        :raises ConfigurationError: if the org redirects to another host.
        """
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        self._put_current_token(request)
        response = self._send_with_retries(request, kwargs)
        if is_login(request):
            self.org_id = org_id_of_login(response) or self.org_id
        if response.status_code == 401 and self._token_was_refused(request, response):
            if not _rewound(request):
                return response  # the caller can make the body anew; ours would be empty
            response.close()
            self._put_current_token(request)
            response = self._send_with_retries(request, kwargs)
        return response

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """Leave the token as it is: redirects stay within the host, and ~/.netrc has no say."""

    def get_redirect_target(self, resp: Response) -> str | None:
        """Follow redirects within the org's host only: headers such as ``X-SFDC-Session`` would go along."""
        target = super().get_redirect_target(resp)
        if target:
            asked, told = urlsplit(resp.url), urlsplit(target)
            if told.netloc and (told.scheme, told.netloc) != (asked.scheme, asked.netloc):
                raise ConfigurationError(
                    f"{asked.netloc} redirects to {told.scheme}://{told.netloc}; the token was not sent there.",
                    self.where,
                    "If that is the org's new My Domain, put it into 'instance_url' (or 'domain').",
                )
        return target

    def _send_with_retries(self, request: PreparedRequest, kwargs: dict[str, Any]) -> Response:
        method = (request.method or "").upper()
        may_repeat = (method in IDEMPOTENT and not _runs_a_report(request)) or is_login(request)
        for attempt in range(self._retries + 1):
            last = attempt == self._retries or not may_repeat
            try:
                response = super().send(request, **kwargs)
            except BROKEN:
                if last:
                    raise
                self._sleep(_back_off(attempt))
                continue
            if last or response.status_code not in TRANSIENT:
                return response
            if is_login(request) and is_refusal(response):
                return response  # SOAP refuses with status 500; going on with a wrong password locks the user out
            pause = retry_after(response, self._clock())
            if pause is not None and pause > LONGEST_WAIT:
                return response
            response.close()
            self._sleep(_back_off(attempt) if pause is None else pause)
        raise AssertionError("unreachable")

    def _token_was_refused(self, request: PreparedRequest, response: Response) -> bool:
        """Whether the org refused our token as expired and a new one is at hand now."""
        token = token_in(request)
        if token is None or self._renew is None:
            return False
        if complaint_of(response.text).code not in ("INVALID_SESSION_ID", "InvalidSessionId"):
            return False
        with self._renew_lock:
            if token == self._token:
                self._stale_tokens.add(token)
                self._token = self._renew()
        return self._token != token

    def _put_current_token(self, request: PreparedRequest) -> None:
        """Swap a token that has been renewed meanwhile; handlers made earlier keep the old one in their headers."""
        if token_in(request) not in self._stale_tokens or self._token is None:
            return
        if "Authorization" in request.headers:
            request.headers["Authorization"] = f"Bearer {self._token}"
        if "X-SFDC-Session" in request.headers:
            request.headers["X-SFDC-Session"] = self._token


def _rewound(request: PreparedRequest) -> bool:
    """Make a request's body ready to be sent again; tell whether that can be done."""
    if request.body is None or isinstance(request.body, str | bytes):
        return True
    try:
        requests.utils.rewind_body(request)
    except requests.exceptions.UnrewindableBodyError:
        return False
    return True


def _runs_a_report(request: PreparedRequest) -> bool:
    """Tell whether a request runs a report at once: a GET, but one that may take the org two minutes each time."""
    return _REPORT.fullmatch(urlsplit(request.url or "").path) is not None


def _back_off(attempt: int) -> float:
    """Half a second doubled each time, with jitter of the same size, so that tasks do not come back in step."""
    base: float = 0.5 * 2**attempt
    return base + random.uniform(0, base)  # noqa: S311 - spreading load, not keeping a secret


def retry_after(response: Response, now: datetime) -> float | None:
    """Return the pause that ``Retry-After`` asks for in seconds (0 or more), or ``None`` if it asks for none.

    :param response: an answer; the header holds seconds or an HTTP date (RFC 9110, 10.2.3).
    :param now: our clock.
    """
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
