"""What the gate knows beyond the latest reading, on a real store: the past carried on, and how long that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from airflow_provider_apiusage.gate import Gate
from airflow_provider_apiusage.gate_knowledge import OUTLOOK_FOR, Foreseen, foresee
from airflow_provider_apiusage.quota.policy import Rules
from airflow_provider_apiusage.quota.staleness import Staleness
from airflow_provider_apiusage.store.engine import sqlite_engine
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, ReadingSource
from tests.support.gates import World, granted, waits
from tests.support.quota import MAX_AGE, NOW, ORG, minutes, reading, request

DAY = timedelta(days=1)
BUSY_DAYS = 40_000
"""Calls of others between 8 and 16 o'clock on a working day."""


def made_by(at: datetime) -> int:
    """Return the calls of others from a Monday long ago up to an instant: 40,000 a working day, none at weekends."""
    whole, rest = divmod(at - datetime(2026, 9, 7, tzinfo=NOW.tzinfo), DAY)
    working = whole // 7 * 5 + min(5, whole % 7)
    today = 0.0 if whole % 7 >= 5 else min(1.0, max(0.0, (rest / timedelta(hours=1) - 8) / 8))
    return round(BUSY_DAYS * (working + today))


def used_at(at: datetime) -> int:
    """Return what others have used in the window."""
    return made_by(at) - made_by(at - DAY)


@pytest.fixture
def watched(store: UsageStore) -> Iterator[UsageStore]:
    """A store with snapshots of sixteen days, every quarter of an hour, up to a Sunday evening."""
    store.add_readings([reading(used_at(at), at) for n in range(16 * 96) if (at := SUNDAY - n * minutes(15))])
    return store


SUNDAY = datetime(2026, 10, 4, 20, 0, tzinfo=NOW.tzinfo)


def outlook_of(foreseen: Foreseen) -> float | None:
    """Return the calls of others expected within a day of Sunday evening."""
    outlook = foreseen.outlooks[API_REQUESTS]
    return None if outlook is None else outlook.new_between(SUNDAY, SUNDAY + DAY)


def test_a_store_without_readings_foresees_nothing(store: UsageStore) -> None:
    """And takes figures to be as old as Salesforce says they may be."""
    assert foresee(store, ORG, NOW) == Foreseen({API_REQUESTS: None}, Staleness())


def test_on_sunday_evening_it_knows_of_monday(watched: UsageStore) -> None:
    """Weekdays tell of weekdays, and snapshots are all it takes."""
    assert outlook_of(foresee(watched, ORG, SUNDAY)) == pytest.approx(BUSY_DAYS, rel=0.1)


def test_a_load_on_sunday_leaves_room_for_monday(world: World, ledger: QuotaLedger, watched: UsageStore) -> None:
    """Nothing is used, and still what a load may make now will be in the window at Monday's peak."""
    world.now, world.used = SUNDAY, 0
    gate = world.gate(ledger, watched)

    decision = waits(gate.turn(request("big", 65_000, SUNDAY, reserve=0.1)))

    assert "too many beside the highest use expected within 24 hours" in decision.reason
    granted(gate.turn(request("small", 20_000, SUNDAY + minutes(1), reserve=0.1)))
    blind = replace(gate, rules=Rules(kept_at_peak=None))
    granted(blind.turn(request("blind", 65_000, SUNDAY + minutes(2), reserve=0.1, priority=2)))


def test_who_waits_for_the_peak_to_pass_reads_no_more_often_than_max_age(
    world: World, ledger: QuotaLedger, watched: UsageStore
) -> None:
    """No reading could change what Monday will bring."""
    world.now, world.used = SUNDAY, 0
    gate = world.gate(ledger, watched)
    asked = request("big", 65_000, SUNDAY, reserve=0.1)
    while world.now < SUNDAY + minutes(60):
        world.now = max(waits(gate.turn(asked)).until, world.now + timedelta(seconds=1))

    assert len(world.reads) <= minutes(60) // MAX_AGE + 1


