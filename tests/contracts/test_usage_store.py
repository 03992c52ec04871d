"""Readings and snapshots: what was seen is kept whole, once, and found again as it was."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, StatementError

from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Coverage,
    DailyCount,
    Finding,
    LimitReading,
    ReadingSource,
    Severity,
    Snapshot,
)
from tests.support.contenders import keep_snapshots
from tests.support.processes import Racers
from tests.support.quota import BATCHES, NOW, ORG, minutes, reading
from tests.usage.evidence import TODAY, YESTERDAY, counted

NAME = "usage_snapshot/scheduled__2026-10-07T14:30:00+00:00/take/-1"
SNAPSHOT = Snapshot(
    org_id=ORG,
    observed_at=NOW,
    readings=(
        reading(25_000),
        reading(12, name=BATCHES, limit=15_000),
        reading(4_000, scope="Ant Migration Tool", limit=None, remaining=None),
    ),
    daily_counts=(counted(YESTERDAY, 20_000), counted(TODAY, 15_000, user="Zoë Ng (integration) 統合")),
    findings=(Finding("used-above-limit", Severity.WARNING, "Used is above the limit.", {"used": 25_000, "of": None}),),
    api_calls=2,
    taken_by=NAME,
)

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_counts = st.none() | st.integers(-(2**62), 2**62)
_instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_numbers = count(1)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Snapshots of an org of their own, so that examples have nothing to do with each other."""
    org_id = f"00D{next(_numbers):012d}"
    readings = st.builds(
        LimitReading,
        st.just(org_id), _text, st.sampled_from(ReadingSource), _instants, _instants, _counts, _counts, _counts, _text,
    )  # fmt: skip
    counts = st.builds(
        DailyCount,
        st.just(org_id),
        st.dates(date(2000, 1, 1), date(2100, 1, 1)),
        st.none() | _text,
        st.integers(0, 2**62),
        st.sampled_from(Coverage),
        st.sampled_from(["report", "csv"]),
        _instants,
    )
    findings = st.builds(Finding, _text, st.sampled_from(Severity), _text, st.dictionaries(_text, _json, max_size=4))
    return Snapshot(
        org_id=org_id,
        observed_at=draw(_instants),
        readings=tuple(draw(st.lists(readings, max_size=6, unique_by=identity))),
        daily_counts=tuple(draw(st.lists(counts, max_size=4))),
        findings=tuple(draw(st.lists(findings, max_size=3))),
        api_calls=draw(st.integers(0, 2**31 - 1)),
        taken_by=draw(_text),
    )


def identity(of: LimitReading) -> tuple[object, ...]:
    """What makes two readings the same one."""
    return of.org_id, of.name, of.scope, of.source, of.observed_at, of.received_at


@given(taken=snapshots())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_snapshot_is_found_as_it_was_added(store: UsageStore, taken: Snapshot) -> None:
    """Every reading, count and finding comes back equal and in order: any text, any number, unknowns as unknowns."""
    assert taken.taken_by is not None
    assert store.add(taken)

    assert store.find_snapshot(taken.org_id, taken.taken_by) == taken


def test_an_instant_comes_back_as_the_same_instant_in_utc(store: UsageStore) -> None:
    """The zone in which an instant was told does not matter, and its microseconds are kept."""
    instant = datetime.fromisoformat("2026-10-07T16:30:00.000007+02:00")
    store.add_readings([reading(25_000, instant)])

    found = store.latest_reading(ORG)

    assert found == reading(25_000, NOW + timedelta(microseconds=7))
    assert found is not None
    assert found.observed_at.utcoffset() == timedelta(0)


def test_a_task_that_runs_again_keeps_its_first_snapshot(store: UsageStore) -> None:
    """The second snapshot under one name is not kept, and the first stays as it was."""
    again = replace(SNAPSHOT, observed_at=NOW + minutes(3), readings=(reading(25_100, NOW + minutes(3)),))

    assert store.add(SNAPSHOT)
    assert not store.add(again)

    assert store.find_snapshot(ORG, NAME) == SNAPSHOT
    assert store.latest_reading(ORG) == reading(25_000)


def test_a_name_belongs_to_one_org(store: UsageStore) -> None:
    """Two orgs may have snapshots of one name, and neither is taken for the other's."""
    other = Snapshot("00DBB0000000002", NOW, (reading(7, org_id="00DBB0000000002"),), taken_by=NAME)
    store.add(SNAPSHOT)

    assert store.add(other)

    assert store.find_snapshot("00DBB0000000002", NAME) == other
    assert store.find_snapshot(ORG, NAME) == SNAPSHOT
    assert store.find_snapshot("00DCC0000000003", NAME) is None


def test_snapshots_without_a_name_are_all_kept(store: UsageStore) -> None:
    """Nobody's snapshots are not each other's repeats."""
    first = Snapshot(ORG, NOW, (reading(25_000),))
    second = Snapshot(ORG, NOW, (reading(25_050, received_at=NOW + timedelta(seconds=1)),))

    assert store.add(first)
    assert store.add(second)

    assert store.readings(ORG, API_REQUESTS, NOW, NOW) == first.readings + second.readings


