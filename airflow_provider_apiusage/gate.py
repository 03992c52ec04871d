"""One turn of the gate: decide inside one transaction, read the org only if that can change the answer, say when to
come back.

A turn has at most two halves. The first asks the ledger with what is already known. If the answer hangs on figures
that are missing or too old, and no other process is reading the org, the second half reads it (one API call, outside
any transaction) and asks again. Nobody ever looks first and takes later: whoever is granted was granted by the same
transaction that looked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType

from airflow_provider_apiusage.gate_knowledge import foresee, knowledge_of
from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import DEFAULT_RULES, Approve, Rules, Verdict, decide
from airflow_provider_apiusage.quota.reading_helps import ReadingHelps
from airflow_provider_apiusage.quota.turned import Place as Place
from airflow_provider_apiusage.quota.turned import Turned as Turned
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

RENEWED_EVERY = GHOST_AFTER / 2
"""How often one that asks all the time is written down as still being there."""

PATIENCE = timedelta(seconds=1)
"""The turns of one process are taken one after the other, which brings each to its end sooner than all at once; but one
that is held up holds no other up for longer."""

FIRST = 16
"""So many at the head of the queue are asked before the others whether the org should be read."""

WAITS_KEPT_EVERY = timedelta(minutes=15)
"""How often the decision that one who stands behind others still waits is kept, with what has changed; the first in the
queue is told at once. Figures change with every reading, and thousands may wait behind."""


HELD_ALREADY = "the reservation is held already."
"""The reason of a grant that is none of this turn."""

_one_turn = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Claim:
    """The right to read the org now.

    :param until: when it ends by itself (our clock).
    :param places: where those who wait stand meanwhile.
    :param failed: whether the org could not be read.
    """

    until: datetime
    places: Mapping[Holder, Place]
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

    def turn_all(
        self, org_id: str, requests: Collection[QuotaRequest], seen: Mapping[Holder, Place] = MappingProxyType({})
    ) -> Turned:
        """Take one turn for many requests that wait for one org.

        Requests of other processes keep their places among them, and are decided by their own turns.

        :param org_id: the org that all of the requests are about.
        :param requests: one for each holder.
        :param seen: where they stood after the last turn that this process took for them; so long as they still do,
            nothing has to be written for those who go on waiting.
        :raises ApiUsageError: if the org had to be read and asking again cannot help; nobody was answered then.
        :raises StoreError: if the store could not be reached.
        """
        answer = self._ask(org_id, requests, seen)
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
        turned = self._ask(org_id, requests, answer.places, replace(answer, failed=failure is not None))
        assert isinstance(turned, Turned)
        return turned if failure is None else turned.with_remark(f"The org could not be read just now: {failure}")

    def _ask(
        self,
        org_id: str,
        requests: Collection[QuotaRequest],
        seen: Mapping[Holder, Place],
        claim: _Claim | None = None,
    ) -> Turned | _Claim:
        """Decide by what is known, or ask the caller to read the org first and then ask again with the claim.

        :param claim: the right to read, which has been made use of.
        """
        foreseen = foresee(self.store, org_id, self.clock())
        with _after_others(), self.ledger.turn(org_id) as turn:
            now = self.clock()  # not before it is our turn: others may have held the lock for a while
            waits_until = now + self.poll_interval + GHOST_AFTER
            if claim is not None:
                # An org that could not be read is left alone for a while, by all gates, whatever their intervals.
                pause = now + min(self.poll_interval, READING_TAKES) if claim.failed else None
                turn.end_claim(claim.until, pause)
            while self._owed:
                turn.end_claim(self._owed.pop().until, None)
            turn.lapse(now)
            signs = turn.signs()
            joined = turn.join_all(
                requests,
                now,
                waits_until,
                seen={holder: place.held_until for holder, place in seen.items()},
                enough=waits_until - RENEWED_EVERY,
            )
            decisions: dict[Holder, Decision] = {
                holder: Grant(held, HELD_ALREADY) for holder, held in joined.held.items()
            }
            places = {
                holder: Place(until, seen[holder].kept_at if holder in seen else None)
                for holder, until in joined.waits_until.items()
            }
            if places:
                queue = turn.queue()
                readings = turn.latest_readings(sorted({name for waiting in queue for name in waiting.needs}))
                knowledge = knowledge_of(
                    turn, self.store, foreseen, queue, readings, now, now + self.poll_interval, self.rules
                )
                helps = _reading_helps(turn, readings, now, self.poll_interval, foreseen.staleness.most)
                helped: set[Holder] = set()
                # Nearly always one of the first wants a reading, if anybody does.
                for some in (queue[:FIRST], queue) if claim is None else (queue,):
                    verdicts = [each for each in decide(some, knowledge) if each[0].holder in places]
                    if claim is None:
                        helped = {request.holder for request, verdict in verdicts if helps(request, verdict)}
                    if helped and turn.claim_poll(now, now + READING_TAKES):
                        return _Claim(now + READING_TAKES, places)
                if helped:
                    # Wait for what the other gate reads, whatever the old figures say.
                    again = self._look_again(turn.claimed_until() or now, now)
                    verdicts = [
                        (request, _wait_for_other(verdict, again) if request.holder in helped else verdict)
                        for request, verdict in verdicts
                    ]
                decisions |= _enter(turn, verdicts, places, now)
        untils = [each.until for each in decisions.values() if isinstance(each, Wait)]
        return Turned(decisions, places, min([*untils, now + self.poll_interval]), signs)

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


def _reading_helps(
    turn: Turn, readings: Mapping[str, LimitReading], now: datetime, poll_interval: timedelta, staleness: timedelta
) -> ReadingHelps:
    def would_settle(names: tuple[str, ...]) -> bool:
        return turn.reading_would_settle(readings, names, now, staleness)

    return ReadingHelps(readings, now, poll_interval, staleness, turn.last_read_at(), cache(would_settle))


@contextmanager
def _after_others() -> Iterator[None]:
    mine = _one_turn.acquire(timeout=PATIENCE.total_seconds())
    try:
        yield
    finally:
        if mine:
            _one_turn.release()


def _wait_for_other(verdict: Verdict, until: datetime) -> Wait:
    reason = f"{verdict.reason} Another gate is asking the org, or could not read it a moment ago."
    return Wait(until, reason, verdict.figures)


def _enter(
    turn: Turn, verdicts: Sequence[tuple[QuotaRequest, Verdict]], places: dict[Holder, Place], now: datetime
) -> dict[Holder, Decision]:
    """Write verdicts into the ledger, in the transaction that they were made in, and bring the places up to date."""
    kinds = {Approve: "grant", Wait: "wait", Refuse: "refuse"}
    rarely = now - WAITS_KEPT_EVERY
    waited_for: set[str] = set()
    decided = []
    for asked, one in verdicts:
        since = None
        if isinstance(one, Wait):
            if waited_for.issuperset(asked.needs):  # not the first in the queue for any of its limits
                kept_at, since = places[asked.holder].kept_at, rarely
                if kept_at is not None and kept_at > rarely:
                    continue
            waited_for.update(asked.needs)
        decided.append(Decided(asked, kinds[type(one)], one.reason, one.figures, since))
    for holder, kept_at in turn.record_all(decided, now).items():
        places[holder] = replace(places[holder], kept_at=kept_at)
    granted = turn.grant_all([asked for asked, one in verdicts if isinstance(one, Approve)], now)
    refused = [asked for asked, one in verdicts if isinstance(one, Refuse)]
    turn.refuse_all(refused, now)
    for holder in (*granted, *(asked.holder for asked in refused)):
        del places[holder]
    return {
        asked.holder: Grant(granted[asked.holder], one.reason, one.figures) if isinstance(one, Approve) else one
        for asked, one in verdicts
    }
