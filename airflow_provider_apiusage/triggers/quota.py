"""``ApiQuotaTrigger``: wait at the gate in the triggerer, without a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_apiusage.quota.model import Decision, Grant, Refuse, Wait
from airflow_provider_apiusage.quota.wire import request_from_json, reservation_to_json

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
    :param request: from ``request_to_json``; holds nothing secret.
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
        from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
        from airflow_provider_apiusage.salesforce.errors import ApiUsageError

        log = logging.getLogger(__name__)
        request = request_from_json(self.request)
        hook = ApiUsageHook(self.salesforce_conn_id, self.store_conn_id)
        await hook.prepare()
        told = ""
        while True:
            try:
                decision = await asyncio.to_thread(self._turn, hook, request)
            except ApiUsageError as failed:
                yield TriggerEvent({"status": "error", "kind": failed.kind, "message": str(failed)})
                return
            event = _event_of(decision)
            if event is not None:
                yield event
                return
            assert isinstance(decision, Wait)
            if decision.reason != told:
                log.info("%s", decision.reason)
                told = decision.reason
            pause = (decision.until - timezone.utcnow()).total_seconds()
            await asyncio.sleep(max(pause, SHORTEST_SLEEP))

    def _turn(self, hook: Any, request: Any) -> Decision:
        return hook.gate(timedelta(seconds=self.poll_interval)).turn(request)  # type: ignore[no-any-return]


def _event_of(decision: Decision) -> TriggerEvent | None:
    if isinstance(decision, Grant):
        reservation = reservation_to_json(decision.reservation)
        return TriggerEvent({"status": "granted", "reason": decision.reason, "reservation": reservation})
    if isinstance(decision, Refuse):
        return TriggerEvent({"status": "refused", "reason": decision.reason})
    return None
