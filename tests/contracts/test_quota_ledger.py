"""The ledger: who waits, who holds, and what is outstanding."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from airflow_provider_apiusage.quota.model import (
    Holder,
    LeaseState,
    LimitFigures,
    OnUnknown,
    QuotaRequest,
    Reservation,
)
from airflow_provider_apiusage.quota.policy import Reported
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger, Released
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, ReadingSource
from tests.support.quota import BATCHES, LEASE, NOW, ORG, holder, minutes, reading, request

TICK = timedelta(microseconds=1)
PATIENCE = minutes(15)
OTHER = "00DBB0000000002"


def join(ledger: QuotaLedger, asked: QuotaRequest, now: datetime = NOW) -> Reservation | None:
    """Ask in a turn of its own."""
    with ledger.turn(asked.org_id) as turn:
        turn.lapse(now)
        return turn.join(asked, now, now + PATIENCE)


def grant(ledger: QuotaLedger, asked: QuotaRequest, now: datetime = NOW) -> Reservation:
    """Queue and be granted in a turn of its own."""
    with ledger.turn(asked.org_id) as turn:
        turn.lapse(now)
        turn.join(asked, now, now + PATIENCE)
        return turn.grant(asked, now)


def outstanding(ledger: QuotaLedger, now: datetime, *names: str, org_id: str = ORG) -> dict[str, int]:
    """Return what is outstanding by the latest readings."""
    asked = names or (API_REQUESTS,)
    with ledger.turn(org_id) as turn:
        turn.lapse(now)
        return turn.outstanding(turn.latest_readings(asked), asked, now)


def test_a_request_queues_and_keeps_its_place(ledger: QuotaLedger) -> None:
    """First come, first served, by the instant of the request; asking again later changes no place."""
    for who, after in (("b", 1), ("a", 0), ("c", 1)):
        assert join(ledger, request(who, at=NOW + minutes(after)), NOW + minutes(2)) is None
    assert join(ledger, request("a", at=NOW + minutes(9)), NOW + minutes(9)) is None

    assert [each.holder for each in ledger.waiting(ORG, NOW + minutes(9))] == [holder("a"), holder("b"), holder("c")]


def test_asking_again_brings_needs_and_terms_up_to_date(ledger: QuotaLedger) -> None:
    """A DAG that was changed while its gate waited asks for what it says now, from the place that it had."""
    join(ledger, request("a", 10_000))
    changed = request(
        "a", {BATCHES: 3}, reserve={BATCHES: 1}, lease=minutes(7), max_age=minutes(1), on_unknown=OnUnknown.FAIL
    )

    join(ledger, replace(changed, requested_at=NOW + minutes(5)), NOW + minutes(5))

    assert ledger.waiting(ORG, NOW + minutes(5)) == (changed,)


def test_a_request_comes_back_from_the_queue_as_it_was_asked(ledger: QuotaLedger) -> None:
    """Every term survives: needs of several limits, shares, durations with fractions of a second."""
    asked = request(
        Holder("dag", "manual__2026-10-07T14:30:00+00:00", "group.gate", 3),
        {API_REQUESTS: 10_000, BATCHES: 5},
        NOW + TICK,
        reserve=0.125,
        lease=timedelta(hours=2, milliseconds=500),
        on_unknown=OnUnknown.ALLOW,
    )

    join(ledger, asked)

    assert ledger.waiting(ORG, NOW) == (asked,)


def test_a_request_that_does_not_ask_again_leaves_the_queue(ledger: QuotaLedger) -> None:
    """It is there until its time is up, and gone at exactly that instant; asking renews the time."""
    join(ledger, request("gone"))
    join(ledger, request("here", at=NOW + TICK))
    join(ledger, request("here", at=NOW + TICK), NOW + minutes(1))

    assert len(ledger.waiting(ORG, NOW + PATIENCE - TICK)) == 2
    assert [each.holder for each in ledger.waiting(ORG, NOW + PATIENCE)] == [holder("here")]
    with ledger.turn(ORG) as turn:
        turn.lapse(NOW + PATIENCE)
        assert [each.holder for each in turn.queue()] == [holder("here")]


def test_map_indexes_are_holders_of_their_own(ledger: QuotaLedger) -> None:
    """Mapped task instances of one task queue and hold independently."""
    granted = grant(ledger, request(holder("run", 0)))
    join(ledger, request(holder("run", 1)))

    assert [each.holder for each in ledger.reservations(ORG, NOW)] == [granted.holder] == [holder("run", 0)]
    assert [each.holder for each in ledger.waiting(ORG, NOW)] == [holder("run", 1)]


def test_asking_again_returns_the_same_reservation(ledger: QuotaLedger) -> None:
    """A task that comes back, or a restarted triggerer, holds what it held, and its lease begins anew."""
    first = grant(ledger, request("a"))

    again = join(ledger, request("a"), NOW + minutes(50))

    assert again == replace(first, held_until=NOW + minutes(50) + LEASE)
    assert ledger.reservations(ORG, NOW + minutes(50)) == (again,)
    assert ledger.waiting(ORG, NOW + minutes(50)) == ()


def test_a_shorter_lease_does_not_shorten_what_is_held(ledger: QuotaLedger) -> None:
    """Renewing with a shorter lease keeps the end that was promised."""
    first = grant(ledger, request("a"))

    assert join(ledger, request("a", lease=minutes(1)), NOW + minutes(1)) == first


def test_a_reservation_lapses_at_exactly_its_end(ledger: QuotaLedger) -> None:
    """A tick before it is held; at held_until its holder queues anew like anybody else."""
    first = grant(ledger, request("a"))

    assert ledger.reservations(ORG, first.held_until - TICK) == (first,)
    assert ledger.reservations(ORG, first.held_until) == ()
    assert join(ledger, request("a"), first.held_until) is None
    again = grant(ledger, request("a"), first.held_until + TICK)
    assert again.reservation_id != first.reservation_id


def test_a_released_reservation_is_over(ledger: QuotaLedger) -> None:
    """Its holder has nothing any more, and queues anew with another reservation to come."""
    first = grant(ledger, request("a"))

    assert ledger.release(first.reservation_id, NOW + minutes(1)) == Released(
        first.reservation_id, True, LeaseState.RELEASED
    )

    assert ledger.reservations(ORG, NOW + minutes(1)) == ()
    assert join(ledger, request("a"), NOW + minutes(2)) is None
    assert grant(ledger, request("a"), NOW + minutes(2)).reservation_id != first.reservation_id


def test_releasing_twice_is_no_error(ledger: QuotaLedger) -> None:
    """The second release changes nothing, not even the instant of the first."""
    first = grant(ledger, request("a", 700))
    ledger.release(first.reservation_id, NOW + minutes(1))
    UsageStore(ledger._engine).add_readings([reading(0, NOW + minutes(6))])

    assert ledger.release(first.reservation_id, NOW + minutes(9)) == Released(
        first.reservation_id, False, LeaseState.RELEASED
    )
    assert outstanding(ledger, NOW + minutes(9)) == {API_REQUESTS: 0}


def test_releasing_what_nobody_knows_is_told(ledger: QuotaLedger) -> None:
    """An id that no reservation has gives None."""
    assert ledger.release("3f0f3c1e-0000-4000-8000-000000000000", NOW) is None


@pytest.mark.parametrize("noticed", [False, True], ids=["before anybody noticed", "after a turn wrote it down"])
def test_releasing_after_the_end_says_lapsed(ledger: QuotaLedger, noticed: bool) -> None:
    """A load that outlived its lease learns that it held nothing any more."""
    first = grant(ledger, request("a"))
    if noticed:
        join(ledger, request("b"), first.held_until)

    assert ledger.release(first.reservation_id, first.held_until) == Released(
        first.reservation_id, False, LeaseState.LAPSED
    )


def test_a_waiting_request_cannot_be_released(ledger: QuotaLedger) -> None:
    """Its id becomes a reservation's only when it is granted; until then it waits on."""
    with ledger.turn(ORG) as turn:
        turn.join(request("a"), NOW, NOW + PATIENCE)
        waiting = turn._live(holder("a"))
    assert waiting is not None

    assert ledger.release(waiting.reservation_id, NOW) == Released(waiting.reservation_id, False, LeaseState.WAITING)
    assert len(ledger.waiting(ORG, NOW)) == 1


