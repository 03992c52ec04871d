"""``ApiQuotaEventTrigger``: an asset watcher that tells when calls become available, and when they are gone."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Hashable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import timezone
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_apiusage.quota.arguments import duration_from, needs_from, reserve_from
from airflow_provider_apiusage.quota.model import Holder, QuotaRequest
from airflow_provider_apiusage.triggers.quota_lookout import Lookout, LookoutKey, Round, Watcher, shared_lookout
from airflow_provider_apiusage.usage.model import API_REQUESTS

if TYPE_CHECKING:
    from airflow_provider_apiusage.triggers.quota_level import Seen

log = logging.getLogger(__name__)

AVAILABLE = "available"
GONE = "gone"
EDGES = {"both": (AVAILABLE, GONE), AVAILABLE: (AVAILABLE,), GONE: (GONE,)}

_levels: dict[str, str] = {}
"""The levels of this process, for Airflow before 3.3, which keeps none for a watcher."""


class ApiQuotaEventTrigger(BaseEventTrigger):
    """Tell once when so many calls become available, and once when they are gone; for an ``AssetWatcher``.

    They are available when the gate would grant them to a load that came now: beside the reserve, what others hold, and
    those who wait. They are gone when they are spent. What is merely reserved is not: a load that this has started
    reserves calls itself, and would start another one when it gives them back. Nothing is reserved here, so a DAG that
    is started by this asks the gate itself. While nobody knows what is left, nothing is told; an org or store that
    fails is tried again, and told in the triggerer's log. It never ends.

    The first look tells when calls are available, and is silent when they are not. From then on only changes are told.
    Airflow 3.3 keeps the level with the asset, so a triggerer that restarts tells nothing twice; before, it is kept in
    the process, and a restart counts as a first look.

    Spends what a gate that waits does while calls are gone: 1 API call when the past says that enough may have come
    free, ``poll_interval`` apart where too little is known of it. While they are available, 1 call when no reading
    (header, snapshot, gate) was kept for ``max_age``. All watchers and gates of the org share them.

    Payload: ``{"org", "limit", "calls", "available", "level", "at", "observed_at", "source"}``; ``level`` is
    ``"available"`` or ``"gone"``, ``available`` the headroom, ``at`` when that was found out (the org's time),
    ``observed_at`` and ``source`` those of the reading it was worked out from.

    :param salesforce_conn_id: connection of type ``salesforce``.
    :param calls: how many calls must be available.
    :param limit: of which limit, by Salesforce's name.
    :param reserve: what stays free beside them, as for ``ApiQuotaSensor``.
    :param gone_below: they are gone when fewer than that many are available; default: ``calls``. Less keeps a use that
        goes up and down around ``calls`` from telling each time.
    :param reserved_is_gone: whether calls that others hold count as gone, too.
    :param edges: what to tell: ``"both"``, ``"available"`` or ``"gone"``. Each event runs the DAGs scheduled on
        the asset.
    :param max_age: how old a reading may be to tell by it; ``timedelta`` or seconds.
    :param poll_interval: seconds between two readings; default: ``[apiusage] poll_interval``.
    :param store_conn_id: where readings and reservations are kept; default: ``[apiusage] store_conn_id``.
    :raises ValueError: if an argument makes no sense.
    """

    def __init__(
        self,
        salesforce_conn_id: str = "salesforce_default",
        *,
        calls: int,
        limit: str = API_REQUESTS,
        reserve: int | float | str | None = None,
        gone_below: int | None = None,
        reserved_is_gone: bool = False,
        edges: str = "both",
        max_age: timedelta | float = 900.0,
        poll_interval: timedelta | float | None = None,
        store_conn_id: str | None = None,
    ) -> None:
        super().__init__()
        self.salesforce_conn_id = salesforce_conn_id
        self.calls = needs_from({limit: calls})[limit]
        self.limit = limit
        self.reserve = reserve
        self.gone_below = None if gone_below is None else needs_from({limit: gone_below})[limit]
        self.reserved_is_gone = reserved_is_gone
        self.edges = edges
        self.max_age = duration_from("max_age", max_age).total_seconds()
        self.poll_interval = (
            None if poll_interval is None else duration_from("poll_interval", poll_interval).total_seconds()
        )
        self.store_conn_id = store_conn_id
        if edges not in EDGES:
            raise ValueError(f"edges={edges!r} must be one of {', '.join(map(repr, EDGES))}.")
        if self.gone_below is not None and self.gone_below > self.calls:
            raise ValueError(f"gone_below={gone_below!r} must not be more than calls={calls!r}.")
        self._request()  # what is wrong with reserve is wrong now, when the DAG is read
        self._level: str | None = None
        self._level_is_known = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-safe and without secrets."""
        return (
            "airflow_provider_apiusage.triggers.quota_event.ApiQuotaEventTrigger",
            {
                "salesforce_conn_id": self.salesforce_conn_id,
                "calls": self.calls,
                "limit": self.limit,
                "reserve": self.reserve,
                "gone_below": self.gone_below,
                "reserved_is_gone": self.reserved_is_gone,
                "edges": self.edges,
                "max_age": self.max_age,
                "poll_interval": self.poll_interval,
                "store_conn_id": self.store_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each edge, without end; for Airflow before 3.3."""
        lookout = Lookout(self._key())
        with lookout.watching(self._watcher()) as watcher:
            async for found in lookout.rounds():
                async for event in self._events(found, watcher):
                    yield event

    def shared_stream_key(self) -> Hashable | None:
        """Name the stream that all watchers over the same connection and store share (Airflow 3.3 and newer)."""
        return ("airflow_provider_apiusage.quota_event", *self._key())

    @classmethod
    async def open_shared_stream(cls, kwargs: Mapping[str, Any]) -> AsyncIterator[Round]:
        """Look at the org for all of them, without end; nothing that fails ends it."""
        async for found in shared_lookout(LookoutKey(kwargs["salesforce_conn_id"], kwargs["store_conn_id"])).rounds():
            yield found

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Round]) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each of this watcher's edges."""
        with shared_lookout(self._key()).watching(self._watcher()) as watcher:
            async for found in shared_stream:
                async for event in self._events(found, watcher):
                    yield event

    async def _events(self, found: Round, watcher: Watcher) -> AsyncIterator[TriggerEvent]:
        """Yield this round's event, if there is one, and keep the level once Airflow has taken it.

        In that order: a triggerer that is killed in between tells twice, rather than never.
        """
        seen = found.seen.get(watcher)
        if seen is None or seen.fits is None:
            return
        before = await self._known_level()
        level = self._level_of(seen, before)
        if level is None or level == before:
            return
        log.info("%s calls of %s are %s: %s", f"{self.calls:,}", self.limit, level, seen.reason)
        if level in EDGES[self.edges] and (before, level) != (None, GONE):
            yield TriggerEvent(self._payload(found.org_id, seen, level))
        await self._keep(level)

    def _level_of(self, seen: Seen, before: str | None) -> str | None:
        if seen.fits:
            return AVAILABLE
        left = seen.available if self.reserved_is_gone else seen.unspent
        if left is None or left < (self.gone_below or self.calls):
            return GONE
        return before

    def _payload(self, org_id: str, seen: Seen, level: str) -> dict[str, Any]:
        reading = seen.reading
        return {
            "org": org_id,
            "limit": self.limit,
            "calls": self.calls,
            "available": seen.available,
            "level": level,
            "at": seen.at.isoformat(),
            "observed_at": reading.observed_at.isoformat() if reading else None,
            "source": reading.source.value if reading else None,
        }

    async def _known_level(self) -> str | None:
        if not self._level_is_known:
            kept = None
            if (store := getattr(self, "asset_state_store", None)) is not None:
                try:
                    kept = await store.aget(self._state_key())
                except Exception as failed:  # such as two assets with this very watcher: none of them is meant
                    log.warning("The level is kept in this process only: %s", failed)
            self._level = str(kept) if kept in EDGES["both"] else _levels.get(self._state_key())
            self._level_is_known = True
        return self._level

    async def _keep(self, level: str) -> None:
        self._level = _levels[self._state_key()] = level
        if (store := getattr(self, "asset_state_store", None)) is not None:
            try:
                await store.aset(self._state_key(), level)
            except Exception as failed:
                log.warning("The level is kept in this process only: %s", failed)

    def _state_key(self) -> str:
        """Name what is kept of this watcher, apart from others of the same asset."""
        arguments = json.dumps(self.serialize()[1], sort_keys=True)
        return f"apiusage_level_{hashlib.sha256(arguments.encode()).hexdigest()[:16]}"

    def _key(self) -> LookoutKey:
        return LookoutKey(self.salesforce_conn_id, self.store_conn_id)

    def _watcher(self) -> Watcher:
        poll_interval = self.poll_interval
        if poll_interval is None:
            poll_interval = conf.getfloat("apiusage", "poll_interval", fallback=300.0)
        return Watcher(self._request(), poll_interval)

    def _request(self) -> QuotaRequest:
        needs = {self.limit: self.calls}
        return QuotaRequest(
            org_id="",
            holder=Holder("", "", "watcher"),
            needs=needs,
            requested_at=timezone.utcnow(),
            reserve=reserve_from(self._reserve_of_limit(), needs=needs),
            max_age=timedelta(seconds=self.max_age),
        )

    def _reserve_of_limit(self) -> Any:
        """Return the reserve; a whole number is one of this limit, whichever it is."""
        whole = isinstance(self.reserve, int) and not isinstance(self.reserve, bool)
        return {self.limit: self.reserve} if whole else self.reserve
