"""One look at an org's quota for those who only want to know: it takes nothing, and nobody in the queue notices it.

What is looked at is what a turn of the gate looks at, by the same policy, from the same figures, under the same lock,
with the same claim before the org is read. Imported in a thread only: it brings in the store.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from airflow_provider_apiusage.gate import PASSING, READING_TAKES, SOON, Gate
from airflow_provider_apiusage.gate_knowledge import foresee, knowledge_of
from airflow_provider_apiusage.quota.model import QuotaRequest, Refuse, Wait
from airflow_provider_apiusage.quota.policy import Approve, Verdict, decide
from airflow_provider_apiusage.quota.reading_helps import ReadingHelps
from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.usage.model import LimitReading


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found out for one request.

    :param fits: whether the gate would let it through if it came now; ``None`` if it is not known what is left.
    :param available: the headroom, in calls; ``None`` likewise.
    :param unspent: what it would be if all that is outstanding were given back; ``None`` likewise.
    :param reason: in words, with the arithmetic.
    :param reading: the latest reading of the limit; ``None`` if there is none.
    :param at: the org's instant of the look.
    """

    fits: bool | None
    available: int | None
    unspent: int | None
    reason: str
    reading: LimitReading | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of a look.

    :param seen: for each request, in their order.
    :param next_at: when the next look can make sense (our clock).
    :param failure: why the org could not be read, if it should have been.
    """

    seen: tuple[Seen, ...]
    next_at: datetime
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class _Claim:
    until: datetime
    failed: bool = False


def news_of(ledger: QuotaLedger, org_id: str, now: datetime) -> object:
    """Return what is another after anybody has read the org, or was granted calls, or gave them back; takes no lock.

    :param now: our clock.
    :raises StoreError: if the store could not be read.
    """
    held = frozenset(each.reservation_id for each in ledger.reservations(org_id, now))
    return ledger.signs(org_id), held


def look(gate: Gate, org_id: str, requests: Sequence[QuotaRequest]) -> Looked:
    """Look for several requests at once; read the org first if that can change what is seen, and nobody else does.

    :param gate: of the org's store; its ``poll_interval`` counts.
    :param requests: each of one limit; none of them joins the queue.
    :raises ApiUsageError: if the org had to be read and asking again cannot help.
    :raises StoreError: if the store could not be reached.
    """
    answer = _ask(gate, org_id, requests, None)
    if isinstance(answer, Looked):
        return answer
    failure: Exception | None = None
    try:
        gate.store.add_readings(gate.read())
    except (*PASSING, AllowanceExhaustedError) as failed:
        failure = failed
    except BaseException:
        with gate.ledger.turn(org_id) as turn:
            turn.end_claim(answer.until, None)
        raise
    looked = _ask(gate, org_id, requests, _Claim(answer.until, failed=failure is not None))
    assert isinstance(looked, Looked)
    return looked if failure is None else Looked(looked.seen, looked.next_at, str(failure))


def _ask(gate: Gate, org_id: str, requests: Sequence[QuotaRequest], claim: _Claim | None) -> Looked | _Claim:
    """Look at what is known, or ask the caller to read the org first and then to ask again with the claim."""
    now = gate.clock()
    retry_at = now + gate.poll_interval
    foreseen = foresee(gate.store, org_id, now)
    with gate.ledger.turn(org_id) as turn:
        if claim is not None:
            turn.end_claim(claim.until, now + min(gate.poll_interval, READING_TAKES) if claim.failed else None)
        turn.lapse(now)
        queue = turn.queue()
        readings = turn.latest_readings(sorted({name for each in (*queue, *requests) for name in each.needs}))
        knowledge = knowledge_of(turn, gate.store, foreseen, (*queue, *requests), readings, now, retry_at, gate.rules)
        # Each for itself, behind those who wait: one who looks stands in nobody's way.
        verdicts = [
            next(verdict for asked, verdict in decide((*queue, request), knowledge) if asked is request)
            for request in requests
        ]
        again: datetime | None = None
        unsettled: Collection[int] = ()
        if claim is None:
            staleness = foreseen.staleness.most
            settles = cache(lambda names: turn.reading_would_settle(readings, names, now, staleness))
            helps = ReadingHelps(readings, now, gate.poll_interval, staleness, turn.last_read_at(), settles)
            unsettled = [
                n
                for n, (request, verdict) in enumerate(zip(requests, verdicts, strict=True))
                # What can never fit is looked at again for a limit that is raised, but not as often as one who waits.
                if helps(request, verdict) and (_stale(request, readings, now) or not isinstance(verdict, Refuse))
            ]
            if unsettled:
                until = now + READING_TAKES
                if turn.claim_poll(now, until):
                    return _Claim(until)
                claimed_until = turn.claimed_until() or now
                claimed_for = READING_TAKES - (claimed_until - now)
                again = min(claimed_until, now + max(claimed_for, min(SOON, gate.poll_interval)))
    seen = tuple(
        _seen(request, verdict, readings, now, in_doubt=n in unsettled)
        for n, (request, verdict) in enumerate(zip(requests, verdicts, strict=True))
    )
    nexts = [
        _next_look(request, verdict, readings, retry_at) for request, verdict in zip(requests, verdicts, strict=True)
    ]
    return Looked(seen, min([again or retry_at, retry_at, *nexts]))


def _seen(
    request: QuotaRequest, verdict: Verdict, readings: dict[str, LimitReading], now: datetime, *, in_doubt: bool
) -> Seen:
    (name,) = request.needs
    (figures,) = verdict.figures
    reading = readings.get(name)
    at = now if reading is None else now + reading.skew
    # A figure may be too old to grant on, and still tell that too little is free.
    short = isinstance(verdict, Wait) and verdict.look is not None
    unknown = in_doubt or figures.headroom is None or (_stale(request, readings, now) and not short)
    fits = None if unknown else isinstance(verdict, Approve)
    unspent = None if figures.headroom is None else figures.headroom + (figures.outstanding or 0)
    return Seen(fits, figures.headroom, unspent, verdict.reason, reading, at)


def _stale(request: QuotaRequest, readings: dict[str, LimitReading], now: datetime) -> bool:
    return any(name not in readings or now - readings[name].received_at > request.max_age for name in request.needs)


def _next_look(
    request: QuotaRequest, verdict: Verdict, readings: dict[str, LimitReading], otherwise: datetime
) -> datetime:
    """Return when a request is worth another look: what is free is so until its figures are too old to say so."""
    if isinstance(verdict, Wait):
        return verdict.until
    soon = timedelta(milliseconds=1)  # at the age itself they still hold
    return min([otherwise, *(readings[n].received_at + request.max_age + soon for n in request.needs if n in readings)])
