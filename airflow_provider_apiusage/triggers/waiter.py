"""One gate as its hub knows it: who it is, and what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

from airflow_provider_apiusage.quota.model import Decision, Grant, QuotaRequest, Wait


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

    def tell(self, answer: Answer | Exception, *, news: bool = True) -> None:
        """Wake the gate, unless it has heard the same reason for waiting already.

        :param news: if it is to go on waiting: whether that is worth telling again though only figures have changed.
        """
        if isinstance(answer, (Wait, Away)):
            if answer.reason == self._heard or not (news or isinstance(self._answer, Away)):
                return
            self._heard = answer.reason
        self._answer = answer
        self._news.set()
