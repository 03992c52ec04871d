"""One turn of the gate after another: whom it lets in, in which order, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from airflow_provider_apiusage.gate import GHOST_AFTER, Gate
from airflow_provider_apiusage.quota.model import Grant, QuotaRequest, Wait
from airflow_provider_apiusage.quota.policy import Rules
from airflow_provider_apiusage.salesforce.errors import UnavailableError, Where
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, ReadingSource
from tests.support.gates import POLL, World, granted, refused, waits
from tests.support.quota import BATCHES, LEASE, NOW, ORG, holder, minutes, reading, request

WHERE = Where("salesforce_default", "acme.my.salesforce.com")
TICK = timedelta(microseconds=1)
STRICT = Rules(beta=0.0)
"""Nobody may pass who waits."""


def test_a_grant_tells_why_with_its_figures(gate: Gate, world: World) -> None:
    """What the load logs is the arithmetic that let it in, and its lease begins now."""
    world.used = 25_000

    grant = granted(gate.turn(request("a", 30_000, reserve=0.1)))

    assert grant.reason == (
        "DailyApiRequests: 30,000 needed, headroom 65,000 "
        "(remaining 75,000 of 100,000 - reserve 10,000 - outstanding 0). "
        "DailyApiRequests: too little is known of the past to see a peak ahead."
    )
    assert grant.figures[0].headroom == 65_000
    assert (grant.reservation.granted_at, grant.reservation.held_until) == (NOW, NOW + LEASE)


def test_calls_of_a_released_load_come_free_once_a_reading_shows_them(
    gate: Gate, world: World, ledger: QuotaLedger
) -> None:
    """Five minutes after the release a reading tells what it really used, and the rest is granted."""
    held = granted(gate.turn(request("a", 90_000))).reservation
    world.pass_time(minutes=7)
    released_at = world.now
    ledger.release(held.reservation_id, released_at)
    world.used = 40_000
    asked = request("b", 59_000, at=released_at)

    waits(gate.turn(asked))
    world.now = released_at + STALENESS - TICK
    waits(gate.turn(asked))
    assert world.reads == [NOW]
    world.now = released_at + STALENESS
    granted(gate.turn(asked))
    assert world.reads == [NOW, released_at + STALENESS]


def test_a_load_that_was_killed_gives_its_calls_back_in_the_end(gate: Gate, world: World) -> None:
    """Nobody released it: it lapses at held_until, and is granted to others when a reading shows what it used."""
    held = granted(gate.turn(request("killed", 90_000))).reservation
    world.used = 20_000
    asked = request("next", 79_000, at=NOW + minutes(1))
    world.now = held.held_until - TICK
    waits(gate.turn(asked))
    world.now = held.held_until
    waits(gate.turn(asked))

    world.now = held.held_until + STALENESS - TICK
    waits(gate.turn(asked))
    world.now = held.held_until + STALENESS + POLL
    granted(gate.turn(asked))


def test_asking_again_returns_the_same_grant_and_renews_it(gate: Gate, world: World) -> None:
    """A task that comes back from the triggerer takes up what it was granted there, with a full lease."""
    first = granted(gate.turn(request("a", 90_000))).reservation
    world.pass_time(minutes=50)

    again = granted(gate.turn(request("a", 90_000)))

    assert again.reservation.reservation_id == first.reservation_id
    assert again.reservation.held_until == world.now + LEASE
    assert again.reason == "the reservation is held already."
    assert world.reads == [NOW]


def test_a_refusal_is_final_and_told_with_its_arithmetic(gate: Gate, world: World) -> None:
    """What can never fit leaves the queue at once, and nobody stands behind it."""
    decision = refused(gate.turn(request("a", 200_000)))

    assert "200,000 needed can never fit" in decision.reason
    assert world.reads == [NOW]
    assert gate.ledger.waiting(ORG, NOW) == ()
    granted(gate.turn(request("b", 100_000)))


def ask_in_turn(gate: Gate, *asked: QuotaRequest) -> list[type]:
    """Take a turn for each and return what kind of answer each had."""
    return [type(gate.turn(each)) for each in asked]


def test_first_come_first_served_across_holders(gate: Gate, world: World) -> None:
    """Who asks first is let in first, in whatever order they come back; a small need does not overtake."""
    gate = replace(gate, rules=STRICT)
    world.used = 95_000
    first, second = request("first", 30_000), request("second", 1_000, at=NOW + TICK)
    assert ask_in_turn(gate, first, second) == [Wait, Wait]

    world.used = 69_999  # and the reading before
    world.now = NOW + POLL
    assert ask_in_turn(gate, second, first) == [Wait, Grant]
    assert "headroom 0 (" in waits(gate.turn(second)).reason
    world.used = 60_000
    world.pass_time(minutes=5)
    assert ask_in_turn(gate, second) == [Wait]
    assert gate.ledger.release(granted(gate.turn(first)).reservation.reservation_id, world.now)
    world.pass_time(minutes=5)
    assert ask_in_turn(gate, second) == [Grant]


def test_a_request_that_vanished_leaves_the_queue(gate: Gate, world: World) -> None:
    """Nobody stands behind a ghost for longer than the poll interval and ten minutes."""
    gate = replace(gate, rules=STRICT)
    world.used = 50_000
    second = request("second", 1_000, at=NOW + TICK)
    assert ask_in_turn(gate, request("ghost", 60_000), second) == [Wait, Wait]

    world.now = NOW + POLL + GHOST_AFTER - TICK
    assert "Tghost" in waits(gate.turn(second)).reason
    world.now = NOW + POLL + GHOST_AFTER
    granted(gate.turn(second))


def test_leaving_opens_the_way_for_the_next(gate: Gate, world: World, ledger: QuotaLedger) -> None:
    """A sensor that timed out leaves the queue; a reservation is not given up by it."""
    gate = replace(gate, rules=STRICT)
    world.used = 50_000
    second = request("second", 1_000, at=NOW + TICK)
    assert ask_in_turn(gate, request("first", 60_000), second) == [Wait, Wait]

    ledger.leave(holder("first"), NOW)

    held = granted(gate.turn(second)).reservation
    ledger.leave(holder("second"), NOW)
    assert gate.ledger.reservations(ORG, NOW) == (held,)


def test_who_comes_back_too_late_keeps_its_place(gate: Gate, world: World) -> None:
    """A poke that is put off beyond the queue's patience finds the request lapsed, and stands where it stood."""
    world.used = 99_000
    first, second = request("first", 5_000), request("second", 5_000, at=NOW + TICK)
    ask_in_turn(gate, first, second)
    world.pass_time(minutes=16)
    ask_in_turn(gate, replace(second, requested_at=world.now), replace(first, requested_at=world.now))

    assert [each.holder for each in gate.ledger.waiting(ORG, world.now)] == [first.holder, second.holder]
    assert [each.requested_at for each in gate.ledger.waiting(ORG, world.now)] == [NOW, NOW + TICK]


