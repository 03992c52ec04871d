"""One hub for all gates of a triggerer process that wait for the same org over the same connection and store.

A gate by itself would look at the store and the org for itself; ten thousand of them would do nothing else. At a hub
they share one hook, one thread and one turn: it decides for all of them, and wakes those who have something to hear.

Everything here runs in the event loop, except what is passed to :meth:`Hub._in_thread`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from airflow.sdk import timezone
from asgiref.sync import sync_to_async

from airflow_provider_apiusage.hooks.metrics import tell_gate
from airflow_provider_apiusage.quota.model import Grant, Holder, QuotaRequest, Wait
from airflow_provider_apiusage.triggers.waiter import Away, HubKey, Waiter

if TYPE_CHECKING:
    from airflow_provider_apiusage.gate import Gate, Place, Turned
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

log = logging.getLogger(__name__)

SHORTEST_SLEEP = 1.0
"""Seconds; two turns never follow each other faster, unless a gate arrives or leaves."""

ARRIVALS = 0.1
"""Seconds in which gates that arrive one after the other are taken together."""

LOOK = 10.0
"""Seconds between two looks at whether the store knows something new; a look takes no lock."""

AFTER_AN_OUTAGE = 5.0
"""Seconds until org or store are tried again; each time twice as many, up to the poll interval."""


@contextmanager
def waiting_at_hub(key: HubKey, request: QuotaRequest, poll_interval: float) -> Iterator[Waiter]:
    """Let a gate wait at the hub of its org; the hub is made when the first one comes, and ends with the last.

    Leaving because the gate was cancelled takes its request out of the queue, and gives back what it was granted
    but did not hear of any more: a user has cleared or marked the task, or its wait timed out. Only if the triggerer
    itself stops, everything stays as it is, because another one goes on with the wait.

    :param poll_interval: seconds between two readings of the org; the shortest one of the gates at a hub counts.
    """
    loop = asyncio.get_running_loop()
    hub = _hubs.get((id(loop), key))
    if hub is None or hub.loop is not loop:
        hub = _hubs[id(loop), key] = Hub(key, loop)
    waiter = Waiter(request, poll_interval)
    hub.join(waiter)
    try:
        yield waiter
    except asyncio.CancelledError:
        hub.leave(waiter)
        raise
    finally:
        hub.drop(waiter)


_T = TypeVar("_T")


class Hub:
    """See the module; made and joined by :func:`waiting_at_hub`.

    :param key: what its gates have in common.
    :param loop: the event loop it lives in.
    """

    def __init__(self, key: HubKey, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._key = key
        self._org_id = key.org_id
        self._waiters: dict[Waiter, None] = {}
        self._asking: dict[Holder, QuotaRequest] = {}  # whom the present turn is about
        self._seen: dict[Holder, Place] = {}  # where they stand, as our last turn left them
        self._leaving: dict[Holder, datetime | None] = {}  # cancelled during the present turn
        self._left: dict[Holder, datetime] = {}  # cancelled: to be taken out by the next turn
        self._remark = ""  # of the last turn
        self._signs: tuple[datetime | None, ...] = ()
        self._woken = asyncio.Event()
        self._hook: ApiUsageHook | None = None
        self._gate: Gate | None = None
        self._hook_is_new = True
        self._outages = 0
        # A thread of its own: an org that does not answer must not keep the threads that other orgs need.
        self._executor = ThreadPoolExecutor(1, "apiusage-hub")
        # A context of its own: the first gate's would carry its log through all the others' wait.
        self._task = loop.create_task(self._serve(), context=contextvars.Context())

    def join(self, waiter: Waiter) -> None:
        """Take a gate in; its first turn comes at once."""
        self._waiters[waiter] = None
        self._woken.set()

    def leave(self, waiter: Waiter) -> None:
        """Hear that a gate was cancelled; the next turn takes it out.

        When the triggerer stops, it cancels the hub as well, so there is no such turn, and the gate keeps its place.
        """
        holder, granted = waiter.request.holder, waiter.granted
        if any(other.request.holder == holder for other in self._waiters if other is not waiter):
            return
        place = self._seen.get(holder)
        seen = granted.reservation.held_until if granted else place.held_until if place else None
        if holder in self._asking:
            self._leaving[holder] = seen  # the present turn renews it
        elif seen is not None:
            self._left[holder] = seen
        self._woken.set()

    def drop(self, waiter: Waiter) -> None:
        """Let a gate go, whatever the reason."""
        self._waiters.pop(waiter, None)
        self._seen.pop(waiter.request.holder, None)
        if not self._waiters:
            self._woken.set()

    async def _serve(self) -> None:
        try:
            while self._waiters or self._left:
                self._woken.clear()
                began = monotonic()
                pause = await self._take_turn()
                await self._sleep(pause, monotonic() - began)
        except Exception as failed:
            log.exception("The hub of connection %s gives up", self._key.salesforce_conn_id)
            self._fail(failed)
        finally:
            if _hubs.get((id(self.loop), self._key)) is self:
                del _hubs[id(self.loop), self._key]
            if self._hook is not None:
                self._executor.submit(self._hook.close)
            self._executor.shutdown(wait=False)

    async def _take_turn(self) -> float:
        """Take one turn for all; return after how many seconds the next one can make sense."""
        from airflow_provider_apiusage.salesforce.errors import AuthenticationError

        self._asking = {waiter.request.holder: waiter.request for waiter in self._waiters}
        left, self._left = self._left, {}
        poll_interval = min((waiter.poll_interval for waiter in self._waiters), default=SHORTEST_SLEEP)
        outcome: _Taken | Away | None = None
        try:
            if self._hook is None:
                self._hook = await self._prepared_hook()
                self._hook_is_new = True
            outcome = await self._in_thread(self._turn, self._hook, left, dict(self._seen), poll_interval)
            self._hook_is_new = False
        except AuthenticationError as refused:
            if self._hook is None or self._hook_is_new:
                self._fail(refused)
            else:
                # The connection may hold other credentials by now than when the wait began.
                await self._in_thread(self._hook.close)
                self._hook = self._gate = None
                self._woken.set()
        except Exception as failed:
            self._fail(failed)
        now = timezone.utcnow()
        self._left |= {holder: until for holder, until in left.items() if until > now}
        self._settle(outcome.turned if isinstance(outcome, _Taken) else None)
        if isinstance(outcome, Away):
            for waiter in self._waiters:
                waiter.tell(outcome)
            self._outages += 1
            return min(AFTER_AN_OUTAGE * 2.0 ** min(self._outages - 1, 10), poll_interval)
        self._outages = 0
        if outcome is None or outcome.turned is None:
            return poll_interval
        self._org_id, self._signs = outcome.org_id, outcome.turned.signs
        return (outcome.turned.next_at - now).total_seconds()

    def _settle(self, turned: Turned | None) -> None:
        """Hand out the decisions, and keep until when the leases run that the turn has left behind."""
        decisions, places = (turned.decisions, turned.places) if turned else ({}, {})
        remarked, self._remark = self._remark, turned.remark if turned else self._remark
        for waiter in [*self._waiters]:
            holder = waiter.request.holder
            answer = decisions.get(holder)
            if isinstance(answer, Wait):
                before, self._seen[holder] = self._seen.get(holder), places[holder]
                kept_before = before and before.kept_at
                waiter.tell(answer, news=kept_before != places[holder].kept_at or remarked != self._remark)
            elif answer is not None:
                del self._waiters[waiter]
                waiter.tell(answer)
        for holder, until in self._leaving.items():
            answer = decisions.get(holder)
            if isinstance(answer, Grant):
                until = answer.reservation.held_until
            elif holder in places:
                until = places[holder].held_until
            if until is not None:
                self._left[holder] = until
        self._leaving, self._asking = {}, {}

    def _fail(self, failed: Exception) -> None:
        """Let all gates here end with an error; gates of other connections go on."""
        for waiter in self._waiters:
            waiter.tell(failed)
        self._waiters.clear()

    async def _sleep(self, seconds: float, turn_took: float) -> None:
        """Sleep until the next turn makes sense, somebody arrives or leaves, or the store knows something new."""
        until = monotonic() + max(seconds, SHORTEST_SLEEP)
        while (self._waiters or self._left) and not self._woken.is_set() and (rest := until - monotonic()) > 0:
            with suppress(TimeoutError):
                # Not all hubs at the same moment: what one finds, it has to write while the others wait.
                async with asyncio.timeout(min(rest, random.uniform(LOOK / 2, LOOK))):  # noqa: S311
                    await self._woken.wait()
            if until - monotonic() > SHORTEST_SLEEP and not self._woken.is_set() and await self._store_has_news():
                return
        if self._waiters and self._woken.is_set():
            # Turns that follow each other because gates arrive leave others at least half of the store's time.
            await asyncio.sleep(max(ARRIVALS, turn_took))

    async def _store_has_news(self) -> bool:
        from airflow_provider_apiusage.store.errors import StoreError

        if self._hook is None or not self._org_id:
            return False
        hook, org_id = self._hook, self._org_id
        try:
            return await self._in_thread(lambda: hook.ledger.signs(org_id)) != self._signs
        except StoreError:
            return False  # the next turn tells

    async def _prepared_hook(self) -> ApiUsageHook:
        """Return a hook with the connections as they are now."""
        hook = await self._in_thread(self._new_hook)
        await hook.prepare()
        return hook

    def _new_hook(self) -> ApiUsageHook:
        """Made in a thread, because the first import of it takes longer than the event loop may stand still."""
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        # The gate reads /limits itself, which tells more than headers; a thread that writes those is not needed here.
        return ApiUsageHook(self._key.salesforce_conn_id, self._key.store_conn_id, keep_readings=False)

    def _turn(
        self, hook: ApiUsageHook, left: dict[Holder, datetime], seen: dict[Holder, Place], poll_interval: float
    ) -> _Taken | Away:
        """Take out who has left, and take a turn for the others; what is done is taken out of ``left``."""
        from airflow_provider_apiusage.gate import PASSING
        from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError
        from airflow_provider_apiusage.store.errors import StoreError

        try:
            org_id = self._org_id or hook.get_org_id()  # empty if the sensor could not log in
            if left:
                with hook.ledger.turn(org_id) as turn:
                    turn.leave_all(left, timezone.utcnow())
                left.clear()
            turned = None
            if self._asking:
                requests = [replace(request, org_id=org_id) for request in self._asking.values()]
                # The same one, as long as the hook is: it remembers what it still has to give back.
                self._gate = replace(
                    self._gate or hook.gate(timedelta(0)), poll_interval=timedelta(seconds=poll_interval)
                )
                turned = self._gate.turn_all(org_id, requests, seen)
                tell_gate(hook, org_id, turned.decisions)
            return _Taken(org_id, turned)
        except (*PASSING, AllowanceExhaustedError, StoreError) as away:
            # What is down for a while, or upgraded elsewhere first, must not fail every gate that waits; the sensor's
            # timeout is the limit.
            return Away(str(away))

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        # Not asyncio.to_thread: secrets to mask are told to the supervisor from in there, and in Airflow 3.1 only
        # threads of asgiref do that through the triggerer's event loop; others leave answers behind that end it.
        return await sync_to_async(function, thread_sensitive=False, executor=self._executor)(*arguments)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A turn that was taken: in which org, and what came of it (``None``: nobody asked)."""

    org_id: str
    turned: Turned | None


_hubs: dict[tuple[int, HubKey], Hub] = {}
