"""What the gate reads of the past: readings thinned by the database, grants, and what loads have spent."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine

from airflow_provider_apiusage.quota.order import PastGrant
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.lease_history import own_calls
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.reading_history import thinned_readings
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource
from tests.contracts.test_queries import GROWING, Recorder, believe_it_is_large, plan_of
from tests.support.history import fill
from tests.support.quota import BATCHES, LEASE, NOW, ORG, minutes, reading, request

DAY = timedelta(days=1)


def thinned(store: UsageStore, back: timedelta = DAY) -> tuple[LimitReading, ...]:
    """Return the thinned readings up to now."""
    with looking(store.engine) as connection:
        return thinned_readings(connection, ORG, API_REQUESTS, NOW - back, NOW)


def test_of_each_quarter_of_an_hour_one_reading_is_left(store: UsageStore) -> None:
    """The one that was kept last, of whatever source; quarters without any are not there."""
    store.add_readings(reading(n, NOW - minutes(60 - n), source=ReadingSource.HEADER) for n in range(31))
    store.add_readings([reading(99, NOW - minutes(5))])

    assert [each.used for each in thinned(store)] == [14, 29, 30, 99]


def test_what_says_nothing_of_use_or_of_the_org_is_left_out(store: UsageStore) -> None:
    """Other limits, other orgs, single apps, readings without a figure, and what is outside of the span."""
    at = NOW - minutes(20)
    store.add_readings(
        [
            reading(1, at),
            reading(2, at + minutes(1), name=BATCHES),
            reading(3, at + minutes(2), org_id="00DBB0000000002"),
            reading(4, at + minutes(3), scope="An app"),
            reading(None, at + minutes(4), remaining=0, limit=None, source=ReadingSource.EXHAUSTED),
            reading(5, NOW),
            reading(6, NOW - DAY - minutes(1)),
        ]
    )

    assert [each.used for each in thinned(store)] == [1]


def test_past_grants_tell_when_each_joined_and_what_it_asked_for(ledger: QuotaLedger) -> None:
    """Held, released or lapsed; not what still waits, and not what was granted before."""
    early, late, waiting = (
        request("early", 10, NOW - minutes(30)),
        request("late", {API_REQUESTS: 20, BATCHES: 1}, NOW - minutes(20), priority=2),
        request("waiting", 30, NOW - minutes(10)),
    )
    with ledger.turn(ORG) as turn:
        for asked in (early, late, waiting):
            turn.join(asked, NOW - minutes(9), NOW + DAY)
        turn.grant(early, NOW - minutes(8))
        held = turn.grant(late, NOW - minutes(5))
        expected = PastGrant(late.requested_at, 2, NOW - minutes(5), late.needs)
        assert turn.grants_since(NOW - minutes(8)) == (expected,)
        assert len(turn.grants_since(NOW - minutes(9))) == 2
    ledger.release(held.reservation_id, NOW)

    with ledger.turn(ORG) as turn:
        assert turn.grants_since(NOW - minutes(6)) == (expected,)
        assert turn.grants_since(NOW - minutes(5)) == ()


def own(ledger: QuotaLedger, engine: Engine, back: timedelta = DAY) -> list[tuple[float, int]]:
    """Return what own loads have spent, as minutes from now and calls."""
    with looking(engine) as connection:
        found = own_calls(connection, ORG, API_REQUESTS, NOW - back, NOW)
    return [(round((second - NOW.timestamp()) / 60, 1), calls) for second, calls in found]


def granted(ledger: QuotaLedger, who: str, need: int, back: float) -> str:
    """Grant a reservation so many minutes ago."""
    asked = request(who, need, NOW - minutes(back), lease=LEASE)
    with ledger.turn(ORG) as turn:
        turn.join(asked, NOW - minutes(back), NOW)
        return turn.grant(asked, NOW - minutes(back)).reservation_id


def test_a_metered_load_tells_when_it_spent_how_much(ledger: QuotaLedger, engine: Engine) -> None:
    """Between two totals its calls are spread evenly; what it did not spend is not there."""
    held = granted(ledger, "metered", 1_000, 60)
    ledger.draw(held, {API_REQUESTS: 100}, NOW - minutes(50))
    ledger.draw(held, {API_REQUESTS: 400}, NOW - minutes(20))

    spent = own(ledger, engine)
    assert [sum(calls for at, calls in spent if start < at < start + 10) for start in range(-60, 0, 10)] == [
        100, 100, 100, 100, 0, 0,
    ]  # fmt: skip
    assert len(spent) == 40 * 4


def test_of_a_load_that_was_not_metered_all_is_taken_to_be_spent(ledger: QuotaLedger, engine: Engine) -> None:
    """Evenly, while it was held: up to its end, or up to now."""
    ended = granted(ledger, "ended", 100, 60)
    ledger.release(ended, NOW - minutes(40))
    granted(ledger, "running", 11, 10)

    spent = own(ledger, engine)
    assert sum(calls for at, calls in spent if -60 < at < -50) == 50
    assert sum(calls for at, calls in spent if -50 < at < -40) == 50
    assert sum(calls for at, calls in spent if -10 < at < 0) == 11
    assert sum(calls for _, calls in spent) == 111


def test_what_has_left_the_window_is_told_in_quarters_of_an_hour_if_it_is_a_guess(
    ledger: QuotaLedger, engine: Engine
) -> None:
    """Nobody waits for it any more, and weeks of it are looked at; what was metered is told as finely as ever."""
    guessed = granted(ledger, "guessed", 80, 27 * 60)
    ledger.release(guessed, NOW - minutes(26.5 * 60))
    metered = granted(ledger, "metered", 100, 30 * 60)
    ledger.draw(metered, {API_REQUESTS: 80}, NOW - minutes(29.5 * 60), closed=True)

    spent = own(ledger, engine, 2 * DAY)
    assert [calls for at, calls in spent if at > -28 * 60] == [40, 40]
    assert sorted(calls for at, calls in spent if at < -28 * 60) == [0] * 40 + [1] * 80


def test_what_ended_long_ago_is_left_out(ledger: QuotaLedger, engine: Engine) -> None:
    """Only leases that reach into the span are looked at, and of other limits nothing is told."""
    ended = granted(ledger, "ended", 100, 60)
    ledger.release(ended, NOW - minutes(50))

    assert own(ledger, engine, minutes(50)) == []
    with looking(engine) as connection:
        assert own_calls(connection, ORG, BATCHES, NOW - DAY, NOW) == []


def test_the_past_is_found_through_indexes(engine: Engine) -> None:
    """However much is kept, none of it goes through all that an org has."""
    fill(engine, 20)
    recorder = Recorder(engine)
    with recorder.recording(), looking(engine) as connection:
        thinned_readings(connection, ORG, API_REQUESTS, NOW - DAY, NOW)
        own_calls(connection, ORG, API_REQUESTS, NOW - DAY, NOW)
    if engine.dialect.name == "postgresql":
        believe_it_is_large(engine)

    with engine.connect() as connection:
        plans = [plan_of(connection, each) for each in recorder.asked.values()]
    assert not any(plan.whole_org or plan.scans & GROWING for plan in plans)