class Counting:
    """Counts the statements that a store is asked."""

    def __init__(self, store: UsageStore) -> None:
        self.statements = 0
        event.listen(store.engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.statements += 1


def test_the_past_is_read_once_in_a_quarter_of_an_hour(watched: UsageStore) -> None:
    """All gates of a process share it; a clock that was set back reads it anew."""
    first = foresee(watched, ORG, SUNDAY)
    counting = Counting(watched)

    assert foresee(UsageStore(watched.engine), ORG, SUNDAY + OUTLOOK_FOR - timedelta(seconds=1)) is first
    assert counting.statements == 0
    assert foresee(watched, ORG, SUNDAY + OUTLOOK_FOR) is not first
    assert counting.statements > 0
    assert foresee(watched, ORG, SUNDAY) is not first


def test_each_org_has_its_own(watched: UsageStore) -> None:
    """Two orgs in one store are two pasts."""
    other = "00DAA0000000002"
    foresee(watched, ORG, SUNDAY)

    assert foresee(watched, other, SUNDAY).outlooks == {API_REQUESTS: None}


def test_the_orgs_clock_tells_when_the_peak_comes(store: UsageStore) -> None:
    """An org whose clock is ten minutes ahead of ours has its Monday ten minutes earlier by ours."""
    ahead = minutes(10)
    store.add_readings(
        [reading(used_at(at), at, received_at=at - ahead) for n in range(16 * 96) if (at := SUNDAY - n * minutes(15))]
    )

    outlook = foresee(store, ORG, SUNDAY - ahead).outlooks[API_REQUESTS]

    assert outlook is not None
    assert outlook.at == SUNDAY


def test_readings_of_running_loads_show_whether_figures_are_fresh(
    watched: UsageStore, ledger: QuotaLedger, tmp_path: Path
) -> None:
    """A figure that moves with what a load draws is fresh, and is taken to be so for a week, by any process."""
    assert foresee(watched, ORG, SUNDAY).staleness == Staleness()
    start = SUNDAY - minutes(60)
    asked = request("load", 4_000, start)
    with ledger.turn(ORG) as turn:
        turn.join(asked, start, SUNDAY)
        held = turn.grant(asked, start).reservation_id
    for n in range(1, 40):
        ledger.draw(held, {API_REQUESTS: 100 * n}, start + minutes(n))
        watched.add_readings([reading(100 * n, start + minutes(n), source=ReadingSource.HEADER)])

    assert foresee(watched, ORG, SUNDAY + OUTLOOK_FOR).staleness == Staleness(timedelta(0))

    lull = SUNDAY + 3 * DAY
    watched.add_readings([reading(used_at(lull), lull)])
    restarted = UsageStore(sqlite_engine(tmp_path / "apiusage.db"))
    assert foresee(watched, ORG, lull).staleness == foresee(restarted, ORG, lull).staleness == Staleness(timedelta(0))
    later = lull + 8 * DAY
    watched.add_readings([reading(used_at(later), later)])
    assert foresee(watched, ORG, later).staleness == Staleness()


def test_a_gate_passes_no_more_than_the_budget_over_many_turns(gate: Gate, world: World) -> None:
    """What passed the head in earlier turns is remembered by the store."""
    world.used = 60_000
    waits(gate.turn(request("head", 50_000)))
    passed = 0
    for number in range(16):
        world.pass_time(minutes=1)
        waits(gate.turn(request("head", 50_000)))
        decision = gate.turn(request(number, 9_000, world.now))
        if not hasattr(decision, "reservation"):
            break
        passed += 9_000
        gate.ledger.release(decision.reservation.reservation_id, world.now)
        world.pass_time(minutes=11)

    assert passed == 99_000
    assert "In the queue behind" in waits(gate.turn(request("late", 9_000, world.now))).reason
