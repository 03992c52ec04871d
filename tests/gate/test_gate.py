"""One turn of the gate after another: whom it lets in, in which order, and until when."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_apiusage.gate import GHOST_AFTER, Gate
from airflow_provider_apiusage.quota.model import Grant, QuotaRequest, Wait
from airflow_provider_apiusage.salesforce.errors import (
    Where,
)
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.usage.model import STALENESS
from tests.support.gates import POLL, World, granted, refused, waits
from tests.support.quota import LEASE, NOW, ORG, holder, minutes, request

WHERE = Where("salesforce_default", "acme.my.salesforce.com")
TICK = timedelta(microseconds=1)


def test_a_grant_tells_why_with_its_figures(gate: Gate, world: World) -> None:
    """What the load logs is the arithmetic that let it in, and its lease begins now."""
    world.used = 25_000

    grant = granted(gate.turn(request("a", 30_000, reserve=0.1)))

    assert grant.reason == (
        "DailyApiRequests: 30,000 needed, headroom 65,000 "
        "(remaining 75,000 of 100,000 - reserve 10,000 - outstanding 0)."
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
    asked = request("b", 60_000, at=released_at)

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
    asked = request("next", 80_000, at=NOW + minutes(1))
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
    world.used = 95_000
    first, second = request("first", 30_000), request("second", 1_000, at=NOW + TICK)
    assert ask_in_turn(gate, first, second) == [Wait, Wait]

    world.used = 70_000
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
    world.used = 50_000
    second = request("second", 1_000, at=NOW + TICK)
    assert ask_in_turn(gate, request("ghost", 60_000), second) == [Wait, Wait]

    world.now = NOW + POLL + GHOST_AFTER - TICK
    assert "Tghost" in waits(gate.turn(second)).reason
    world.now = NOW + POLL + GHOST_AFTER
    granted(gate.turn(second))


def test_withdrawing_opens_the_way_for_the_next(gate: Gate, world: World) -> None:
    """A sensor that timed out leaves the queue; a reservation is not given up by it."""
    world.used = 50_000
    second = request("second", 1_000, at=NOW + TICK)
    assert ask_in_turn(gate, request("first", 60_000), second) == [Wait, Wait]

    gate.withdraw(ORG, holder("first"))

    held = granted(gate.turn(second)).reservation
    gate.withdraw(ORG, holder("second"))
    assert gate.ledger.reservations(ORG, NOW) == (held,)
