"""``ApiQuotaTrigger``: wait at the gate in the triggerer, without a worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_apiusage.hooks.context import tell
from airflow_provider_apiusage.quota.model import Grant, Refuse, Wait
from airflow_provider_apiusage.quota.wire import request_from_json, reservation_to_json
from airflow_provider_apiusage.triggers.hub import waiting_at_hub
from airflow_provider_apiusage.triggers.waiter import Away, HubKey

log = logging.getLogger(__name__)

ENDS_WITH_XCOMS = "ends_with_xcoms"
"""Key of a request: XComs to end the task with. Not an argument, which a triggerer of an older version would not know.
"""


class ApiQuotaTrigger(BaseTrigger):
    """Wait at the gate until it grants or refuses; all gates of a triggerer that ask the same org share one hub.

    Nothing of it blocks the event loop: connections are looked up asynchronously, the store and the org are spoken to
    in a thread. It keeps no state of its own; a restarted triggerer takes the wait up where it was, and a reservation
    that was granted but not yet handed over is handed over then.

    Events: ``{"status": "granted", "reason": ..., "reservation": {...}}``, or the task's success with the reservation
    as XCom, where the sensor lets the triggerer end it; ``{"status": "refused", "reason": ...}``; or
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
            decision = await self._wait()
        except Exception as failed:
            # Airflow would turn a trigger that raises into a skipped task where soft_fail is set.
            log.exception("The gate gives up")
            kind = getattr(failed, "kind", type(failed).__name__)
            yield TriggerEvent({"status": "error", "kind": kind, "message": str(failed)})
            return
        if isinstance(decision, Refuse):
            yield TriggerEvent({"status": "refused", "reason": decision.reason})
            return
        reservation = reservation_to_json(decision.reservation)
        xcoms = self.request.get(ENDS_WITH_XCOMS)
        if xcoms is None:
            yield TriggerEvent({"status": "granted", "reason": decision.reason, "reservation": reservation})
        else:
            yield TaskSuccessEvent(xcoms=dict.fromkeys(xcoms, reservation))

    async def _wait(self) -> Grant | Refuse:
        request = request_from_json(self.request)
        key = HubKey(self.salesforce_conn_id, self.store_conn_id, request.org_id)
        with waiting_at_hub(key, request, self.poll_interval) as waiter:
            async for answer in waiter:
                if isinstance(answer, Away):
                    log.info("%s", answer.reason)
                    continue
                tell(answer, log)
                if not isinstance(answer, Wait):
                    return answer
        raise AssertionError("A gate is told until it is granted or refused.")
