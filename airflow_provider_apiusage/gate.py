"""One turn of the gate: decide inside one transaction, read the org only if that can change the answer, say when to
come back.

A turn has at most two halves. The first asks the ledger with what is already known. If the answer hangs on figures
that are missing or too old, and no other process has just read the org, the second half reads it (one API call, outside
any transaction) and asks again. Nobody ever looks first and takes later: whoever is granted was granted by the same
transaction that looked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import Approve, decide
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger, Turn
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.curve import Curve
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading
from airflow_provider_apiusage.usage.window import earliest_expiry, statements_of_readings

log = logging.getLogger(__name__)

READ_TIMEOUT = timedelta(minutes=2)
"""How long a process that claimed the next reading is waited for before another one may read."""

GHOST_TURNS = 3
"""A request that has missed this many turns is taken for gone and leaves the queue."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one org, as one process sees it.

    :param ledger: requests and reservations.
    :param store: readings.
    :param read: reads the org's limits now; raises what the session raises. It spends one API call.
    :param poll_interval: the shortest time between two readings of the org, for all gates together.
    :param clock: our clock, aware UTC.
    """

    ledger: QuotaLedger
    store: UsageStore
    read: Callable[[], Sequence[LimitReading]]
    poll_interval: timedelta
    clock: Callable[[], datetime]

    def turn(self, request: QuotaRequest) -> Decision:
        """Take one turn for one request.

        :param request: what is asked for; asking again under the same holder keeps the place in the queue, or
            returns the same grant.
        :raises ApiUsageError: if the org had to be read and could not be.
        :raises StoreError: if the store could not be reached.
        """
        decision, may_read = self._ask(request)
        if isinstance(decision, Grant) or not may_read:
            return decision
        self.store.add_readings(self.read())
        return self._ask(request, just_read=True)[0]

    def withdraw(self, org_id: str, holder: Holder) -> None:
        """Take a waiting request out of the queue; a reservation stays until released or lapsed."""
        with self.ledger.turn(org_id) as turn:
            turn.withdraw(holder, self.clock())
