"""Drawing in the background: a load tells the store what it has spent, and never waits for it.

A thread of our own writes, at most every few seconds, the total so far; a store that is away gets a later one instead.
Each draw renews the lease, and while a load makes no calls, the thread draws all the same once in a while.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.store.lease_spending import Drawn, Extended
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=5)
"""How often a load's total is written at most."""

HEARTBEAT = timedelta(seconds=60)
"""How often the lease is renewed while nothing is spent; a quarter of the lease, if that is shorter."""

CLOSE_SECONDS = 5.0
"""How long the end of a load waits for its last total to be written."""

Extend = Callable[..., Extended | None]
"""(ledger, reservation id, more, now, holding=...) -> what came of it."""

WARN_EVERY = timedelta(seconds=60)


class BackgroundDraws:
    """Draws what one load spends from its reservation; safe to share between threads.

    :param find_ledger: opens the store; called in the thread that writes. What it raises must be fit to be logged.
    :param reservation_id: of the reservation.
    :param totals: returns what the load has spent so far, by limit name.
    :param told: called after each draw with where the reservation stands, and with the total that was told.
    :param extended: called with what came of asking for more; ``None`` if the store could not be asked.
    :param extend: how the store is asked for more; ``QuotaLedger.extend`` by default.
    :param estimate: see ``QuotaLedger.draw``.
    :param every: how often a total is written at most.
    :param clock: our clock.
    """

    def __init__(
        self,
        find_ledger: Callable[[], QuotaLedger],
        reservation_id: str,
        totals: Callable[[], Mapping[str, int]],
        *,
        told: Callable[[Drawn, Mapping[str, int]], None],
        extended: Callable[[Extended | None], None],
        extend: Extend | None = None,
        estimate: Mapping[str, int] | None = None,
        every: timedelta = EVERY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._find_ledger = find_ledger
        self._reservation_id = reservation_id
        self._totals = totals
        self._on_told = told
        self._on_extended = extended
        self._extend = extend or QuotaLedger.extend
        self._estimate = estimate
        self._every = every.total_seconds()
        self._clock = clock
        self._by = str(uuid4())
        self._heartbeat = HEARTBEAT.total_seconds()
        self._changed = threading.Condition()
        self._due = self._closing = self._failed = self._unknown = False
        self._more: tuple[Mapping[str, int], Mapping[str, int]] | None = None
        self._writer: threading.Thread | None = None
        self._warned_at: datetime | None = None
        self.written = False
        """Whether the final total is in the store."""
        self.told: Mapping[str, int] = {}
        """The total that is in the store, by limit name."""
        self.failures = 0
        """Times that the store did not take a total."""

    def touch(self) -> None:
        """Tell that something was spent, or that the load has begun; takes microseconds and never raises."""
        with self._changed:
            self._due = True
            self._wake()

    def ask_for(self, more: Mapping[str, int], holding: Mapping[str, int]) -> None:
        """Ask the store for more, in the background.

        :param more: what to add, by limit name.
        :param holding: what is held now.
        """
        with self._changed:
            self._more = more, holding
            self._wake()

    def close(self, *, failed: bool = False, timeout: float = CLOSE_SECONDS) -> bool:
        """Write the final total, and wait for it.

        :param failed: whether the load ended before its work was done.
        :param timeout: seconds to wait at most.
        :returns: whether it is written.
        """
        with self._changed:
            if not self.written and not self._unknown:
                self._failed = self._failed or failed
                self._closing = True
                self._wake()
                self._changed.wait_for(lambda: self._writer is None, timeout)
            return self.written

    def end(self) -> None:
        """Write the final total without waiting for it; for a load whose session is gone."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _wake(self) -> None:
        """Have a writer, and let it look; not one that a fork left behind in the parent process."""
        if self._unknown:
            return
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._keep_drawing, name="apiusage-draws", daemon=True)
            try:
                self._writer.start()
            except RuntimeError:  # no more threads, or the interpreter is on its way out
                self._writer = None
                self.failures += 1
                return
            atexit.unregister(self.close)
            atexit.register(self.close)
        self._changed.notify_all()

    def _keep_drawing(self) -> None:
        """The writer: draw when something was spent, when it is time to renew, and at the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._closing or self._more is not None, self._heartbeat)
                self._due, closing, failed = False, self._closing, self._failed
                more, self._more = self._more, None
            drawn = self._try(partial(self._draw, closing=closing, failed=failed))
            if more is not None:
                self._ask(*more)
            with self._changed:
                self._due = self._due or not drawn
                if closing or self._unknown:
                    self.written = closing and drawn and not self._unknown
                    self._closing, self._writer = False, None
                    atexit.unregister(self.close)
                self._changed.notify_all()
                if self._writer is None:
                    return
                self._changed.wait_for(lambda: self._closing or self._more is not None, self._every)

    def _draw(self, ledger: QuotaLedger, *, closing: bool, failed: bool) -> None:
        totals = self._totals()  # first, so that at the instant below all of it has been spent
        drawn = ledger.draw(
            self._reservation_id,
            totals,
            self._clock(),
            by=self._by,
            closed=closing,
            failed=failed,
            estimate=self._estimate,
        )
        if drawn is None:
            self._unknown = True
            log.warning(
                "The store knows no reservation %r, so nothing is drawn from it; the load goes on. Give the sensor's "
                "XCom (gate.output) as 'reservation', and the same store_conn_id as the sensor's.",
                self._reservation_id,
            )
            return
        self._heartbeat = min(HEARTBEAT.total_seconds(), drawn.lease.total_seconds() / 4)
        self.told = totals
        self._on_told(drawn, totals)

    def _ask(self, more: Mapping[str, int], holding: Mapping[str, int]) -> None:
        outcome: list[Extended | None] = [None]

        def ask(ledger: QuotaLedger) -> None:
            outcome[0] = self._extend(ledger, self._reservation_id, more, self._clock(), holding=holding)

        self._try(ask)
        self._on_extended(outcome[0])

    def _try(self, action: Callable[[QuotaLedger], None]) -> bool:
        """Do something with the store; whatever it raises is logged once a minute and ends no load."""
        try:
            action(self._find_ledger())
        except Exception as failed:
            self.failures += 1
            now = self._clock()
            if self._warned_at is None or not timedelta(0) <= now - self._warned_at < WARN_EVERY:
                self._warned_at = now
                # Other errors may hold anything in their texts.
                said = str(failed) if isinstance(failed, StoreError) else f"{type(failed).__name__}."
                log.warning(
                    "What the load spends cannot be drawn from reservation %s; the load goes on, and all that it was "
                    "granted stays reserved. %s",
                    self._reservation_id,
                    said,
                )
            return False
        return True
