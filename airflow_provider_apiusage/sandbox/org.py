"""The sandbox org: state, and the way of one request through it. No sockets here."""

from __future__ import annotations

import itertools
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_apiusage.sandbox import authentication, rest, usage_report
from airflow_provider_apiusage.sandbox.accounting import Accounting
from airflow_provider_apiusage.sandbox.bulk import BulkError, Jobs
from airflow_provider_apiusage.sandbox.clock import VirtualClock
from airflow_provider_apiusage.sandbox.faults import Fault, Faults
from airflow_provider_apiusage.sandbox.http import Answer, ApiError, Call, Request
from airflow_provider_apiusage.sandbox.identity import Identity, Session, Sessions
from airflow_provider_apiusage.sandbox.ledger import Caller
from airflow_provider_apiusage.sandbox.limits import limit_header
from airflow_provider_apiusage.sandbox.records import Records
from airflow_provider_apiusage.sandbox.routes import Route, find_route
from airflow_provider_apiusage.sandbox.settings import OrgSettings

_EXHAUSTED = ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: the answer, and the faults that the server has yet to act out."""

    answer: Answer
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the request log keeps of a request; never a token."""

    at: datetime
    method: str
    path: str
    status: int
    client: str
    user: str
    counted: int
    faults: tuple[str, ...] = field(default=())


