"""One turn of the gate: decide inside one transaction, read the org only if that can change the answer, say when to
come back.

A turn has at most two halves. The first asks the ledger with what is already known. If the answer hangs on figures
that are missing or too old, and no other process is reading the org, the second half reads it (one API call, outside
any transaction) and asks again. Nobody ever looks first and takes later: whoever is granted was granted by the same
transaction that looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from airflow_provider_apiusage.quota.model import Decision, Grant, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import Approve, Knowledge, OpensAt, Verdict, decide, must_expire
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    ConcurrencyLimitError,
    MalformedAnswerError,
    UnavailableError,
)
from airflow_provider_apiusage.salesforce.limits import reading_of_refusal
from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.curve import Curve
from airflow_provider_apiusage.usage.model import STALENESS, WINDOW, LimitReading
from airflow_provider_apiusage.usage.window import earliest_expiry, statements_of_reading

PASSING = (UnavailableError, ConcurrencyLimitError, MalformedAnswerError)
"""Failures to read that may be over next time: a gate that waits for hours waits through them."""

READING_TAKES = timedelta(minutes=5)
"""How long a process may take to read the org, repeats included, before another one is let at it."""

SOON = timedelta(seconds=5)
"""When to look again while another process has just begun to read the org; later, more rarely."""

GHOST_AFTER = timedelta(minutes=10)
"""A request that has not asked again for this long beyond its time is taken for gone and leaves the queue."""

MOST_READINGS = 200
"""Readings of the last two days that the expiry curve is made from; leaving some out only widens its bounds."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """The right to read the org now.

    :param until: when it ends by itself (our clock).
    :param failed: whether the org could not be read.
    """

    until: datetime
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one store, as one process sees it.

    :param ledger: requests and reservations.
    :param store: readings.
    :param read: reads the org's limits now; raises what the session raises. It spends one API call.
    :param poll_interval: the shortest time between two readings of the org, for all gates together, unless a request
        needs newer figures (``max_age``).
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
        answer = self._ask(request)
        if not isinstance(answer, _Claim):
            return answer
        failure: ApiUsageError | None = None
        try:
            self.store.add_readings(self.read())
        except AllowanceExhaustedError as exhausted:  # by an org that does not tell who it is
            self.store.add_readings([self._reading_of(exhausted, request.org_id)])
        except PASSING as failed:
            failure = failed
        except BaseException:
            self._give_back(request.org_id, answer)
            raise
        decision = self._ask(request, replace(answer, failed=failure is not None))
        assert not isinstance(decision, _Claim)
        if failure is not None and not isinstance(decision, Grant):
            return replace(decision, reason=f"{decision.reason} The org could not be read just now: {failure}")
        return decision

    def _ask(self, request: QuotaRequest, claim: _Claim | None = None) -> Decision | _Claim:
        """Decide by what is known, or ask the caller to read the org first and then ask again with the claim.

        :param claim: the right to read, which has been made use of.
        """
        now = self.clock()
        with self.ledger.turn(request.org_id) as turn:
            if claim is not None:
                # An org that could not be read is left alone for a while, by all gates, whatever their intervals.
                pause = now + min(self.poll_interval, READING_TAKES) if claim.failed else None
                turn.end_claim(claim.until, pause)
            turn.lapse(now)
            held = turn.join(request, now, waits_until=now + self.poll_interval + GHOST_AFTER)
            if held is not None:
                return Grant(held, "the reservation is held already.")
            queue = turn.queue()
            readings = turn.latest_readings(sorted({name for waiting in queue for name in waiting.needs}))
            verdict = self._verdict(turn, request, queue, readings, now)
            if claim is None and self._reading_could_help(turn, request, verdict, readings, now):
                until = now + READING_TAKES
                if turn.claim_poll(now, until):
                    return _Claim(until)
                # Wait for what the other gate reads, whatever the old figures say.
                reason = f"{verdict.reason} Another gate is asking the org, or could not read it a moment ago."
                verdict = Wait(self._look_again(turn.claimed_until() or now, now), reason, verdict.figures)
            return _enter(turn, request, verdict, now)

    def _reading_of(self, exhausted: AllowanceExhaustedError, org_id: str) -> LimitReading:
        now = self.clock()
        return reading_of_refusal(
            exhausted.limit_info,
            org_id=org_id,
            observed_at=exhausted.observed_at or now,
            received_at=exhausted.received_at or now,
        )

    def _look_again(self, claimed_until: datetime, now: datetime) -> datetime:
        """Return when to look for what another gate reads: soon at first, then in steps that double."""
        claimed_for = READING_TAKES - (claimed_until - now)
        return min(claimed_until, now + max(claimed_for, min(SOON, self.poll_interval)))

    def _give_back(self, org_id: str, claim: _Claim) -> None:
        """Let others read the org, after a failure that is about our connection; the claim ends by itself otherwise."""
        with suppress(StoreError), self.ledger.turn(org_id) as turn:
            turn.end_claim(claim.until, None)

    def _verdict(
        self,
        turn: Turn,
        request: QuotaRequest,
        queue: Sequence[QuotaRequest],
        readings: Mapping[str, LimitReading],
        now: datetime,
    ) -> Verdict:
        names = sorted({name for waiting in queue for name in waiting.needs})
        knowledge = Knowledge(
            readings=readings,
            outstanding=turn.outstanding(readings, names, now),
            now=now,
            retry_at=now + self.poll_interval,
            opens_at=_expiry(turn, readings),
            reported=cache(turn.reported),
        )
        mine = next(place for place, waiting in enumerate(queue) if waiting.holder == request.holder)
        return decide(queue[: mine + 1], knowledge)[mine][1]

    def _reading_could_help(
        self,
        turn: Turn,
        request: QuotaRequest,
        verdict: Verdict,
        readings: Mapping[str, LimitReading],
        now: datetime,
    ) -> bool:
        """Whether a new reading could change the verdict.

        Not if the org was read within ``poll_interval``, or ``max_age`` if that is shorter; not while the window proves
        that too few calls can have left it, and not while only other loads' reservations stand in the way; but never
        longer than ``max_age``, since a limit may be raised.
        """
        last_read_at = turn.last_read_at()
        if last_read_at is not None and now - last_read_at < min(self.poll_interval, request.max_age):
            return False
        known = [readings[name] for name in request.needs if name in readings]
        stale = len(known) < len(request.needs) or max(now - r.received_at for r in known) > request.max_age
        if isinstance(verdict, Approve):
            return stale  # allowed blind: look first
        if isinstance(verdict, Refuse) or stale or turn.reading_would_settle(readings, list(request.needs), now):
            return True
        if verdict.opens_at is not None:
            return now + max(r.skew for r in known) >= verdict.opens_at
        return any(must_expire(each) for each in verdict.figures)


def _expiry(turn: Turn, readings: Mapping[str, LimitReading]) -> OpensAt:
    """Return how to tell the earliest instant (the org's time) at which calls can have left a limit's window.

    The curve of a limit is made once, however many wait in the queue: the turn holds the org's lock meanwhile.
    """

    @cache
    def curve_of(name: str) -> Curve:
        at = readings[name].observed_at
        history = turn.readings(name, at - 2 * WINDOW - STALENESS, at)
        step = -(-len(history) // MOST_READINGS) or 1
        return Curve(s for reading in history[::-step] for s in statements_of_reading(reading))

    @cache
    def opens_at(name: str, calls: int) -> datetime | None:
        if not name.startswith("Daily"):
            return None  # the window of other limits is not 24 hours
        curve = curve_of(name)
        return None if curve.conflict() is not None else earliest_expiry(curve, readings[name].observed_at, calls)

    return opens_at


def _enter(turn: Turn, request: QuotaRequest, verdict: Verdict, now: datetime) -> Decision:
    """Write the verdict into the ledger, in the transaction that it was made in."""
    if isinstance(verdict, Approve):
        turn.record(request, now, "grant", verdict.reason, verdict.figures)
        return Grant(turn.grant(request, now), verdict.reason, verdict.figures)
    kind = "wait" if isinstance(verdict, Wait) else "refuse"
    turn.record(request, now, kind, verdict.reason, verdict.figures)
    if isinstance(verdict, Refuse):
        turn.refuse(request, now)
    return verdict