def test_threads_that_add_one_snapshot_at_once_keep_it_once(store: UsageStore) -> None:
    """Of four threads with a snapshot of one name, one keeps it whole and the others learn that it is there."""
    line = Barrier(4)

    def add(taken: Snapshot) -> bool:
        line.wait(60)
        return store.add(taken)

    for number in range(10):
        name = f"{NAME}/{number}"
        at = NOW + minutes(number)
        mine = [replace(SNAPSHOT, taken_by=name, readings=(reading(used, at),)) for used in range(4)]
        with ThreadPoolExecutor(4) as threads:
            kept = list(threads.map(add, mine))
        assert sorted(kept) == [False, False, False, True]
        assert store.find_snapshot(ORG, name) == mine[kept.index(True)]


@pytest.fixture(scope="module")
def two() -> Iterator[Racers]:
    """Two processes."""
    with Racers(2) as racers:
        yield racers


def test_processes_that_add_one_snapshot_at_once_keep_it_once(engine: Engine, store_url: str, two: Racers) -> None:
    """Of two processes with a snapshot of one name, one keeps it whole and the other learns that it is there."""
    rounds = range(50)
    mine = [
        [replace(SNAPSHOT, taken_by=f"{NAME}/{n}", readings=(reading(used, NOW + minutes(n)),)) for n in rounds]
        for used in (1, 2)
    ]

    kept = two.race(keep_snapshots, [(store_url, mine[0]), (store_url, mine[1])])

    for number in rounds:
        winners = [each for each in (0, 1) if kept[each][number]]
        assert len(winners) == 1
        assert UsageStore(engine).find_snapshot(ORG, f"{NAME}/{number}") == mine[winners[0]][number]


@pytest.mark.parametrize(
    "broken",
    [
        replace(SNAPSHOT, readings=(*SNAPSHOT.readings, reading(1, NOW.replace(tzinfo=None), received_at=NOW))),
        replace(SNAPSHOT, readings=(*SNAPSHOT.readings, reading(2**63, name="DailyAsyncApexExecutions"))),
        replace(SNAPSHOT, daily_counts=(*SNAPSHOT.daily_counts, counted(TODAY, 2**63))),
    ],
    ids=["naive instant", "reading too large", "count too large"],
)
def test_a_snapshot_that_fails_half_way_leaves_nothing(store: UsageStore, broken: Snapshot) -> None:
    """Whatever cannot be written takes everything of its snapshot with it, and its name stays free."""
    with pytest.raises((StatementError, OverflowError, DBAPIError)):
        store.add(broken)

    assert store.find_snapshot(ORG, NAME) is None
    assert store.latest_reading(ORG) is None
    assert store.evidence(ORG, NOW) is None
    assert store.orgs() == ()
    assert store.add(SNAPSHOT)


def test_the_latest_reading_is_the_latest_by_the_clock_of_the_org(store: UsageStore) -> None:
    """A reading that arrives late does not take the place of one that the org made after it."""
    newest = reading(25_000, NOW, received_at=NOW + timedelta(seconds=1))
    late = reading(24_000, NOW - minutes(2), received_at=NOW + minutes(10))

    store.add_readings([newest])
    store.add_readings([late])

    assert store.latest_reading(ORG) == newest


def test_of_one_org_instant_the_reading_that_arrived_last_is_the_latest(store: UsageStore) -> None:
    """The org's clock shows whole seconds; within one, ours decides."""
    first = reading(25_000, received_at=NOW + timedelta(milliseconds=400))
    second = reading(25_001, received_at=NOW + timedelta(milliseconds=700), source=ReadingSource.HEADER)

    store.add_readings([second])
    store.add_readings([first])

    assert store.latest_reading(ORG) == second


def test_the_latest_reading_is_of_the_whole_org_and_of_one_limit(store: UsageStore) -> None:
    """Entries nested under a limit, other limits and other orgs are not it."""
    store.add_readings(
        [
            reading(25_000),
            reading(9, NOW + minutes(1), scope="Ant Migration Tool"),
            reading(8, NOW + minutes(2), name=BATCHES),
            reading(7, NOW + minutes(3), org_id="00DBB0000000002"),
        ]
    )

    assert store.latest_reading(ORG) == reading(25_000)
    assert store.latest_reading(ORG, BATCHES) == reading(8, NOW + minutes(2), name=BATCHES)
    assert store.latest_reading(ORG, "DailyBulkV2QueryJobs") is None


def test_a_reading_that_is_there_already_changes_nothing(store: UsageStore) -> None:
    """The same reading from two hooks is one reading, and others in the same breath are kept."""
    store.add_readings([reading(25_000)])

    store.add_readings([reading(25_000), reading(25_500, NOW + minutes(1)), reading(25_000)])

    assert store.readings(ORG, API_REQUESTS, NOW, NOW + minutes(1)) == (
        reading(25_000),
        reading(25_500, NOW + minutes(1)),
    )
