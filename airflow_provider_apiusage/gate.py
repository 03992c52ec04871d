"""One turn of the gate: decide inside one transaction, read the org only if that can change the answer, say when to
come back.

A turn has at most two halves. The first asks the ledger with what is already known. If the answer hangs on figures
that are missing or too old, and no other process is reading the org, the second half reads it (one API call, outside
any transaction) and asks again. Nobody ever looks first and takes later: whoever is granted was granted by the same
transaction that looked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache

from airflow_provider_apiusage.gate_knowledge import Foreseen, foresee, knowledge_of
from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import DEFAULT_RULES, Approve, Rules, Verdict, decide, must_expire
from airflow_provider_apiusage.quota.waking import shortest_pause
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    ConcurrencyLimitError,
    MalformedAnswerError,
    UnavailableError,
)
from airflow_provider_apiusage.salesforce.limits import reading_of_refusal
from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.store.quota_batch import Decided
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import LimitReading

PASSING = (UnavailableError, ConcurrencyLimitError, MalformedAnswerError)
"""Failures to read that may be over next time: a gate that waits for hours waits through them."""

READING_TAKES = timedelta(minutes=5)
"""How long a process may take to read the org, repeats included, before another one is let at it."""

SOON = timedelta(seconds=5)
"""When to look again while another process has just begun to read the org; later, more rarely."""

GHOST_AFTER = timedelta(minutes=10)
"""A request that has not asked again for this long beyond its time is taken for gone and leaves the queue."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """The right to read the org now.

    :param until: when it ends by itself (our clock).
    :param failed: whether the org could not be read.
    """

    until: datetime
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turned:
    """What came of a turn.

    :param decisions: by holder.
    :param next_at: when the next turn can make sense, ``poll_interval`` from now at the latest (our clock).
    :param waits_until: when those who wait leave the queue unless they ask again (our clock).
    :param signs: what the store knew when it was asked; see ``QuotaLedger.signs``.
    """

    decisions: Mapping[Holder, Decision]
    next_at: datetime
    waits_until: datetime
    signs: tuple[datetime | None, ...]

    def with_reason(self, reason: str) -> Turned:
        """Return it with a sentence more for everybody who was not granted."""
        return replace(
            self,
            decisions={
                holder: one if isinstance(one, Grant) else replace(one, reason=f"{one.reason} {reason}")
                for holder, one in self.decisions.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one store, as one process sees it.

    :param ledger: requests and reservations.
    :param store: readings.
    :param read: reads the org's limits now; raises what the session raises. It spends one API call.
    :param poll_interval: the shortest time between two readings of the org, for all gates together, unless a request
        needs newer figures (``max_age``).
    :param clock: our clock, aware UTC.
    :param rules: what the policy is told to do otherwise.
    """

    ledger: QuotaLedger
    store: UsageStore
    read: Callable[[], Sequence[LimitReading]]
    poll_interval: timedelta
    clock: Callable[[], datetime]
    rules: Rules = DEFAULT_RULES
    _owed: list[_Claim] = field(default_factory=list, repr=False, compare=False)
    """Claims that could not be given back, because the store was away; the next turn does it."""

    def turn(self, request: QuotaRequest) -> Decision:
        """Take one turn for one request.

        :param request: what is asked for; asking again under the same holder keeps the place in the queue, or
            returns the same grant.
        :raises ApiUsageError: if the org had to be read and asking again cannot help.
        :raises StoreError: if the store could not be reached.
        """
        return self.turn_all(request.org_id, [request]).decisions[request.holder]

    def turn_all(self, org_id: str, requests: Collection[QuotaRequest]) -> Turned:
        """Take one turn for many requests that wait for one org.

        Requests of other processes keep their places among them, and are decided by their own turns.

        :param org_id: the org that all of the requests are about.
        :param requests: one for each holder.
        :raises ApiUsageError: if the org had to be read and asking again cannot help; nobody was answered then.
        :raises StoreError: if the store could not be reached.
        """
        answer = self._ask(org_id, requests)
        if isinstance(answer, Turned):
            return answer
        failure: ApiUsageError | None = None
        try:
            self.store.add_readings(self.read())
        except AllowanceExhaustedError as exhausted:  # by an org that does not tell who it is
            self.store.add_readings([self._reading_of(exhausted, org_id)])
        except PASSING as failed:
            failure = failed
        except BaseException:
            self._give_back(org_id, answer)
            raise
        turned = self._ask(org_id, requests, replace(answer, failed=failure is not None))
        assert isinstance(turned, Turned)
        return turned if failure is None else turned.with_reason(f"The org could not be read just now: {failure}")

    def _ask(self, org_id: str, requests: Collection[QuotaRequest], claim: _Claim | None = None) -> Turned | _Claim:
        """Decide by what is known, or ask the caller to read the org first and then ask again with the claim.

        :param claim: the right to read, which has been made use of.
        """
        now = self.clock()
        waits_until = now + self.poll_interval + GHOST_AFTER
        foreseen = foresee(self.store, org_id, now)
        with self.ledger.turn(org_id) as turn:
            if claim is not None:
                # An org that could not be read is left alone for a while, by all gates, whatever their intervals.
                pause = now + min(self.poll_interval, READING_TAKES) if claim.failed else None
                turn.end_claim(claim.until, pause)
            while self._owed:
                turn.end_claim(self._owed.pop().until, None)
            turn.lapse(now)
            signs = turn.signs()
            held = turn.join_all(requests, now, waits_until)
            decisions: dict[Holder, Decision] = {
                holder: Grant(reservation, "the reservation is held already.") for holder, reservation in held.items()
            }
            ours = {request.holder for request in requests if request.holder not in held}
            if ours:
                queue = turn.queue()
                readings = turn.latest_readings(sorted({name for waiting in queue for name in waiting.needs}))
                verdicts = [
                    each for each in self._verdicts(turn, foreseen, queue, readings, now) if each[0].holder in ours
                ]
                if claim is None:
                    helps = _ReadingHelps(turn, readings, now, self.poll_interval, foreseen.staleness)
                    helped = {request.holder for request, verdict in verdicts if helps(request, verdict)}
                    if helped:
                        until = now + READING_TAKES
                        if turn.claim_poll(now, until):
                            return _Claim(until)
                        # Wait for what the other gate reads, whatever the old figures say.
                        again = self._look_again(turn.claimed_until() or now, now)
                        verdicts = [
                            (request, _wait_for_other(verdict, again) if request.holder in helped else verdict)
                            for request, verdict in verdicts
                        ]
                decisions |= _enter(turn, verdicts, now)
        untils = [each.until for each in decisions.values() if isinstance(each, Wait)]
        return Turned(decisions, min([*untils, now + self.poll_interval]), waits_until, signs)

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
        try:
            with self.ledger.turn(org_id) as turn:
                turn.end_claim(claim.until, None)
        except StoreError:
            self._owed.append(claim)

    def _verdicts(
        self,
        turn: Turn,
        foreseen: Foreseen,
        queue: Sequence[QuotaRequest],
        readings: Mapping[str, LimitReading],
        now: datetime,
    ) -> list[tuple[QuotaRequest, Verdict]]:
        knowledge = knowledge_of(turn, self.store, foreseen, queue, readings, now, now + self.poll_interval, self.rules)
        return decide(queue, knowledge)


