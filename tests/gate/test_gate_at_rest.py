"""Many that wait, and nothing that lets them go on: what a turn writes does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from airflow_provider_apiusage.gate import GHOST_AFTER, RENEWED_EVERY, WAITS_KEPT_EVERY, Gate, Place, Turned
from airflow_provider_apiusage.quota.model import Grant, Holder, Wait
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from tests.support.gates import World
from tests.support.quota import NOW, ORG, holder, minutes, request

MANY = [request(number, 20_000, NOW + timedelta(seconds=number)) for number in range(40)]
EVERY_MINUTE = minutes(1)


@pytest.fixture
def busy(gate: Gate, world: World) -> Gate:
    """A gate that reads every minute; half of what each of the many needs is left."""
    world.used = 90_000
    return replace(gate, poll_interval=EVERY_MINUTE)


@pytest.fixture
def written(ledger: QuotaLedger) -> Iterator[list[int]]:
    """How many rows of leases and decisions each statement has written."""
    rows: list[int] = []

    def count(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.split(" ", 1)[0] in ("INSERT", "UPDATE") and ("_lease" in statement or "_decision" in statement):
            rows.append(cursor.rowcount)

    event.listen(ledger.engine, "after_cursor_execute", count)
    yield rows
    event.remove(ledger.engine, "after_cursor_execute", count)


def turn(gate: Gate, world: World, seen: Mapping[Holder, Place]) -> Turned:
    """Let a minute pass in which others make some calls; take one turn for all."""
    world.pass_time(minutes=1)
    world.used += 7
    return gate.turn_all(ORG, MANY, seen)


def test_waiting_writes_no_more_for_many_than_for_one(busy: Gate, world: World, written: list[int]) -> None:
    """Figures change with each reading: for the first that is kept, for the others now and then; renewing is rare."""
    turned = turn(busy, world, {})
    assert {type(each) for each in turned.decisions.values()} == {Wait}
    written.clear()
    turns = WAITS_KEPT_EVERY // EVERY_MINUTE
    for _ in range(turns):
        turned = turn(busy, world, turned.places)
        assert all(place.held_until > world.now + EVERY_MINUTE + GHOST_AFTER / 3 for place in turned.places.values())

    renewals = turns * EVERY_MINUTE // RENEWED_EVERY
    assert sum(written) <= turns + (renewals + 1) * len(MANY)
    assert len(busy.ledger.waiting(ORG, world.now)) == len(MANY)
    kept = [each["holder"] for each in busy.ledger.decisions(ORG, most=10_000)]
    assert kept.count(str(holder(0))) == turns + 1
    assert {kept.count(str(each.holder)) for each in MANY[1:]} == {2}


def test_who_was_renewed_by_another_process_is_renewed_at_once(busy: Gate, world: World, written: list[int]) -> None:
    """So each of two that wait for the same tasks can tell that it is not alone, and takes nobody out of the queue."""
    ours = turn(busy, world, {})
    theirs = turn(busy, world, {})
    assert all(theirs.places[each].held_until > ours.places[each].held_until for each in ours.places)
    written.clear()
    again = turn(busy, world, ours.places)

    assert max(written) == len(MANY)
    assert all(again.places[each].held_until > theirs.places[each].held_until for each in ours.places)


def test_a_grant_writes_for_who_is_granted(busy: Gate, world: World, written: list[int]) -> None:
    """Room for one of many: its decision and its reservation are written, and who is the first now."""
    turned = turn(busy, world, {})
    world.used -= 15_000
    written.clear()
    turned = turn(busy, world, turned.places)

    assert [type(each) for each in turned.decisions.values()].count(Grant) == 1
    assert sum(written) <= 5
    assert holder(0) not in turned.places