def test_withdrawing_leaves_the_queue_and_keeps_a_reservation(ledger: QuotaLedger) -> None:
    """A wait that ended leaves nobody behind a ghost; a grant stays; nothing at all is no error."""
    join(ledger, request("waits"))
    held = grant(ledger, request("holds"))
    with ledger.turn(ORG) as turn:
        for who in ("waits", "holds", "unheard of"):
            turn.leave(holder(who), NOW)

    assert ledger.waiting(ORG, NOW) == ()
    assert ledger.reservations(ORG, NOW) == (held,)
    assert outstanding(ledger, NOW) == {API_REQUESTS: 10_000}


def test_a_refused_request_is_out_of_the_queue_and_may_ask_anew(ledger: QuotaLedger) -> None:
    """Refusing is final for that request and holds nothing; a cleared task starts a new one."""
    join(ledger, request("a"))
    with ledger.turn(ORG) as turn:
        turn.refuse(request("a"), NOW)

    assert ledger.waiting(ORG, NOW) == ()
    assert outstanding(ledger, NOW) == {API_REQUESTS: 0}
    assert join(ledger, request("a", at=NOW + minutes(1)), NOW + minutes(1)) is None
    assert len(ledger.waiting(ORG, NOW + minutes(1))) == 1


def test_only_who_waits_is_granted_or_refused(ledger: QuotaLedger) -> None:
    """Granting somebody who never asked, or who holds already, is an error of the caller."""
    grant(ledger, request("holds"))
    for who in ("holds", "unheard of"):
        with pytest.raises(LookupError, match="is not waiting"), ledger.turn(ORG) as turn:
            turn.grant(request(who), NOW)
        with pytest.raises(LookupError, match="is not waiting"), ledger.turn(ORG) as turn:
            turn.refuse(request(who), NOW)