class _ReadingHelps:
    """Whether a new reading could change a verdict of this turn; the store is asked once, whoever asks."""

    def __init__(
        self,
        turn: Turn,
        readings: Mapping[str, LimitReading],
        now: datetime,
        poll_interval: timedelta,
        staleness: timedelta,
    ) -> None:
        self._readings = readings
        self._now = now
        self._poll_interval = poll_interval
        self._last_read_at = turn.last_read_at()
        self._soonest = shortest_pause(staleness)
        self._would_settle = cache(lambda names: turn.reading_would_settle(readings, names, now, staleness))

    def __call__(self, request: QuotaRequest, verdict: Verdict) -> bool:
        """Tell it of one request.

        Not if the org was read within ``poll_interval``, or ``max_age`` if that is shorter; where an outlook tells that
        a reading may open the gate, that comes down to seconds. Not while outlook or window tell that too few calls can
        have left it, and not while only other loads' reservations stand in the way; but never longer than ``max_age``,
        since a limit may be raised.
        """
        now, last = self._now, self._last_read_at
        foreseen = verdict.look if isinstance(verdict, Wait) else None
        settles = foreseen is not None and self._would_settle(tuple(sorted(request.needs)))
        soon = foreseen or settles
        pause = min(self._poll_interval, request.max_age, *([self._soonest] if soon else []))
        if last is not None and now - last < pause:
            return False
        known = [self._readings[name] for name in request.needs if name in self._readings]
        stale = len(known) < len(request.needs) or max(now - r.received_at for r in known) > request.max_age
        if isinstance(verdict, Approve):
            return stale  # allowed blind: look first
        if isinstance(verdict, Refuse) or stale or settles:
            return True
        if foreseen is not None:
            return foreseen
        if self._would_settle(tuple(sorted(request.needs))):
            return True
        if verdict.opens_at is not None:
            return now + max(r.skew for r in known) >= verdict.opens_at
        return any(must_expire(each) for each in verdict.figures)


def _wait_for_other(verdict: Verdict, until: datetime) -> Wait:
    reason = f"{verdict.reason} Another gate is asking the org, or could not read it a moment ago."
    return Wait(until, reason, verdict.figures)


def _enter(turn: Turn, verdicts: Sequence[tuple[QuotaRequest, Verdict]], now: datetime) -> dict[Holder, Decision]:
    """Write verdicts into the ledger, in the transaction that they were made in."""
    kinds = {Approve: "grant", Wait: "wait", Refuse: "refuse"}
    turn.record_all([Decided(asked, kinds[type(one)], one.reason, one.figures) for asked, one in verdicts], now)
    granted = turn.grant_all([asked for asked, one in verdicts if isinstance(one, Approve)], now)
    turn.refuse_all([asked for asked, one in verdicts if isinstance(one, Refuse)], now)
    return {
        asked.holder: Grant(granted[asked.holder], one.reason, one.figures) if isinstance(one, Approve) else one
        for asked, one in verdicts
    }
