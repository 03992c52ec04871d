"""One hub for all gates of a triggerer process that wait for the same org over the same connection and store.

A gate by itself would look at the store and the org for itself; ten thousand of them would do nothing else. At a hub
they share one hook, one thread and one turn: it decides for all of them, and wakes those who have something to hear.

Everything here runs in the event loop, except what is passed to :meth:`Hub._in_thread`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from airflow.sdk import timezone
from asgiref.sync import sync_to_async

from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, QuotaRequest, Wait

if TYPE_CHECKING:
    from airflow_provider_apiusage.gate import Turned
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


class HubKey(NamedTuple):
    """What the gates of one hub have in common.

    :param org_id: empty until the org can be reached for the first time.
    """

    salesforce_conn_id: str
    store_conn_id: str | None
    org_id: str


@dataclass(frozen=True, slots=True)
class Away:
    """No decision: org or store could not be reached, and will be tried again."""

    reason: str


Answer = Decision | Away
_T = TypeVar("_T")


class Waiter:
    """One gate at a hub; iterate over it for its answers."""

    __slots__ = ("_answer", "_heard", "_news", "poll_interval", "request")

    def __init__(self, request: QuotaRequest, poll_interval: float) -> None:
        self.request = request
        self.poll_interval = poll_interval
        self._answer: Answer | Exception | None = None
        self._heard = ""
        self._news = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Answer]:
        """Yield each answer that says something new: a grant or a refusal is the last one.

        :raises Exception: what keeps the hub from going on.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            if isinstance(self._answer, Exception):
                raise self._answer
            assert self._answer is not None
            yield self._answer

    @property
    def granted(self) -> Grant | None:
        """What the hub told last, if that was a grant."""
        return self._answer if isinstance(self._answer, Grant) else None

    def tell(self, answer: Answer | Exception) -> None:
        """Wake the gate, unless it has heard the same reason for waiting already."""
        if isinstance(answer, (Wait, Away)):
            if answer.reason == self._heard:
                return
            self._heard = answer.reason
        self._answer = answer
        self._news.set()


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
        self._seen: dict[Holder, datetime] = {}  # until when the lease of each runs, as we left it
        self._left: dict[Holder, datetime] = {}
        self._woken = asyncio.Event()
        self._hook: ApiUsageHook | None = None
        self._hook_is_new = True
        self._failures = 0
        # A thread of its own: an org that does not answer must not keep the threads that other orgs need.
        self._executor = ThreadPoolExecutor(1, "apiusage-hub")
        # A context of its own: the first gate's would carry its log through all the others' wait.
        self._task = loop.create_task(self._serve(), context=contextvars.Context())

    def join(self, waiter: Waiter) -> None:
        """Take a gate in; its first turn comes at once."""
        self._waiters[waiter] = None
        self._woken.set()

    def leave(self, waiter: Waiter) -> None:
        """Hear that a gate was cancelled."""
        if self._task.done() or self._task.cancelling():
            return  # the triggerer stops: it cancels everything before anything of it goes on
        holder, granted = waiter.request.holder, waiter.granted
        if any(other.request.holder == holder for other in self._waiters if other is not waiter):
            return
        seen = granted.reservation.held_until if granted else self._seen.get(holder)
        if holder in self._asking:
            self._leaving[holder] = seen  # the turn that is being taken renews it
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

        poll_interval = min((waiter.poll_interval for waiter in self._waiters), default=0.0)
        self._asking = {waiter.request.holder: waiter.request for waiter in self._waiters}
        left, self._left = self._left, {}
        taken: _Taken | None = None
        try:
            if self._hook is None:
                self._hook, self._hook_is_new = await self._prepared_hook(), True
            taken = await self._in_thread(self._turn, self._hook, left, poll_interval)
        except AuthenticationError as refused:
            if self._hook_is_new:
                self._fail(refused)
            else:
                # The connection may hold other credentials by now than when the wait began.
                await self._in_thread(self._hook.close)
                self._hook = None
                self._woken.set()
        except Exception as failed:
            # Airflow would turn a trigger that raises into a skipped task where soft_fail is set: the gates tell it.
            self._fail(failed)
        else:
            self._hook_is_new = False
        return self._hand_out(taken, poll_interval)

    def _hand_out(self, taken: _Taken | None, poll_interval: float) -> float:
        """Tell everybody what came of a turn; return for how many seconds to sleep."""
        turned = taken.turned if taken else None
        if turned is not None:
            self._org_id, self._signs = taken.org_id, taken.signs
