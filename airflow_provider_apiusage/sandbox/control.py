"""The control port: tells the truth about the org and takes orders. JSON over plain HTTP on loopback."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from airflow_provider_apiusage.sandbox.faults import Fault
from airflow_provider_apiusage.sandbox.ledger import Caller, PeriodCount

if TYPE_CHECKING:
    from airflow_provider_apiusage.sandbox.org import SandboxOrg

Connections = Callable[[], Mapping[str, Mapping[str, Any]]]
_ANY = dict[str, Any]


class Control:
    """The orders and questions of the control port, apart from HTTP.

    :param org: the org.
    :param connections: gives Airflow connections by flow.
    """

    def __init__(self, org: SandboxOrg, connections: Connections) -> None:
        self._org = org
        self._connections = connections

    def truth(self, _query: Mapping[str, str], _order: _ANY) -> Any:
        """Now, limit, true and reported usage, refusals, requests by path class."""
        org = self._org
        return {
            "now": org.now().isoformat(),
            "limit": org.settings.limit,
            "hard_limit": org.settings.cap,
            "rolling": org.used,
            "reported": org.reported,
            "refused": org.refused,
            "refused_of_others": org.refused_of_others,
            "total_counted": org.ledger.total_counted,
            "requests": dict(sorted(org.by_route.items())),
            "bulk_batches": org.used_in_window("bulk_batches"),
            "bulk_query_jobs": org.used_in_window("bulk_query_jobs"),
            "org_id": org.identity.org_id,
        }

    def daily(self, _query: Mapping[str, str], _order: _ANY) -> Any:
        """Calls by UTC day, family and user."""
        self._org.now()
        return {"days": _periods(self._org, self._org.ledger.daily(), "day")}

    def hourly(self, _query: Mapping[str, str], _order: _ANY) -> Any:
        """Calls by UTC hour, family and user."""
        self._org.now()
        return {"hours": _periods(self._org, self._org.ledger.hourly(), "hour")}

    def expiry(self, query: Mapping[str, str], _order: _ANY) -> Any:
        """When the calls now in the window leave it."""
        curve = self._org.expiry(timedelta(hours=float(query.get("hours", "24"))))
        return {
            "now": self._org.now().isoformat(),
            "expiry": [
                {"at": step.at.isoformat(), "count": step.count, "cumulative": step.cumulative} for step in curve
            ],
        }

    def clock(self, _query: Mapping[str, str], order: _ANY) -> Any:
        """Read or move the clock: ``advance_seconds``, ``set``, ``speed``."""
        clock = self._org.clock
        unknown = sorted(set(order) - {"advance_seconds", "set", "speed"})
        if unknown:
            raise ValueError(f"the clock knows no {', '.join(unknown)}")
        if "advance_seconds" in order:
            clock.advance(timedelta(seconds=float(order["advance_seconds"])))
        if "set" in order:
            clock.set(datetime.fromisoformat(order["set"]))
        if "speed" in order:
            clock.set_speed(float(order["speed"]))
        return {"now": self._org.now().isoformat(), "speed": clock.speed}

    def traffic(self, _query: Mapping[str, str], order: _ANY) -> Any:
        """Add calls of others: ``count``, ``at``, ``user``, ``app``, ``client``, ``family``, ``counted`` ..."""
        values = dict(order)
        at = datetime.fromisoformat(values.pop("at")) if values.get("at") else None
        count = int(values.pop("count", 1))
        identity = self._org.identity
        user = identity.user(str(values.pop("user", identity.users[1].username)))
        if user is None:
            raise ValueError("no such user; there are " + ", ".join(user.username for user in identity.users))
        app_name = str(values.pop("app", ""))
        app = next((app.id for app in identity.apps if app_name in (app.name, app.id)), "")
        if app_name and not app:
            raise ValueError("no such app; there are " + ", ".join(app.name for app in identity.apps))
        unknown = sorted(set(values) - set(Caller._fields))
        if unknown:
            raise ValueError(f"traffic knows no {', '.join(unknown)}")
        self._org.add_calls(count, at, Caller(user.id, app, **values))
        return {"added": count, "rolling": self._org.used}

    def config(self, _query: Mapping[str, str], order: _ANY) -> Any:
        """Read or change settings."""
        return self._org.change(order).as_dict() if order else self._org.settings.as_dict()

    def faults(self, _query: Mapping[str, str], order: _ANY) -> Any:
        """List faults, or order one."""
        if order:
            return {"id": self._org.faults.order(Fault.of(order))}
        return {"faults": self._org.faults.listed()}

    def clear_faults(self, query: Mapping[str, str], _order: _ANY) -> Any:
        """Take back one fault (``?id=``) or all."""
        number = int(query["id"]) if "id" in query else None
        return {"cleared": self._org.faults.clear(number)}

    def expire_sessions(self, _query: Mapping[str, str], order: _ANY) -> Any:
        """End all sessions, or those of ``tokens``."""
        return {"expired": self._org.sessions.expire(order.get("tokens"))}

    def connection(self, query: Mapping[str, str], _order: _ANY) -> Any:
        """Airflow connections by flow, or one (``?flow=``)."""
        found = self._connections()
        if "flow" not in query:
            return found
        if query["flow"] not in found:
            raise ValueError("no such flow; there are " + ", ".join(found))
        return found[query["flow"]]

    def requests(self, _query: Mapping[str, str], _order: _ANY) -> Any:
        """The newest 10,000 requests, oldest first; never a token."""
        return {"requests": [{**asdict(entry), "at": entry.at.isoformat()} for entry in list(self._org.requests)]}


def control_app(control: Control) -> web.Application:
    """Return the HTTP application of the control port."""
    app = web.Application()
    for method, path, answer in (
        ("GET", "/truth", control.truth),
        ("GET", "/truth/daily", control.daily),
        ("GET", "/truth/hourly", control.hourly),
        ("GET", "/truth/expiry", control.expiry),
        ("GET", "/clock", control.clock),
        ("POST", "/clock", control.clock),
        ("POST", "/traffic", control.traffic),
        ("GET", "/config", control.config),
        ("POST", "/config", control.config),
        ("GET", "/faults", control.faults),
        ("POST", "/faults", control.faults),
        ("DELETE", "/faults", control.clear_faults),
        ("POST", "/sessions/expire", control.expire_sessions),
        ("GET", "/connection", control.connection),
        ("GET", "/requests", control.requests),
    ):
        app.router.add_route(method, path, _handler(answer))
    return app


def _handler(
    answer: Callable[[Mapping[str, str], _ANY], Any],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            order = json.loads(await request.read() or b"{}")
            if not isinstance(order, dict):
                raise ValueError("an order is a JSON object")
            return web.json_response(answer(request.query, order))
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return handle


def _periods(org: SandboxOrg, counts: list[PeriodCount], name: str) -> list[_ANY]:
    sums: dict[tuple[datetime, str, str], list[int]] = {}
    for period in counts:
        user = org.identity.user(period.caller.user)
        key = period.start, period.caller.family, user.username if user else period.caller.user
        sums.setdefault(key, [0, 0])[period.caller.counted] += period.count
    return [
        {
            name: start.isoformat()[: 10 if name == "day" else None],
            "family": family,
            "user": user,
            "counted": counted,
            "uncounted": uncounted,
        }
        for (start, family, user), (uncounted, counted) in sorted(sums.items())
    ]