def test_a_place_is_kept_for_a_day_and_only_for_who_was_waiting(gate: Gate, world: World) -> None:
    """Later the place is gone; and a grant that lapsed, or a request that was withdrawn, left no place."""
    world.used, world.names = 99_000, (API_REQUESTS, BATCHES)
    for who in ("gone", "back", "withdrawn"):
        waits(gate.turn(request(who, 5_000)))
    granted(gate.turn(request("had it", {BATCHES: 1})))
    gate.ledger.leave(holder("withdrawn"), NOW)
    ended = NOW + POLL + GHOST_AFTER
    world.now = ended + WINDOW - TICK
    for who, needs in (
        ("back", {API_REQUESTS: 5_000}),
        ("withdrawn", {API_REQUESTS: 5_000}),
        ("had it", {BATCHES: 5_000}),
    ):
        waits(gate.turn(request(who, needs, world.now)))
    world.now = ended + WINDOW
    waits(gate.turn(request("gone", 5_000, world.now)))

    places = {each.holder: each.requested_at for each in gate.ledger.waiting(ORG, world.now)}
    late = ended + WINDOW - TICK
    expected = {"back": NOW, "withdrawn": late, "had it": late, "gone": ended + WINDOW}
    assert places == {holder(who): at for who, at in expected.items()}


def test_a_misspelt_limit_is_refused_after_one_reading_and_blocks_nobody(gate: Gate, world: World) -> None:
    """The org was asked and knows no such limit: the load fails at once, and those behind go on."""
    decision = refused(gate.turn(request("typo", {API_REQUESTS: 1, "DailyApiRequest": 1})))

    assert decision.reason.endswith("the nearest that it reports: DailyApiRequests.")
    assert world.reads == [NOW]
    assert gate.ledger.waiting(ORG, NOW) == ()
    granted(gate.turn(request("next", 100_000)))


def test_a_limit_that_is_missing_is_looked_for_once_more_before_a_refusal(gate: Gate, world: World) -> None:
    """A refusal rests on a reading within the poll interval: the org may have got the limit meanwhile."""
    granted(gate.turn(request("a", 1)))
    world.now = NOW + POLL
    world.names = (API_REQUESTS, BATCHES)

    granted(gate.turn(request("b", {BATCHES: 1})))
    assert world.reads == [NOW, NOW + POLL]


def test_while_an_org_cannot_be_read_an_unknown_limit_blocks_no_other(gate: Gate, world: World) -> None:
    """Who waits to learn of one limit lets those pass who need only what is known."""
    world.names = (API_REQUESTS, BATCHES)
    granted(gate.turn(request("a", 1)))
    world.pass_time(minutes=20)
    world.failure = UnavailableError("The org answered 503.", WHERE)
    gate.store.add_readings([reading(0, world.now, source=ReadingSource.HEADER)])
    waits(gate.turn(request("unknown", {API_REQUESTS: 1, BATCHES: 1}, world.now)))

    granted(gate.turn(request("known", 10, world.pass_time(minutes=1))))