def test_a_turn_that_fails_leaves_nothing(ledger: QuotaLedger) -> None:
    """An exception inside a turn takes back everything that the turn did."""
    asked = request("a")

    def fail_half_way() -> None:
        with ledger.turn(ORG) as turn:
            turn.join(asked, NOW, NOW + PATIENCE)
            turn.grant(asked, NOW)
            turn.claim_poll(NOW, NOW + minutes(5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()

    assert ledger.waiting(ORG, NOW) == ledger.reservations(ORG, NOW) == ()
    with ledger.turn(ORG) as turn:
        assert turn.claim_poll(NOW, NOW + minutes(5))


def test_orgs_do_not_see_each_other(ledger: QuotaLedger) -> None:
    """One holder may ask two orgs; queue, reservations, decisions and the right to read are each org's own."""
    held = grant(ledger, request("a"))
    join(ledger, request("a", 5_000, org_id=OTHER))
    with ledger.turn(ORG) as turn:
        turn.join(request("b"), NOW, NOW + PATIENCE)
        turn.record(request("b"), NOW, "wait", "No room.", ())
        assert turn.claim_poll(NOW, NOW + minutes(5))

    assert ledger.reservations(ORG, NOW) == (held,)
    assert ledger.reservations(OTHER, NOW) == ()
    assert [each.calls for each in ledger.waiting(OTHER, NOW)] == [5_000]
    assert outstanding(ledger, NOW, org_id=OTHER) == {API_REQUESTS: 0}
    assert ledger.decisions(OTHER) == ()
    with ledger.turn(OTHER) as turn:
        assert turn.claim_poll(NOW, NOW + minutes(5))


def test_one_process_at_a_time_claims_the_right_to_read(ledger: QuotaLedger) -> None:
    """A claim excludes the others until its end, and at exactly its end the next one may claim."""
    claims = [(NOW, True), (NOW, False), (NOW + minutes(5) - TICK, False), (NOW + minutes(5), True)]

    for now, expected in claims:
        with ledger.turn(ORG) as turn:
            assert turn.claim_poll(now, now + minutes(5)) is expected


def test_a_claim_ends_when_who_made_it_says_so(ledger: QuotaLedger) -> None:
    """It is given back, or ends at another time; a claim that others have made since is theirs."""
    until = NOW + minutes(5)
    with ledger.turn(ORG) as turn:
        assert turn.claimed_until() is None
        assert turn.claim_poll(NOW, until)
        assert turn.claimed_until() == until
        turn.end_claim(until + TICK, None)
        assert turn.claimed_until() == until
        turn.end_claim(until, NOW + minutes(2))
        assert not turn.claim_poll(NOW + minutes(2) - TICK, until)
        assert turn.claim_poll(NOW + minutes(2), until)
    with ledger.turn(ORG) as turn:
        turn.end_claim(until, None)
        assert turn.claim_poll(NOW, until)


def test_a_reservation_is_renewed_by_its_id(ledger: QuotaLedger) -> None:
    """Nothing but the store is needed; one that holds longer already, has ended, or never was stays as it is."""
    held = grant(ledger, request("a", lease=minutes(60)))
    later = NOW + minutes(30)

    assert ledger.renew(held.reservation_id, minutes(60), later) == replace(held, held_until=later + minutes(60))
    assert ledger.renew(held.reservation_id, minutes(1), later) == replace(held, held_until=later + minutes(60))
    assert ledger.renew(held.reservation_id, minutes(60), later + minutes(60)) is None
    assert ledger.renew("of nobody", minutes(60), later) is None
    assert ledger.reservations(ORG, later) == (replace(held, held_until=later + minutes(60)),)
    ledger.release(held.reservation_id, later)
    assert ledger.renew(held.reservation_id, minutes(60), later) is None


def test_who_leaves_is_found_in_whichever_org(ledger: QuotaLedger) -> None:
    """The request is withdrawn, nobody else's is; a reservation stays unless it is to be given back."""
    held = grant(ledger, request("holds"))
    for who in ("leaves", "stays"):
        join(ledger, request(who, org_id=OTHER))

    for who in ("leaves", "holds", "was never there"):
        ledger.leave(holder(who), NOW)
    assert [each.holder for each in ledger.waiting(OTHER, NOW)] == [holder("stays")]
    assert ledger.reservations(ORG, NOW) == (held,)

    ledger.leave(holder("holds"), held.held_until, release=True)
    assert ledger.release(held.reservation_id, held.held_until) == Released(
        held.reservation_id, False, LeaseState.LAPSED
    )
    ledger.leave(holder("holds"), held.held_until - TICK, release=True)
    assert ledger.reservations(ORG, NOW) == ()
    assert ledger.release(held.reservation_id, NOW) == Released(held.reservation_id, False, LeaseState.RELEASED)


def test_what_the_org_reports_is_what_the_last_reading_of_limits_told(ledger: QuotaLedger, store: UsageStore) -> None:
    """Not what a header told, nor what an earlier reading did, nor the parts of a limit."""

    def reported() -> Reported | None:
        with ledger.turn(ORG) as turn:
            return turn.reported()

    assert reported() is None
    store.add_readings([reading(0), reading(0, name="DailyNoLonger"), reading(0, name=BATCHES, org_id=OTHER)])
    later = NOW + minutes(1)
    store.add_readings(
        [reading(0, later), reading(0, later, name=BATCHES), reading(0, later, name="Part", scope="app")]
    )
    store.add_readings([reading(0, NOW + minutes(2), source=ReadingSource.HEADER)])

    assert reported() == Reported(later, frozenset({API_REQUESTS, BATCHES}))


def test_a_decision_is_recorded_once_per_change(ledger: QuotaLedger) -> None:
    """A gate that waits for the same reason turn after turn leaves one row; each change leaves another."""
    figures = (LimitFigures(API_REQUESTS, 10_000, 100_000, 9_000, 0, 0, 9_000, NOW),)
    steps = ["wait A", "wait A", "wait B", "wait A", "grant A", "grant A"]
    for step, decided in enumerate(steps):
        kind, reason = decided.split()
        with ledger.turn(ORG) as turn:
            turn.join(request("a"), NOW, NOW + PATIENCE)
            turn.record(request("a"), NOW + minutes(step), kind, reason, figures)

    kept = ledger.decisions(ORG)

    assert [(each["kind"], each["reason"], each["decided_at"]) for each in kept] == [
        ("grant", "A", NOW + minutes(4)),
        ("wait", "A", NOW + minutes(3)),
        ("wait", "B", NOW + minutes(2)),
        ("wait", "A", NOW),
    ]
    assert {each["holder"] for each in kept} == {str(holder("a"))}
    assert kept[0]["figures"][0]["remaining"] == 9_000
    assert kept[0]["figures"][0]["observed_at"] == NOW.isoformat()
    assert len(ledger.decisions(ORG, most=2)) == 2


def test_a_holder_that_asks_for_something_else_gives_back_and_queues_anew(ledger: QuotaLedger) -> None:
    """A task that was cleared after its calls were raised does not run on its old, smaller reservation."""
    old = grant(ledger, request("a", 10_000))

    assert join(ledger, request("a", 20_000, at=NOW + minutes(1)), NOW + minutes(1)) is None
    assert ledger.release(old.reservation_id, NOW + minutes(2)) == Released(
        old.reservation_id, False, LeaseState.RELEASED
    )
    assert [each.needs for each in ledger.waiting(ORG, NOW + minutes(2))] == [{API_REQUESTS: 20_000}]
    assert outstanding(ledger, NOW + minutes(2)) == {API_REQUESTS: 10_000}
