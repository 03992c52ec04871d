"""Readings that cost nothing: what the answers to somebody else's calls say about the allowance.

A load makes thousands of calls, and most answers tell how much is used. Of these only the newest is held, and it is
handed to the store once in a while and whenever it matters. A thread of our own writes, so that no call waits for the
store: a busy SQLite file blocks for up to 30 seconds, a database that is away for longer. Its queue holds one reading
per org, because a newer one says all that an older one said.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from airflow_provider_apiusage.salesforce.limits import reading_from_header, reading_of_refusal
from airflow_provider_apiusage.salesforce.login import utc_now
from airflow_provider_apiusage.salesforce.metering import Exchange
from airflow_provider_apiusage.usage.model import LimitReading

log = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=60)
"""How often readings are kept while nothing remarkable happens."""

JUMP = 100
"""Usage that moved by one part in this many of the limit (1 %) since the reading kept last is kept at once."""

FLUSH_SECONDS = 5.0
"""How long the end of a load waits for its last reading to be kept."""

_LIMITS = re.compile(r"/services/data/v[0-9.]+/limits/?")
_UNKNOWN = ""
"""Stands for the org's id as long as nobody has told it."""


class HeaderReadings:
    """Listens to one session, which speaks to one org; safe to share between threads.

    Kept at once: the first reading, one whose usage jumped (:data:`JUMP`), a changed limit, and the first refusal for
    want of allowance. Everything else is kept once per interval at most, the newest of it. Nothing here raises into a
    call: what the store refuses is logged once per interval, counted, and tried again with the newest reading.

    No reading comes from log-ins and other calls that do not count, from refused tokens, from another host than the
    org's, and from ``/limits``, whose body says the same and more to whoever asked.

    :param write: keeps readings; whatever it raises must be fit to be logged.
    :param interval: see above; zero keeps every reading that the store is fast enough for.
    :param clock: our clock.
    :param org_id: the 15-character id of the org, where it is known; a token that names its org wins.
    """

    def __init__(
        self,
        write: Callable[[Sequence[LimitReading]], None],
        *,
        interval: timedelta = INTERVAL,
        clock: Callable[[], datetime] = utc_now,
        org_id: str | None = None,
    ) -> None:
        self._write = write
        self._interval = interval
        self._clock = clock
        self._org_id = org_id
        self._host: str | None = None
        self._changed = threading.Condition()
        self._pending: dict[str, LimitReading] = {}
        self._taken: dict[str, LimitReading] = {}
        self._taken_at: datetime | None = None
        self._warned_at: datetime | None = None
        self._due = self._writing = self._ended = False
        self._writer: threading.Thread | None = None
        self.kept = 0
        """Readings handed to the store so far."""
        self.failures = 0
        """Times that the store did not take them."""

    def __call__(self, exchange: Exchange) -> None:
        """Look at one exchange; takes microseconds and never raises."""
        reading = _reading_of(exchange, exchange.org_id or _UNKNOWN)
        if reading is None:
            return
        with self._changed:
            host = _plain(exchange.host)
            if self._host is None:
                self._host = host
            if host == self._host:
                self._offer(replace(reading, org_id=reading.org_id or self._org_id or _UNKNOWN))

    def host_is(self, host: str) -> None:
        """Learn the org's host; until then it is that of the first answer with a usable header.

        :param host: with the port, if it has one.
        """
        with self._changed:
            self._host = _plain(host)

    def org_is(self, org_id: str) -> None:
        """Learn the org's id, which its tokens may not tell; what was held back for it is kept now."""
        with self._changed:
            self._org_id = org_id
            held = self._pending.pop(_UNKNOWN, None)
            if held is not None:
                self._offer(replace(held, org_id=org_id))

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Keep what is held, now, and wait for it.

        :param timeout: seconds to wait at most.
        :returns: whether nothing is left to keep; readings of an org without an id stay.
        """
        with self._changed:
            if not self._waiting() and not self._writing:
                return True
            self._wake()
            self._changed.wait_for(lambda: self._writer is None or not (self._due or self._writing), timeout)
            return not self._waiting() and not self._writing

    def end(self) -> None:
        """Keep what is held without waiting for it, and give up the thread; for a session that is gone.

        Called by the garbage collector, in whatever thread it runs: nothing here may block.
        """
        with self._changed:
            self._ended = True
            if self._writer is None:
                atexit.unregister(self.flush)
            else:
                self._due = True
                self._changed.notify_all()

    def _offer(self, reading: LimitReading) -> None:
        org_id = reading.org_id
        taken = self._taken.get(org_id)
        newest = max((r for r in (taken, self._pending.get(org_id)) if r is not None), key=_age, default=None)
        if newest is not None and _age(reading) < _age(newest):
            return
        self._pending[org_id] = reading
        if org_id == _UNKNOWN:
            return
        if taken is None or _matters(reading, taken) or self._passed_since(self._taken_at, self._interval):
            self._wake()
        else:
            self._start_writer()

    def _passed_since(self, instant: datetime | None, interval: timedelta) -> bool:
        """Whether an interval is over; also if our clock was set back behind its beginning."""
        return instant is None or not timedelta(0) <= self._clock() - instant < interval

    def _waiting(self) -> bool:
        return any(org_id != _UNKNOWN for org_id in self._pending)

    def _wake(self) -> None:
        self._due = True
        self._start_writer()
        self._changed.notify_all()

    def _start_writer(self) -> None:
        """Have a writer; not one that a fork left behind in the parent process."""
        if self._writer is not None and self._writer.is_alive():
            return
        self._writer = threading.Thread(target=self._keep_writing, name="apiusage-readings", daemon=True)
        try:
            self._writer.start()
        except RuntimeError:  # no more threads, or the interpreter is on its way out
            self._writer = None
            self._due = False
            self.failures += 1
        else:
            # Not weakref.finalize: its one exit handler is lost in a process that Airflow forks for a task.
            atexit.unregister(self.flush)
            atexit.register(self.flush)

    def _keep_writing(self) -> None:
        """The writer: take what is due, or what an interval has left behind; end when there is nothing more."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._due or self._ended, min(self._interval.total_seconds(), threading.TIMEOUT_MAX)
                )
                self._due = False
                taken = {org_id: r for org_id, r in self._pending.items() if org_id != _UNKNOWN}
                if not taken:
                    self._writer = None
                    if self._ended:
                        atexit.unregister(self.flush)
                    self._changed.notify_all()
                    return
                for org_id in taken:
                    del self._pending[org_id]
                self._taken |= taken
                self._taken_at = self._clock()
                self._writing = True
            failure = self._try_to_write(list(taken.values()))
            if failure is not None:
                self._tell(failure)
            with self._changed:
                self._writing = False
                if failure is None:
                    self.kept += len(taken)
                else:
                    self.failures += 1
                    if not self._ended:
                        self._pending = taken | self._pending
                self._changed.notify_all()

    def _try_to_write(self, readings: list[LimitReading]) -> Exception | None:
        try:
            self._write(readings)
        except Exception as failed:
            return failed
        return None

    def _tell(self, failure: Exception) -> None:
        """Log a failure; not under the lock: logging may set off the garbage collector, which calls :meth:`end`."""
        if self._passed_since(self._warned_at, max(self._interval, INTERVAL)):
            self._warned_at = self._clock()
            log.warning("What the org's answers say about its usage cannot be kept; the load goes on. %s", failure)


def _reading_of(exchange: Exchange, org_id: str) -> LimitReading | None:
    if not exchange.counted or exchange.status == 401 or _LIMITS.fullmatch(exchange.path):
        return None
    read = reading_of_refusal if exchange.exhausted else reading_from_header
    return read(exchange.limit_info, org_id=org_id, observed_at=exchange.observed_at, received_at=exchange.received_at)


def _matters(reading: LimitReading, kept: LimitReading) -> bool:
    """Whether a reading says something new enough to be kept at once."""
    left, left_before = reading.remaining or 0, kept.remaining or 0  # headers and refusals always tell it
    if left <= 0 < left_before:
        return True
    if reading.limit is None:
        return False
    if kept.limit is not None and kept.limit != reading.limit:
        return True
    moved = abs(left - left_before)
    return moved > 0 and moved * JUMP >= reading.limit


def _age(reading: LimitReading) -> tuple[datetime, datetime]:
    """The order in which the store, too, tells which of two readings is the later one."""
    return reading.observed_at, reading.received_at


def _plain(host: str) -> str:
    return host.lower().removesuffix(":443")
