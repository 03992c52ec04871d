"""``ApiQuotaTrigger``: wait at the gate in the triggerer, without a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_apiusage.quota.model import Decision, Grant, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.wire import request_from_json, reservation_to_json

if TYPE_CHECKING:
    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

log = logging.getLogger(__name__)

SHORTEST_SLEEP = 1.0
"""Seconds; two turns of one gate never follow each other faster."""


class ApiQuotaTrigger(BaseTrigger):
    """Take turns at the gate until it grants or refuses.

    Nothing of it blocks the event loop: connections are looked up asynchronously, the store and the org are spoken to
    in a thread. It keeps no state of its own; a restarted triggerer takes the wait up where it was, and a reservation
    that was granted but not yet handed over is handed over then.

    Events: ``{"status": "granted", "reason": ..., "reservation": {...}}``, ``{"status": "refused", "reason": ...}``, or
    ``{"status": "error", "kind": ..., "message": ...}`` where asking again cannot help.

    :param salesforce_conn_id: connection of the org.
    :param store_conn_id: connection of the store, or ``None``.
    :param request: from ``request_to_json``; holds nothing secret. An empty ``org_id`` is filled in as soon as the org
        can be reached.
    :param poll_interval: seconds between two readings of the org.
    """

    def __init__(
        self,
        salesforce_conn_id: str,
        store_conn_id: str | None,
        request: Mapping[str, Any],
        poll_interval: float,
    ) -> None:
        super().__init__()
        self.salesforce_conn_id = salesforce_conn_id
        self.store_conn_id = store_conn_id
        self.request = dict(request)
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-safe and without secrets: they are stored as plain text."""
        return (
            "airflow_provider_apiusage.triggers.quota.ApiQuotaTrigger",
            {
                "salesforce_conn_id": self.salesforce_conn_id,
                "store_conn_id": self.store_conn_id,
                "request": self.request,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event and end."""
        try:
            event = await self._wait()
        except Exception as failed:
            # Airflow would turn a trigger that raises into a skipped task where soft_fail is set.
            log.exception("The gate gives up")
            kind = getattr(failed, "kind", type(failed).__name__)
            event = {"status": "error", "kind": kind, "message": str(failed)}
        yield TriggerEvent(event)

    async def _wait(self) -> dict[str, Any]:
        """Take turns until there is an answer; return the event's payload."""
        from airflow_provider_apiusage.salesforce.errors import AuthenticationError

        request = request_from_json(self.request)
        # Not asyncio.to_thread: secrets to mask are told to the supervisor from in there, and in Airflow 3.1 only
        # threads of asgiref do that through the triggerer's event loop; others leave answers behind that end it.
        turn = sync_to_async(self._turn, thread_sensitive=False)
        hook = await self._prepared_hook()
        new, told = True, ""
        while True:
            try:
                outcome = await turn(hook, request)
            except AuthenticationError:
                if new:
                    raise
                # The connection may hold other credentials by now than when the wait began.
                hook.close()
                hook, new = await self._prepared_hook(), True
                continue
            new = False
            request = outcome.request
            pause = max(self.poll_interval, SHORTEST_SLEEP)
            if outcome.decision is not None:
                payload = _payload_of(outcome.decision)
                if payload is not None:
                    return payload
                assert isinstance(outcome.decision, Wait)
                pause = max((outcome.decision.until - timezone.utcnow()).total_seconds(), SHORTEST_SLEEP)
            if outcome.reason != told:
                log.info("%s", outcome.reason)
                told = outcome.reason
            await asyncio.sleep(pause)

    async def _prepared_hook(self) -> ApiUsageHook:
        """Return a hook with the connections as they are now."""
        hook = await sync_to_async(self._new_hook, thread_sensitive=False)()
        await hook.prepare()
        return hook

    def _new_hook(self) -> ApiUsageHook:
        """Made in a thread, because the first import of it takes longer than the event loop may stand still."""
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook

        # The gate reads /limits itself, which tells more than headers; a thread that writes those is not needed here.
        return ApiUsageHook(self.salesforce_conn_id, self.store_conn_id, keep_readings=False)

    def _turn(self, hook: ApiUsageHook, request: QuotaRequest) -> _Outcome:
        from airflow_provider_apiusage.gate import PASSING
        from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError
        from airflow_provider_apiusage.store.errors import StoreUnavailableError

        try:
            if not request.org_id:  # the sensor could not log in
                request = replace(request, org_id=hook.get_org_id())
            decision = hook.gate(timedelta(seconds=self.poll_interval)).turn(request)
        except (*PASSING, AllowanceExhaustedError, StoreUnavailableError) as away:
            # What is down for a while must not fail every gate that waits; the sensor's timeout is the limit.
            return _Outcome(request, None, str(away))
        return _Outcome(request, decision, decision.reason)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a turn: the request with the org's id, and the decision, or ``None`` and why there is none."""

    request: QuotaRequest
    decision: Decision | None
    reason: str


def _payload_of(decision: Decision) -> dict[str, Any] | None:
    if isinstance(decision, Grant):
        reservation = reservation_to_json(decision.reservation)
        return {"status": "granted", "reason": decision.reason, "reservation": reservation}
    if isinstance(decision, Refuse):
        return {"status": "refused", "reason": decision.reason}
    return None
