"""One turn of the gate: decide inside one transaction, read the org only if that can change the answer, say when to
come back.

A turn has at most two halves. The first asks the ledger with what is already known. If the answer hangs on figures
that are missing or too old, and no other process is reading the org, the second half reads it (one API call, outside
any transaction) and asks again. Nobody ever looks first and takes later: whoever is granted was granted by the same
transaction that looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, QuotaRequest, Refuse, Reservation, Wait
from airflow_provider_apiusage.quota.policy import Approve, Verdict, decide
from airflow_provider_apiusage.salesforce.errors import ConcurrencyLimitError, MalformedAnswerError, UnavailableError
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger, Turn
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.curve import Curve
from airflow_provider_apiusage.usage.model import WINDOW, LimitReading
from airflow_provider_apiusage.usage.window import earliest_expiry, statements_of_reading

PASSING = (UnavailableError, ConcurrencyLimitError, MalformedAnswerError)
"""Failures to read that may be over next time: a gate that waits for hours waits through them."""

SOON = timedelta(seconds=5)
"""When to look again while another process is reading the org."""

GHOST_AFTER = timedelta(minutes=10)
"""A request that has not asked again for this long beyond its time is taken for gone and leaves the queue."""

MOST_READINGS = 200
"""Readings of the last two days that the expiry curve is made from; leaving some out only widens its bounds."""


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
        :raises ApiUsageError: if the org had to be read and asking again cannot help.
        :raises StoreError: if the store could not be reached.
        """
        decision, read_now = self._ask(request, may_read=True)
        if not read_now:
            return decision
        try:
            self.store.add_readings(self.read())
        except PASSING as failed:
            if isinstance(decision, Wait):
                return replace(decision, reason=f"{decision.reason} The org could not be read: {failed}")
            return decision
        return self._ask(request, may_read=False)[0]

    def withdraw(self, org_id: str, holder: Holder) -> None:
        """Take a waiting request out of the queue; a reservation stays until released or lapsed."""
        with self.ledger.turn(org_id) as turn:
            turn.withdraw(holder, self.clock())

    def _ask(self, request: QuotaRequest, *, may_read: bool) -> tuple[Decision, bool]:
        """Decide by what is known; return the decision and whether to read the org and ask again.

        While the org is still to be read, nothing is refused or recorded: the figures at hand may be out of date.
        """
        now = self.clock()
        with self.ledger.turn(request.org_id) as turn:
            turn.lapse(now)
            held = turn.join(request, now, waits_until=now + self.poll_interval + GHOST_AFTER)
            if isinstance(held, Reservation):
                return Grant(held, "it is held already."), False
            queue = turn.queue()
            readings = turn.latest_readings(sorted({name for waiting in queue for name in waiting.needs}))
            verdict = self._verdict(turn, request, queue, readings, now)
            wants_reading = may_read and self._reading_could_help(request, verdict, readings, now)
            if wants_reading and turn.claim_poll(now, now + self.poll_interval):
                return _as_wait(verdict, now), True
            if wants_reading and isinstance(verdict, Wait):
                verdict = replace(verdict, until=now + min(SOON, self.poll_interval))
            return self._enter(turn, request, verdict, now), False
