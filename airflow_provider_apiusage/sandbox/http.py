"""Requests and answers as plain values, so that the org can be called without a socket."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apiusage.sandbox.identity import Session


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as the org sees it; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def host(self) -> str:
        """The ``Host`` header, with its port."""
        return self.headers.get("host", "localhost")

    @property
    def origin(self) -> str:
        """The URL of the org that this client can use: My Domain for Salesforce names, else its own host."""
        name = self.host.partition(":")[0]
        if name.endswith(".salesforce.com"):
            return f"https://{MY_DOMAIN}"
        return f"https://{self.host}"

    @property
    def client(self) -> str:
        """The client's name from ``Sforce-Call-Options: client=...`` (REST API guide, Call Options Header)."""
        for option in self.headers.get("sforce-call-options", "").split(","):
            name, _, value = option.strip().partition("=")
            if name.strip().lower() == "client":
                return value.strip()
        return ""

    def json(self) -> Any:
        """Return the body as JSON.

        :raises ApiError: 400 ``JSON_PARSER_ERROR`` if it is not JSON.
        """
        try:
            return json.loads(self.body or b"null")
        except ValueError as error:
            raise ApiError(400, "JSON_PARSER_ERROR", f"Unexpected character: {error}") from None


#: The org's My Domain host, told to clients that come by a salesforce.com name.
MY_DOMAIN = "sandbox-org.my.salesforce.com"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. A body that is not bytes is streamed."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    content_type: str = "application/json;charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200, **headers: str) -> Answer:
        """Return ``value`` as a JSON answer; underscores in header names become hyphens."""
        body = json.dumps(value, separators=(",", ":"), default=str).encode()
        return cls(status, body, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def content(self) -> bytes:
        """Return the whole body."""
        return self.body if isinstance(self.body, bytes) else b"".join(self.body)


class ApiError(Exception):
    """An answer that is not a success, in the shape of the REST API: ``[{"message", "errorCode"}]``."""

    def __init__(self, status: int, code: str, message: str, **extra: Any) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.extra = status, code, message, extra

    def answer(self) -> Answer:
        """Return the answer as JSON."""
        return Answer.of([{"message": self.message, "errorCode": self.code, **self.extra}], self.status)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in: who makes it, to which API version, with what parts of the path."""

    request: Request
    session: Session
    version: int = 0
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The path prefix of this API version."""
        return f"/services/data/v{self.version}.0"
