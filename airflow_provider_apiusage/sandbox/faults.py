"""Faults to order: what the org does wrong, how often, and to whom."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from airflow_provider_apiusage.sandbox.http import Answer

FaultKind = Literal[
    "status",
    "delay",
    "reset",
    "truncate",
    "cut",
    "html",
    "redirect",
    "concurrency",
    "exhausted",
    "unauthorized",
    "wrong_org",
]

_MESSAGES = {
    "concurrency": (
        403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
    ),
    "exhausted": (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    "unauthorized": (401, "INVALID_SESSION_ID", "Session expired or invalid"),
}  # fmt: skip
_HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Down for maintenance</body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    :param kind: what goes wrong. ``status`` answers with ``status`` and ``body``; ``delay`` waits ``seconds`` of
        real time first and then answers as usual; ``reset`` drops the connection; ``truncate`` sends half of the
        body with the length of all of it, ``cut`` as if it were all; ``html`` answers 200 with a page;
        ``redirect`` sends to ``location``; ``concurrency``, ``exhausted`` and ``unauthorized`` answer as
        Salesforce does in these cases; ``wrong_org`` makes logins give tokens of another org.
    :param carried_out: whether the org does what was asked, and counts it, before things go wrong.
    :param share: how much of the body ``truncate``, ``cut`` and ``reset`` send, 0 to 1. Left out: half; a ``reset``
        comes before the answer.
    :param chunked: whether such a body comes in chunks, without a length, as long answers of Salesforce do: ``cut``
        ends with the last chunk, the others without it.
    :param count: how many requests it befalls; ``None``: all, until cleared.
    :param path: only requests whose path contains this.
    :param method: only requests with this method.
    :param retry_after: value of a ``Retry-After`` header.
    """

    kind: FaultKind
    status: int = 503
    body: Any = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: str | None = None
    seconds: float = 0.0
    location: str = "https://elsewhere.invalid/"
    carried_out: bool = False
    share: float | None = None
    chunked: bool = False
    count: int | None = None
    path: str = ""
    method: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"no such fault: {self.kind!r}; there are {', '.join(get_args(FaultKind))}")
        if not 100 <= self.status <= 599 or self.seconds < 0 or (self.count is not None and self.count < 1):
            raise ValueError("status must be 100-599, seconds not negative, count at least 1")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError("the share that a fault sends must be between 0 and 1")

    @classmethod
    def of(cls, order: Mapping[str, Any]) -> Fault:
        """Return the fault that a JSON order describes.

        :raises ValueError: if the order is not understood.
        """
        unknown = sorted(set(order) - {known.name for known in fields(cls)})
        if unknown or "kind" not in order:
            raise ValueError(f"a fault needs a kind and knows no {', '.join(unknown) or 'others'}")
        values = dict(order)
        if isinstance(values.get("retry_after"), int):
            values["retry_after"] = str(values["retry_after"])
        return cls(**values)

    @property
    def is_carried_out(self) -> bool:
        """Whether the request takes effect; delays and truncated answers always follow a real answer."""
        return self.carried_out or self.breaks_off or self.kind in ("delay", "wrong_org")

    @property
    def breaks_off(self) -> bool:
        """Whether a part of a real answer is sent."""
        return self.kind in ("truncate", "cut") or (self.kind == "reset" and self.share is not None)

    def fits(self, method: str, path: str) -> bool:
        """Whether this fault befalls such a request."""
        if self.kind == "wrong_org" and not ("/oauth2/token" in path or "/Soap/" in path):
            return False
        return self.path in path and self.method.upper() in ("", method)

    def replaced(self, answer: Answer | None) -> Answer:
        """Return the answer that the client gets, given the one the org would have sent."""
        if self.kind in ("delay", "truncate", "cut", "reset", "wrong_org"):
            return answer or Answer(500)
        headers = {**self.headers, **({"Retry-After": self.retry_after} if self.retry_after else {})}
        if self.kind == "html":
            return Answer(200, _HTML, "text/html; charset=UTF-8", headers)
        if self.kind == "redirect":
            return Answer(302, b"", "text/html", {**headers, "Location": self.location})
        if self.kind in _MESSAGES:
            status, code, message = _MESSAGES[self.kind]
            return Answer(status, _json([{"message": message, "errorCode": code}]), headers=headers)
        body, content_type = self.body, self.content_type
        if body is None:
            body = [{"message": "Service Unavailable", "errorCode": "SERVER_UNAVAILABLE"}]
        if isinstance(body, str):
            looks_html = body.lstrip().startswith("<")
            content_type = content_type or ("text/html; charset=UTF-8" if looks_html else "text/plain")
            return Answer(self.status, body.encode(), content_type, headers)
        return Answer(self.status, _json(body), content_type or "application/json;charset=UTF-8", headers)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


class Faults:
    """The faults on order. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._orders: dict[int, tuple[Fault, int | None]] = {}

    def order(self, fault: Fault) -> int:
        """Put ``fault`` on order and return its number."""
        with self._lock:
            number = next(self._numbers)
            self._orders[number] = fault, fault.count
            return number

    def clear(self, number: int | None = None) -> int:
        """Take back one order, or all; return how many."""
        with self._lock:
            gone = [key for key in self._orders if number in (None, key)]
            for key in gone:
                del self._orders[key]
            return len(gone)

    def take(self, method: str, path: str) -> list[Fault]:
        """Return the faults that befall this request: every delay that fits, and the first other one."""
        taken: list[Fault] = []
        with self._lock:
            for number, (fault, left) in list(self._orders.items()):
                taken_up = any(other.kind != "delay" for other in taken)
                if not fault.fits(method, path) or (fault.kind != "delay" and taken_up):
                    continue
                taken.append(fault)
                if left is not None and left <= 1:
                    del self._orders[number]
                elif left is not None:
                    self._orders[number] = fault, left - 1
        return taken

    def listed(self) -> list[dict[str, Any]]:
        """Return the orders that are left, ready for JSON."""
        with self._lock:
            return [
                {
                    "id": number,
                    "left": left,
                    **{known.name: getattr(fault, known.name) for known in fields(Fault)},
                }
                for number, (fault, left) in self._orders.items()
            ]
