"""Drawing a reservation down, giving back a part, topping up, and what runs came to: on both stores."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from airflow_provider_apiusage.quota.model import Holder, LeaseState, Reservation
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger, Released
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.cost_history import PastRun
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW
from tests.contracts.test_quota_ledger import TICK, grant, join, outstanding
from tests.support.quota import BATCHES, LEASE, NOW, ORG, minutes, reading, request


def calls(number: int) -> dict[str, int]:
    """Return a number of calls of the usual limit."""
    return {API_REQUESTS: number}


def held_now(ledger: QuotaLedger, now: datetime = NOW) -> list[dict[str, int]]:
    """Return what is held of each reservation."""
    return [dict(each.needs) for each in ledger.reservations(ORG, now)]


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_what_was_drawn_is_outstanding_until_a_reading_must_show_it(ledger: QuotaLedger, store: UsageStore) -> None:
    """Drawn at D: a reading that arrives a tick before D + 5 min may miss it, one at D + 5 min shows it."""
    held = grant(ledger, request("a", 1_000))
    drawn_at = NOW + minutes(3)
    ledger.draw(held.reservation_id, calls(400), drawn_at)
    later = drawn_at + STALENESS

    assert outstanding(ledger, later) == calls(1_000)
    store.add_readings([reading(400, later - TICK)])
    assert outstanding(ledger, later) == calls(1_000)
    store.add_readings([reading(400, later)])
    assert outstanding(ledger, later) == calls(600)


def test_outstanding_shrinks_as_usage_grows(ledger: QuotaLedger, store: UsageStore) -> None:
    """A load of an hour, 10 calls a minute: at each reading only the last five minutes and the rest are outstanding."""
    held = grant(ledger, request("a", 1_000))
    for minute in range(1, 61):
        now = NOW + minutes(minute)
        ledger.draw(held.reservation_id, calls(10 * minute), now)
        store.add_readings([reading(10 * minute, now)])
        shown = outstanding(ledger, now)[API_REQUESTS]
        assert 1_000 - 10 * max(0, minute - 5) <= shown <= 1_000 - 10 * max(0, minute - 8)


def test_a_draw_that_comes_again_late_or_out_of_order_changes_nothing(ledger: QuotaLedger, store: UsageStore) -> None:
    """It carries the total, so neither a repeat adds to it, nor an older one takes from it."""
    held = grant(ledger, request("a", 1_000))
    for total, at in ((100, 1), (300, 2), (300, 4), (200, 3), (100, 5)):
        drawn = ledger.draw(held.reservation_id, calls(total), NOW + minutes(at))
    store.add_readings([reading(300, NOW + minutes(2) + STALENESS)])

    assert drawn is not None
    assert drawn.spent == calls(300)
    assert outstanding(ledger, NOW + minutes(8)) == calls(700)


def test_loads_that_share_a_reservation_are_added_up(ledger: QuotaLedger) -> None:
    """A retry, or the tasks behind one gate, count each for itself; each hears of the sum."""
    held = grant(ledger, request("a", {API_REQUESTS: 1_000, BATCHES: 5}))
    ledger.draw(held.reservation_id, calls(100), NOW, by="first")
    ledger.draw(held.reservation_id, {API_REQUESTS: 50, BATCHES: 2}, NOW, by="second")
    drawn = ledger.draw(held.reservation_id, calls(110), NOW, by="first")

    assert drawn is not None
    assert drawn.spent == {API_REQUESTS: 160, BATCHES: 2}
    assert drawn.held == {API_REQUESTS: 1_000, BATCHES: 5}


def test_a_thousand_loads_on_one_reservation_lose_no_call(ledger: QuotaLedger) -> None:
    """Those that closed long ago become one sum."""
    held = grant(ledger, request("a", 1_000))
    for number in range(100):
        ledger.draw(held.reservation_id, calls(3), NOW, by=f"load {number}", closed=True)
    drawn = ledger.draw(held.reservation_id, calls(3), NOW, by="load 99", closed=True)

    assert drawn is not None
    assert drawn.spent == calls(300)
    assert ledger.release(held.reservation_id, NOW) == Released(
        held.reservation_id, True, LeaseState.RELEASED, calls(300), calls(700)
    )


def test_a_draw_renews_the_lease(ledger: QuotaLedger) -> None:
    """By what the gate was asked for; a load that ended renews nothing."""
    held = grant(ledger, request("a"))
    drawn = ledger.draw(held.reservation_id, calls(1), NOW + minutes(30))

    assert drawn is not None
    assert (drawn.state, drawn.lease, drawn.held_until) == (LeaseState.GRANTED, LEASE, NOW + minutes(30) + LEASE)
    assert ledger.reservations(ORG, NOW + minutes(89)) != ()
    late = ledger.draw(held.reservation_id, calls(2), drawn.held_until)
    assert late is not None
    assert (late.state, late.spent, late.held_until) == (LeaseState.LAPSED, calls(2), drawn.held_until)
    assert ledger.reservations(ORG, drawn.held_until) == ()


def test_nobody_draws_from_what_is_unknown(ledger: QuotaLedger) -> None:
    """The wrong store, or an id that was made up, is told by None."""
    assert ledger.draw("of nobody", calls(1), NOW) is None
    assert ledger.extend("of nobody", calls(1), NOW) is None
    assert ledger.release("of nobody", NOW, calls=calls(1)) is None


def test_what_is_spent_beyond_the_grant_is_outstanding_too(ledger: QuotaLedger, store: UsageStore) -> None:
    """It is spent, and no reading shows it for certain yet."""
    held = grant(ledger, request("a", 1_000))
    ledger.draw(held.reservation_id, calls(3_000), NOW)

    assert outstanding(ledger, NOW) == calls(3_000)
    store.add_readings([reading(3_000, NOW + STALENESS)])
    assert outstanding(ledger, NOW + STALENESS) == calls(0)


def test_clocks_of_hosts_that_differ_only_delay(ledger: QuotaLedger, store: UsageStore) -> None:
    """A draw from a host whose clock is behind counts as made after the last one."""
    held = grant(ledger, request("a", 1_000))
    ledger.draw(held.reservation_id, calls(100), NOW, by="here")
    ledger.draw(held.reservation_id, calls(100), NOW - minutes(10), by="there")
    store.add_readings([reading(200, NOW + STALENESS - TICK)])

    assert outstanding(ledger, NOW + STALENESS) == calls(1_000)


# --- releasing --------------------------------------------------------------------------------------------------------


def test_what_was_never_spent_comes_back_at_once(ledger: QuotaLedger, store: UsageStore) -> None:
    """Every load has told its final total, so the rest is free; the spent part stays until a reading shows it."""
    held = grant(ledger, request("a", {API_REQUESTS: 1_000, BATCHES: 5}))
    ledger.draw(held.reservation_id, {API_REQUESTS: 300}, NOW, closed=True)

    released = ledger.release(held.reservation_id, NOW + minutes(1))

    assert released == Released(held.reservation_id, True, LeaseState.RELEASED, calls(300), calls(700))
    # Batches were not metered: nobody knows how many of them were spent.
    assert outstanding(ledger, NOW + minutes(1), API_REQUESTS, BATCHES) == {API_REQUESTS: 300, BATCHES: 5}
    store.add_readings([reading(300, NOW + STALENESS)])
    assert outstanding(ledger, NOW + minutes(6)) == calls(0)


def test_a_load_that_never_told_its_last_total_may_have_spent_all(ledger: QuotaLedger) -> None:
    """Killed, or cut off from the store: all of it stays outstanding, until its last total comes after all."""
    held = grant(ledger, request("a", 1_000))
    ledger.draw(held.reservation_id, calls(300), NOW)

    released = ledger.release(held.reservation_id, NOW + minutes(1))

    assert released == Released(held.reservation_id, True, LeaseState.RELEASED, calls(300), None)
    assert outstanding(ledger, NOW + minutes(1)) == calls(1_000)
    ledger.draw(held.reservation_id, calls(350), NOW + minutes(2), closed=True)
    assert outstanding(ledger, NOW + minutes(2)) == calls(350)


def test_a_released_reservation_does_not_come_back_to_life(ledger: QuotaLedger) -> None:
    """A load that begins after the release counts with what it spends, not with what was once held."""
    held = grant(ledger, request("a", 1_000))
    ledger.draw(held.reservation_id, calls(300), NOW, by="first", closed=True)
    ledger.release(held.reservation_id, NOW + minutes(1))

    ledger.draw(held.reservation_id, calls(20), NOW + minutes(1), by="second")

    assert outstanding(ledger, NOW + minutes(1)) == calls(320)
    assert ledger.reservations(ORG, NOW + minutes(1)) == ()
    assert ledger.release(held.reservation_id, NOW + minutes(2)) == Released(
        held.reservation_id, False, LeaseState.RELEASED, calls(320)
    )


def test_a_part_is_given_back_and_the_rest_is_held(ledger: QuotaLedger) -> None:
    """A load that finds fewer rows than it feared frees the rest at once, and goes on."""
    held = grant(ledger, request("a", {API_REQUESTS: 1_000, BATCHES: 5}))

    outcome = ledger.release(held.reservation_id, NOW, calls=calls(600))

    assert outcome == Released(held.reservation_id, False, LeaseState.GRANTED, None, calls(600))
    assert held_now(ledger) == [{API_REQUESTS: 400, BATCHES: 5}]
    assert outstanding(ledger, NOW, API_REQUESTS, BATCHES) == {API_REQUESTS: 400, BATCHES: 5}


def test_nothing_spent_is_given_back(ledger: QuotaLedger) -> None:
    """Nor what is not held, nor anything of a reservation that has ended."""
    held = grant(ledger, request("a", 1_000))
    ledger.draw(held.reservation_id, calls(700), NOW)

    outcome = ledger.release(held.reservation_id, NOW, calls={API_REQUESTS: 600, BATCHES: 1})
    assert outcome is not None
    assert outcome.given_back == calls(300)
    assert outstanding(ledger, NOW) == calls(700)
    ledger.release(held.reservation_id, NOW)
    ended = ledger.release(held.reservation_id, NOW, calls=calls(1))
    assert ended == Released(held.reservation_id, False, LeaseState.RELEASED, calls(700))
    with pytest.raises(ValueError, match="must be 0 or more"):
        ledger.release(held.reservation_id, NOW, calls=calls(-1))


def test_a_part_that_is_given_back_twice_goes_once(ledger: QuotaLedger) -> None:
    """Who says what was held before may say it again."""
    held = grant(ledger, request("a", 1_000))
    for _ in range(2):
        ledger.release(held.reservation_id, NOW, calls=calls(300), holding=held.needs)

    assert held_now(ledger) == [calls(700)]


def test_a_gate_that_asks_again_gets_what_still_covers_it(ledger: QuotaLedger) -> None:
    """Not what a load has spent from, or given back from, meanwhile; an extended reservation covers it."""

    def asks_again(change: str) -> bool:
        held = grant(ledger, request(change, 1_000))
        if change == "drawn":
            ledger.draw(held.reservation_id, calls(1), NOW)
        elif change == "given back":
            ledger.release(held.reservation_id, NOW, calls=calls(1))
        elif change == "extended":
            UsageStore(ledger._engine).add_readings([reading(0)])
            ledger.extend(held.reservation_id, calls(1), NOW)
        again: Reservation | None = join(ledger, request(change, 1_000))
        return again is not None and again.reservation_id == held.reservation_id

    assert [asks_again(change) for change in ("unchanged", "extended", "drawn", "given back")] == [
        True, True, False, False,
    ]  # fmt: skip


# --- topping up -------------------------------------------------------------------------------------------------------


def test_a_running_load_gets_more_if_it_fits(ledger: QuotaLedger, store: UsageStore) -> None:
    """By the headroom of the moment, in which its own reservation counts once."""
    held = grant(ledger, request("a", 1_000, reserve=500))
    store.add_readings([reading(97_000)])

    fits = ledger.extend(held.reservation_id, calls(1_500), NOW)
    assert fits is not None
    assert (fits.extended, fits.held) == (True, calls(2_500))
    assert held_now(ledger) == [calls(2_500)]
    assert outstanding(ledger, NOW) == calls(2_500)
    over = ledger.extend(held.reservation_id, calls(1), NOW)
    assert over is not None
    assert (over.extended, over.held) == (False, calls(2_500))
    assert "headroom 0 (remaining 3,000 of 100,000 - reserve 500 - outstanding 2,500)" in over.reason
    assert [(each["kind"], each["reason"]) for each in ledger.decisions(ORG)] == [
        ("decline", over.reason), ("extend", fits.reason),
    ]  # fmt: skip


def test_who_waits_does_not_stand_before_a_load_that_runs(ledger: QuotaLedger, store: UsageStore) -> None:
    """A request that is too big for now waits on; it keeps nobody from finishing."""
    held = grant(ledger, request("a", 1_000))
    join(ledger, request("b", 50_000))
    store.add_readings([reading(90_000)])

    extended = ledger.extend(held.reservation_id, calls(1_000), NOW)

    assert extended is not None
    assert extended.extended
    assert len(ledger.waiting(ORG, NOW)) == 1


def test_more_that_is_asked_for_twice_is_added_once(ledger: QuotaLedger, store: UsageStore) -> None:
    """Who says what was held before may say it again: the answer got lost, or two loads share the reservation."""
    held = grant(ledger, request("a", 1_000))
    store.add_readings([reading(0)])
    for _ in range(2):
        outcome = ledger.extend(held.reservation_id, calls(1_000), NOW, holding=held.needs)
        assert outcome is not None
        assert outcome.extended

    assert held_now(ledger) == [calls(2_000)]


@pytest.mark.parametrize("end", ["released", "lapsed"])
def test_what_has_ended_gets_no_more(ledger: QuotaLedger, store: UsageStore, end: str) -> None:
    """The load is told why."""
    held = grant(ledger, request("a", 1_000))
    store.add_readings([reading(0)])
    now = NOW if end == "released" else held.held_until
    if end == "released":
        ledger.release(held.reservation_id, now)

    outcome = ledger.extend(held.reservation_id, calls(1), now)

    assert outcome is not None
    assert not outcome.extended
    assert end in outcome.reason
    with pytest.raises(ValueError, match="at least 1"):
        ledger.extend(held.reservation_id, calls(0), now)


def test_nothing_is_added_blindly(ledger: QuotaLedger, store: UsageStore) -> None:
    """A reading that is too old for the gate is too old for a top-up."""
    held = grant(ledger, request("a", 1_000))
    store.add_readings([reading(0, NOW - minutes(16))])

    outcome = ledger.extend(held.reservation_id, calls(1), NOW)

    assert outcome is not None
    assert not outcome.extended
    assert "16 min old" in outcome.reason


# --- history ----------------------------------------------------------------------------------------------------------


def test_past_runs_feed_the_next_estimate(ledger: QuotaLedger) -> None:
    """The latest metered runs of one gate, oldest first: estimate, spent, and whether the load got to its end."""

    def run(number: int, estimate: int | None, spent: int, *, failed: bool = False, end: str = "release") -> None:
        asked = request(Holder("dag", f"run {number}", "gate"), 1_000)
        now = NOW + minutes(number)
        held = grant(ledger, asked, now)
        told = None if estimate is None else calls(estimate)
        if spent:
            ledger.draw(held.reservation_id, calls(spent), now, closed=end != "killed", failed=failed, estimate=told)
        if end == "release":
            ledger.release(held.reservation_id, now)

    run(1, 800, 400)
    run(2, None, 500)
    run(3, None, 600, failed=True)
    run(4, None, 0)
    run(5, None, 700, end="killed")
    grant(ledger, request(Holder("dag", "run 6", "gate"), 1_000), NOW + timedelta(hours=3))
    with ledger.turn(ORG) as turn:
        turn.lapse(NOW + timedelta(hours=3))

    assert ledger.past_runs(ORG, "dag", "gate") == (
        PastRun(calls(800), calls(400)),
        PastRun(calls(1_000), calls(500)),
        PastRun(calls(1_000), calls(600), finished=False),
        PastRun(calls(1_000), calls(700), finished=False),
    )
    assert [each.spent for each in ledger.past_runs(ORG, "dag", "gate", most=2)] == [calls(600), calls(700)]
    assert ledger.past_runs(ORG, "dag", "other") == ledger.past_runs("00DBB0000000002", "dag", "gate") == ()


def test_leases_from_before_are_read_as_they_were(engine: Engine, ledger: QuotaLedger) -> None:
    """A row that knows nothing of spending holds what was asked for, and can be drawn from."""
    held = grant(ledger, request("a", 1_000))
    with engine.begin() as connection:
        row = connection.execute(text("SELECT held, spent, draws, estimate FROM apiusage_lease")).one()
    assert tuple(row) == (None, None, None, None)

    assert ledger.reservations(ORG, NOW) == (held,)
    assert outstanding(ledger, NOW) == calls(1_000)
    assert ledger.draw(held.reservation_id, calls(1), NOW) is not None


def test_what_left_the_window_is_not_outstanding_though_nothing_was_read(ledger: QuotaLedger) -> None:
    """Calls that were drawn 24 hours ago cannot be in any reading's figure any more."""
    held = grant(ledger, request("a", 1_000, lease=timedelta(hours=30)))
    ledger.draw(held.reservation_id, calls(400), NOW)

    assert outstanding(ledger, NOW + WINDOW - TICK) == calls(1_000)
    assert outstanding(ledger, NOW + WINDOW) == calls(600)
