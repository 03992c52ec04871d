"""Looks at one org again and again for all watchers over one connection and store, and never ends.

An org, a login or a store that fails is told in the log and tried again: an asset watcher that raised would be gone
until its triggerer starts anew, and would take along all that share its stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from airflow.sdk import timezone
from asgiref.sync import sync_to_async

from airflow_provider_apiusage.quota.model import QuotaRequest
from airflow_provider_apiusage.triggers.hub import AFTER_AN_OUTAGE, ARRIVALS, LOOK, SHORTEST_SLEEP

if TYPE_CHECKING:
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
    from airflow_provider_apiusage.triggers.quota_level import Looked, Seen

log = logging.getLogger(__name__)

LONGEST_PAUSE = 3600.0
"""Seconds; credentials that stay wrong are not tried more often, since an org locks users out for that."""

_T = TypeVar("_T")


class LookoutKey(NamedTuple):
    """What the watchers of one lookout have in common."""

    salesforce_conn_id: str
    store_conn_id: str | None


@dataclass(eq=False, slots=True)
class Watcher:
    """One who wants to know.

    :param request: what it would ask the gate for, of an org that need not be known yet.
    :param poll_interval: seconds between two readings of the org at least; the shortest one at a lookout counts.
    """

    request: QuotaRequest
    poll_interval: float


@dataclass(frozen=True, slots=True)
class Round:
    """What one look found out: for each watcher of that moment, and of which org."""

    org_id: str
    seen: Mapping[Watcher, Seen]


@dataclass(eq=False)
class Lookout:
    """Who watches; see :meth:`rounds`.

    :param key: what they have in common.
    """

    key: LookoutKey
    _watchers: dict[Watcher, None] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        """Who watches now."""
        return tuple(self._watchers)

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[Watcher]:
        """Let one watch; there is a look for it at once, which costs no call if the org was read lately."""
        self._watchers[watcher] = None
        self._woken.set()
        try:
            yield watcher
        finally:
            del self._watchers[watcher]

    async def rounds(self) -> AsyncIterator[Round]:
        """Look whenever that can tell something new; yield what was found, and go on until cancelled."""
        looking = _Looking(self.key)
        try:
            while True:
                self._woken.clear()
                if watchers := self.watchers:
                    found, pause = await looking.round(watchers)
                    if found is not None:
                        yield found
                else:
                    pause = LONGEST_PAUSE
                await self._sleep(looking, pause)
        finally:
            looking.close()

    async def _sleep(self, looking: _Looking, seconds: float) -> None:
        """Sleep until the next look makes sense, somebody joins, or the store knows something new."""
        until = monotonic() + max(seconds, SHORTEST_SLEEP)
        while not self._woken.is_set() and (rest := until - monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(rest, LOOK)):
                    await self._woken.wait()
            if rest > LOOK and not self._woken.is_set() and await looking.has_news():
                return
        if self._woken.is_set():
            await asyncio.sleep(ARRIVALS)  # those who come one after the other are looked for together


class _Looking:
    """The hook and the thread of one who looks, as long as it does."""

    def __init__(self, key: LookoutKey) -> None:
        self._key = key
        self._org_id = ""
        self._hook: ApiUsageHook | None = None
        self._news: object = None
        self._failures = 0
        # A thread of its own: an org that does not answer must not keep the threads that others need.
        self._executor = ThreadPoolExecutor(1, "apiusage-watch")

    async def round(self, watchers: tuple[Watcher, ...]) -> tuple[Round | None, float]:
        """Look once; return what was found, and after how many seconds the next look can make sense."""
        poll_interval = min(watcher.poll_interval for watcher in watchers)
        try:
            if self._hook is None:
                self._hook = await self._prepared_hook()
            looked = await self._in_thread(self._look, self._hook, watchers, poll_interval)
        except Exception as failed:
            return None, await self._pause_after(failed, poll_interval)
        if looked.failure is not None:
            log.warning("The org could not be read just now: %s", looked.failure)
        self._failures = 0
        seen = dict(zip(watchers, looked.seen, strict=True))
        return Round(self._org_id, seen), (looked.next_at - timezone.utcnow()).total_seconds()

    async def has_news(self) -> bool:
        """Tell whether the store knows something that it did not know at the last look."""
        if self._hook is None or not self._org_id:
            return False
        try:
            return await self._in_thread(self._news_now, self._hook) != self._news
        except Exception:
            return False  # the next look tells why

    def close(self) -> None:
        """Let hook and thread go, without waiting."""
        if self._hook is not None:
            self._executor.submit(self._hook.close)
        self._executor.shutdown(wait=False)

    async def _pause_after(self, failed: Exception, poll_interval: float) -> float:
        from airflow_provider_apiusage.gate import PASSING
        from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError
        from airflow_provider_apiusage.store.errors import StoreUnavailableError

        self._failures += 1
        growing = AFTER_AN_OUTAGE * 2.0 ** min(self._failures - 1, 10)
        if isinstance(failed, (*PASSING, AllowanceExhaustedError, StoreUnavailableError)):
            pause = min(growing, max(poll_interval, SHORTEST_SLEEP))
            log.warning("Looking again in %.0f s: %s", pause, failed)
            return pause
        pause = min(growing, LONGEST_PAUSE)
        log.error("Looking again in %.0f s, with the connection as it is then: %s", pause, failed)
        if self._hook is not None:
            self._executor.submit(self._hook.close)
            self._hook, self._org_id = None, ""
        return pause

    def _look(self, hook: ApiUsageHook, watchers: tuple[Watcher, ...], poll_interval: float) -> Looked:
        from airflow_provider_apiusage.triggers.quota_level import look

        self._org_id = org_id = hook.get_org_id()
        self._news = self._news_now(hook)  # before the look: what comes in between is news
        gate = hook.gate(timedelta(seconds=poll_interval))
        return look(
            gate, org_id, [replace(watcher.request, org_id=org_id, requested_at=gate.clock()) for watcher in watchers]
        )

    def _news_now(self, hook: ApiUsageHook) -> object:
        from airflow_provider_apiusage.triggers.quota_level import news_of

        return news_of(hook.ledger, self._org_id, timezone.utcnow())

    async def _prepared_hook(self) -> ApiUsageHook:
        """Return a hook with the connections as they are now."""
        hook = await self._in_thread(self._new_hook)
        await hook.prepare()
        return hook

    def _new_hook(self) -> ApiUsageHook:
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        return ApiUsageHook(self._key.salesforce_conn_id, self._key.store_conn_id, keep_readings=False)

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        # As at the hub: in Airflow 3.1 only threads of asgiref may tell the supervisor what to mask.
        return await sync_to_async(function, thread_sensitive=False, executor=self._executor)(*arguments)


_lookouts: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[LookoutKey, Lookout]] = WeakKeyDictionary()


def shared_lookout(key: LookoutKey) -> Lookout:
    """Return the one lookout of this event loop for a connection and store."""
    return _lookouts.setdefault(asyncio.get_running_loop(), {}).setdefault(key, Lookout(key))
