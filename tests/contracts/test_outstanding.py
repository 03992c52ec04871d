"""What is granted and may not show in a reading yet: the boundary after which it does."""

from __future__ import annotations

import pytest

from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, ReadingSource
from tests.contracts.test_quota_ledger import TICK, grant, join, outstanding
from tests.support.quota import BATCHES, NOW, ORG, minutes, reading, request


def test_what_is_held_is_outstanding_however_fresh_the_reading(ledger: QuotaLedger, store: UsageStore) -> None:
    """A load that still runs may make its calls at any moment; what waits holds nothing."""
    held = grant(ledger, request("a", 700))
    join(ledger, request("b", 300))
    store.add_readings([reading(0, held.held_until - TICK)])

    assert outstanding(ledger, held.held_until - TICK) == {API_REQUESTS: 700}


@pytest.mark.parametrize("end", [LeaseState.RELEASED, LeaseState.LAPSED])
def test_what_ended_counts_until_a_reading_must_show_it(
    ledger: QuotaLedger, store: UsageStore, end: LeaseState
) -> None:
    """It ends at E: a reading that arrives a tick before E + 5 min may miss its calls, one at E + 5 min shows them."""
    held = grant(ledger, request("a", 700))
    ended_at = held.held_until
    if end is LeaseState.RELEASED:
        ended_at = NOW + minutes(10)
        ledger.release(held.reservation_id, ended_at)
    later = ended_at + WINDOW / 2

    store.add_readings([reading(0, ended_at + STALENESS - TICK)])
    assert outstanding(ledger, later) == {API_REQUESTS: 700}
    store.add_readings([reading(700, ended_at + STALENESS)])
    assert outstanding(ledger, later) == {API_REQUESTS: 0}


def test_when_a_lease_lapsed_is_told_by_its_end_and_not_by_who_noticed(ledger: QuotaLedger, store: UsageStore) -> None:
    """A turn hours later writes the lapse down as of held_until."""
    held = grant(ledger, request("a", 700))
    store.add_readings([reading(700, held.held_until + STALENESS)])

    assert outstanding(ledger, held.held_until + 5 * STALENESS) == {API_REQUESTS: 0}


def test_our_own_clock_says_whether_a_reading_shows_what_ended(ledger: QuotaLedger, store: UsageStore) -> None:
    """A lease ends by our clock, so the reading's arrival by our clock counts, whatever the org's clock shows."""
    held = grant(ledger, request("a", 700))
    ledger.release(held.reservation_id, NOW)
    fast = reading(0, NOW + minutes(60), received_at=NOW + STALENESS - TICK)
    store.add_readings([fast])

    assert outstanding(ledger, NOW + minutes(6)) == {API_REQUESTS: 700}


def test_each_limit_has_its_own_reading(ledger: QuotaLedger, store: UsageStore) -> None:
    """What a reading of one limit shows says nothing about another; a need names which limits it takes from."""
    held = grant(ledger, request("a", {API_REQUESTS: 700, BATCHES: 3}))
    grant(ledger, request("b", {BATCHES: 4}))
    ledger.release(held.reservation_id, NOW)
    store.add_readings([reading(700, NOW + STALENESS), reading(0, NOW, name=BATCHES)])

    assert outstanding(ledger, NOW + STALENESS, API_REQUESTS, BATCHES) == {API_REQUESTS: 0, BATCHES: 7}


def test_without_a_reading_all_that_ended_in_the_window_counts(ledger: QuotaLedger) -> None:
    """Calls leave the window after 24 hours, whoever made them."""
    held = grant(ledger, request("a", 700))
    ledger.release(held.reservation_id, NOW)

    assert outstanding(ledger, NOW + WINDOW - TICK) == {API_REQUESTS: 700}
    assert outstanding(ledger, NOW + WINDOW) == {API_REQUESTS: 0}


def test_what_was_never_granted_is_never_outstanding(ledger: QuotaLedger) -> None:
    """Waiting requests that were withdrawn, refused or forgotten held nothing."""
    for who in ("withdrawn", "refused", "forgotten"):
        join(ledger, request(who, 700))
    with ledger.turn(ORG) as turn:
        turn.leave(request("withdrawn").holder, NOW)
        turn.refuse(request("refused"), NOW)
        turn.lapse(NOW + minutes(60))

    assert outstanding(ledger, NOW + minutes(60)) == {API_REQUESTS: 0}


def test_a_reading_would_settle_once_five_minutes_have_passed(ledger: QuotaLedger, store: UsageStore) -> None:
    """Reading earlier proves nothing about the calls of what ended; having read later, there is nothing to settle."""
    held = grant(ledger, request("a", 700))
    store.add_readings([reading(0, NOW)])
    ledger.release(held.reservation_id, NOW + minutes(1))

    def would_settle() -> list[bool]:
        answers = []
        for after in (minutes(1), minutes(6) - TICK, minutes(6), minutes(60)):
            with ledger.turn(ORG) as turn:
                readings = turn.latest_readings([API_REQUESTS])
                answers.append(turn.reading_would_settle(readings, [API_REQUESTS], NOW + after))
        return answers

    assert would_settle() == [False, False, True, True]
    store.add_readings([reading(700, NOW + minutes(6))])
    assert would_settle() == [False] * 4


def test_the_org_was_read_when_somebody_asked_for_its_limits(ledger: QuotaLedger, store: UsageStore) -> None:
    """Reading on purpose counts, also if the allowance was exhausted; a header that came along does not."""
    with ledger.turn(ORG) as turn:
        assert turn.last_read_at() is None
    store.add_readings(
        [
            reading(1, NOW, source=ReadingSource.LIMITS),
            reading(None, NOW + minutes(1), remaining=0, source=ReadingSource.EXHAUSTED),
            reading(2, NOW + minutes(2), source=ReadingSource.HEADER),
            reading(3, NOW + minutes(3), org_id="00DBB0000000002"),
        ]
    )

    with ledger.turn(ORG) as turn:
        assert turn.last_read_at() == NOW + minutes(1)


def test_of_two_names_asked_about_neither_hides_what_the_other_needs(ledger: QuotaLedger, store: UsageStore) -> None:
    """A limit without a reading looks back a day although another one was read a moment ago."""
    held = grant(ledger, request("a", {API_REQUESTS: 700, BATCHES: 3}))
    ledger.release(held.reservation_id, NOW)
    store.add_readings([reading(700, NOW + STALENESS)])

    assert outstanding(ledger, NOW + WINDOW / 2, API_REQUESTS, BATCHES) == {API_REQUESTS: 0, BATCHES: 3}
