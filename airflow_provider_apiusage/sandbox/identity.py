"""Who is who in the sandbox org: ids, users, connected apps and sessions."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

_SUFFIX_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def long_id(short: str) -> str:
    """Return the 18-character form of a 15-character id: three letters tell which characters are capitals.

    :raises ValueError: if ``short`` does not have 15 characters.
    """
    if len(short) != 15:
        raise ValueError(f"a short id has 15 characters: {short!r}")
    suffix = ""
    for start in (0, 5, 10):
        capitals = sum(1 << place for place, letter in enumerate(short[start : start + 5]) if letter.isupper())
        suffix += _SUFFIX_LETTERS[capitals]
    return short + suffix


def numbered_id(prefix: str, number: int) -> str:
    """Return the 15-character id with a three-character key prefix and a running number."""
    return f"{prefix}SB{number:010d}"


@dataclass(frozen=True, slots=True)
class User:
    """A user of the org."""

    id: str
    username: str
    name: str


@dataclass(frozen=True, slots=True)
class ConnectedApp:
    """A connected app, which OAuth clients identify themselves with."""

    id: str
    name: str
    consumer_key: str = ""
    consumer_secret: str = ""


#: The app of sessions that named none (SOAP login).
NO_APP = ConnectedApp("", "")

USERS = (
    User("005SB0000000001", "etl@sandbox-org.example", "Erin Loader"),
    User("005SB0000000002", "integration@sandbox-org.example", "Iris Integration"),
    User("005SB0000000003", "analyst@sandbox-org.example", "Ana Lyst"),
    User("005SB0000000004", "marketing@sandbox-org.example", "Mark Eting"),
    User("005SB0000000005", "support@sandbox-org.example", "Sue Port"),
)

APPS = (
    ConnectedApp("0H4SB0000000001", "Airflow"),
    ConnectedApp("0H4SB0000000002", "Nightly ELT"),
    ConnectedApp("0H4SB0000000003", "Dataloader Bulk"),
    ConnectedApp("0H4SB0000000004", "Marketing Sync"),
)


@dataclass(frozen=True, slots=True)
class Session:
    """What a token stands for."""

    token: str
    user: User
    app: ConnectedApp = NO_APP
    refresh_token: str = ""
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Identity:
    """The org's own names and its clients' secrets, made anew for each org (test-only, never real ones)."""

    org_id: str = "00DSB0000000042"
    org_name: str = "Sandbox Org"
    users: tuple[User, ...] = USERS
    apps: tuple[ConnectedApp, ...] = APPS
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9), repr=False)
    security_token: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)
    consumer_key: str = field(default_factory=lambda: "3MVG9" + secrets.token_hex(20))
    consumer_secret: str = field(default_factory=lambda: secrets.token_hex(32).upper(), repr=False)

    @property
    def client_app(self) -> ConnectedApp:
        """The connected app whose consumer key and secret work."""
        return replace(self.apps[0], consumer_key=self.consumer_key, consumer_secret=self.consumer_secret)

    @property
    def client_user(self) -> User:
        """The user as whom clients log in."""
        return self.users[0]

    def user(self, key: str) -> User | None:
        """Return the user with this username or id (15 or 18 characters)."""
        for user in self.users:
            if key == user.username or key[:15] == user.id:
                return user
        return None


class Sessions:
    """Tokens given out, and whether they still hold. Thread-safe."""

    def __init__(self, org_id: str) -> None:
        self._org_id = org_id
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._by_refresh_token: dict[str, Session] = {}

    def open(
        self, user: User, app: ConnectedApp = NO_APP, *, opaque: bool = False, org_id: str | None = None
    ) -> Session:
        """Begin a session. Its token begins with the 15-character org id and ``!``, unless opaque."""
        secret = secrets.token_urlsafe(48)
        token = secret if opaque else f"{org_id or self._org_id}!{secret}"
        session = Session(token, user, app)
        with self._lock:
            self._sessions[token] = session
        return session

    def refresh_token(self, user: User, app: ConnectedApp) -> str:
        """Return a new refresh token, which does not expire."""
        token = "5Aep861" + secrets.token_urlsafe(40)
        with self._lock:
            self._by_refresh_token[token] = Session("", user, app, refresh_token=token)
        return token

    def of_refresh_token(self, token: str) -> Session | None:
        """Return who was given this refresh token."""
        with self._lock:
            return self._by_refresh_token.get(token)

    def find(self, token: str) -> Session | None:
        """Return the session of a token that still holds."""
        with self._lock:
            session = self._sessions.get(token)
        return session if session and session.valid else None

    def expire(self, tokens: Iterable[str] | None = None) -> int:
        """End the sessions of ``tokens``, or all; return how many ended."""
        with self._lock:
            ending = [
                token
                for token in (list(self._sessions) if tokens is None else tokens)
                if token in self._sessions and self._sessions[token].valid
            ]
            for token in ending:
                self._sessions[token] = replace(self._sessions[token], valid=False)
        return len(ending)