class SandboxOrg(Accounting):
    """A Salesforce org that counts truly. Every method is thread-safe.

    :param seed: makes the traffic of others; the same seed and start give the same calls.
    :param start: first instant of the org's clock; now (to the second) if left out.
    :param speed: virtual seconds per real second: 0 stands still until advanced, 1 is real speed.
    :param settings: all settings at once; ``changes`` are applied on top.
    :param changes: settings by name, see ``OrgSettings``.
    :raises ValueError: if a setting is unknown or does not fit.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        start: datetime | None = None,
        speed: float = 0.0,
        settings: OrgSettings | None = None,
        identity: Identity | None = None,
        **changes: Any,
    ) -> None:
        clock = VirtualClock(start or datetime.now(UTC).replace(microsecond=0), speed)
        super().__init__(seed, clock, (settings or OrgSettings()).changed(changes), identity or Identity())
        self.sessions = Sessions(self.identity.org_id)
        self.records = Records()
        self.jobs = Jobs()
        self.faults = Faults()
        self.cursors: dict[str, list[dict[str, Any]]] = {}
        self.log_file_lengths: dict[tuple[Any, ...], int] = {}
        self.vanished_log_files: set[tuple[str, datetime]] = set()
        self.report_instances: dict[str, usage_report.Instance] = {}
        self.refused = 0
        self.by_route: Counter[str] = Counter()
        self.requests: deque[_Entry] = deque(maxlen=10_000)
        self.command_line_client_id = "PlatformCLI"
        self._numbers = itertools.count(1)

    @cached_property
    def private_key(self) -> rsa.RSAPrivateKey:
        """The key that a client signs with, made when it is first asked for: that takes longer than all the rest."""
        return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        """What the org checks signatures with."""
        return self.private_key.public_key()

    @classmethod
    def seed_example(cls, **changes: Any) -> SandboxOrg:
        """Return the org of the "API call limits and Reporting" article: Wednesday, 14:30 UTC, clock standing still.

        Rolling usage is exactly 25,000. All calls are SOAP: 15,000 on Wednesday so far, 20,000 on Tuesday, of
        which 10,000 are inside the window. The limit is 100,000 and nobody else makes calls.
        """
        org = cls(**{"start": datetime(2026, 10, 7, 14, 30, tzinfo=UTC), "limit": 100_000, **changes})
        midnight = datetime(2026, 10, 7, tzinfo=UTC)
        edge = midnight - timedelta(hours=9, minutes=30)
        org.spread(15_000, midnight, midnight + timedelta(hours=14, minutes=30))
        org.spread(10_000, edge, midnight)
        org.spread(10_000, midnight - timedelta(days=1), edge)
        return org

    @classmethod
    def busy(cls, **changes: Any) -> SandboxOrg:
        """Return a realistic org: 72,000 calls on a weekday against a limit of 100,000, real clock, event logs."""
        defaults: dict[str, Any] = {
            "speed": 1.0, "limit": 100_000, "hard_limit": 120_000, "calls_per_day": 72_000,
            "event_log_retention_days": 30,
        }  # fmt: skip
        return cls(**{**defaults, **changes})

    def keep_cursor(self, rows: list[dict[str, Any]]) -> str:
        """Keep the rows of a query for later pages; return the locator."""
        locator = f"01gSB{next(self._numbers):010d}AAA"
        self.cursors[locator] = rows
        return locator

    def handle(self, request: Request) -> Outcome:
        """Take one request through faults, log-in, allocation and its resource."""
        request = replace(request, path=re.sub("/{2,}", "/", request.path))
        with self._lock:
            now = self.now()
            taken = tuple(self.faults.take(request.method, request.path))
            final = next((fault for fault in taken if fault.kind != "delay"), None)
            before = self.ledger.total_counted
            user, answer = "", None
            if final is None or final.is_carried_out:
                user, answer = self._answer(request, wrong_org=final is not None and final.kind == "wrong_org")
            if final is not None:
                answer = final.replaced(answer)
            assert answer is not None
            counted = self.ledger.total_counted - before
            self.requests.append(
                _Entry(
                    now,
                    request.method,
                    request.path,
                    answer.status,
                    request.client,
                    user,
                    counted,
                    tuple(fault.kind for fault in taken),
                )
            )
            return Outcome(answer, taken)

    def part(self, request: Request, session: Session) -> Answer:
        """Answer a part of a composite request, which is neither counted nor refused here."""
        route, parts = find_route(request)
        if route is None or route.access != "api":
            return ApiError(404, "NOT_FOUND", "The requested resource does not exist").answer()
        return _carry_out(self, route, Call(request, session, _version(parts), parts))

    def admit(self, call: Call, *, logged: bool = True) -> ApiError | None:
        """Count one call, or return the refusal if the allocation is used up."""
        with self._lock:
            now = self.now()
            if self.ledger.rolling(now, self.bucket) >= self.settings.cap:
                self.refused += 1
                return _EXHAUSTED
            bulk_1 = call.request.path.startswith("/services/async/")
            family = "Bulk" if bulk_1 or "/jobs/" in call.request.path else "REST"
            resource = call.request.path.removeprefix("/services/data").removeprefix("/services/async")
            self.ledger.record(
                now,
                Caller(
                    call.session.user.id,
                    call.session.app.id,
                    call.request.client,
                    family,
                    resource,
                    call.request.method,
                    call.parts.get("object", ""),
                    logged=logged,
                ),
            )
            return None

    def _answer(self, request: Request, *, wrong_org: bool) -> tuple[str, Answer]:
        route, parts = find_route(request)
        self.by_route[route.name if route else "unknown"] += 1
        version = _version(parts)
        if route is not None and route.access == "open":
            if route.name == "login_soap":
                return "", authentication.soap(self, request, version, wrong_org=wrong_org)
            if route.name == "token":
                return "", authentication.token(self, request, wrong_org=wrong_org)
            return "", rest.versions()
        bulk_1 = route is not None and route.access == "bulk_1"
        session = self.sessions.find(_token(request))
        if route is not None and route.name == "report_export":
            return self._export(session, parts)
        if session is None:
            refusal: ApiError = ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")
            if bulk_1:
                refusal = BulkError(401, "InvalidSessionId", "Invalid session id")
            return "", refusal.answer()
        if route is not None and route.access == "identity":
            return session.user.username, authentication.user_info(self, request, session)
        call = Call(request, session, version, parts)
        answer = self._counted(route, call)
        value = limit_header(self, call) if self._shows_header(route, answer) else None
        if value is not None:
            answer = Answer(
                answer.status, answer.body, answer.content_type, {**answer.headers, "Sforce-Limit-Info": value}
            )
        return session.user.username, answer

    def _counted(self, route: Route | None, call: Call) -> Answer:
        exempt = route is not None and route.name == "limits" and self.settings.limits_when_exhausted == "answered"
        if route is None or route.name != "composite_batch" or self.used >= self.settings.cap:
            refused = self.admit(call)
            if refused is not None and not exempt:
                return _as_bulk(refused).answer() if route and route.access == "bulk_1" else refused.answer()
        if route is None:
            return ApiError(404, "NOT_FOUND", "The requested resource does not exist").answer()
        return _carry_out(self, route, call)

    def _export(self, session: Session | None, parts: Mapping[str, str]) -> tuple[str, Answer]:
        known = parts["report"][:15] == self.settings.report_id[:15]
        if not known or self.settings.report_access == "denied":
            return "", Answer(404, b"<html><body>URL No Longer Exists</body></html>", "text/html; charset=UTF-8")
        return session.user.username if session else "", usage_report.export(self, session)

    def _shows_header(self, route: Route | None, answer: Answer) -> bool:
        if answer.status >= 400 and not self.settings.limit_header_on_errors:
            return False
        if route is not None and route.access == "bulk_1":
            return self.settings.limit_header_on_bulk_1
        if route is not None and route.name.startswith("bulk_2"):
            return self.settings.limit_header_on_bulk_2
        return True


def _carry_out(org: SandboxOrg, route: Route, call: Call) -> Answer:
    try:
        if call.version and call.version < rest.OLDEST_VERSION:
            message = f"The requested API version v{call.version}.0 is retired"
            raise (
                BulkError(400, "InvalidVersion", message)
                if route.access == "bulk_1"
                else ApiError(410, "GONE", message)
            )
        if call.version > rest.NEWEST_VERSION:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        assert route.handler is not None
        return route.handler(org, call)
    except ApiError as error:
        return error.answer()


def _as_bulk(refused: ApiError) -> BulkError:
    return BulkError(refused.status, "ExceededQuota", refused.message)


def _version(parts: Mapping[str, str]) -> int:
    return int(parts.get("version", "0"))


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "oauth"):
        return token.strip()
    if "x-sfdc-session" in request.headers:
        return request.headers["x-sfdc-session"]
    for cookie in request.headers.get("cookie", "").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == "sid":
            return value.strip('"')
    return ""
