"""What retention keeps of each kind, against the rule in plain words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.retention import Pruned, UsageRetention
from airflow_provider_apiusage.store.schema import caller, decision, event_part, lease, snapshot
from airflow_provider_apiusage.store.usage_store import UsageStore, evidence_since
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.event_log_plan import EventSource, files_to_read
from airflow_provider_apiusage.usage.hourly import Caller
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Completeness,
    DailyCount,
    Finding,
    LimitReading,
    ReadingSource,
    Severity,
    Snapshot,
)
from airflow_provider_apiusage.usage.retention import Retention
from tests.support.quota import BATCHES, LEASE, NOW, ORG, minutes, reading, request
from tests.usage.evidence import counted

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
KEEP = Retention(7 * DAY, 25 * DAY)
FULL_FROM = evidence_since(NOW - KEEP.keep_details)
KEPT_FROM = NOW.replace(hour=0, minute=0) - KEEP.keep
_orgs = count(1)


def prune(engine: Engine, org_id: str = ORG) -> Pruned:
    """Prune one org without pausing."""
    return UsageRetention(engine, pause=lambda _: None).prune(org_id, NOW, KEEP)


@pytest.fixture
def logs(engine: Engine) -> EventLogStore:
    """What event logs told."""
    return EventLogStore(engine)


def examples(engine: Engine) -> int:
    """How many histories to try: PostgreSQL takes longer for each."""
    return 60 if engine.dialect.name == "sqlite" else 25


some_readings = st.lists(
    st.builds(
        lambda hour, minute, used, source, name, late: reading(
            used if source is not ReadingSource.EXHAUSTED else None,
            KEPT_FROM + HOUR * hour + timedelta(minutes=minute),
            name=name,
            source=source,
            received_at=KEPT_FROM + HOUR * hour + timedelta(minutes=minute, seconds=late),
        ),
        st.sampled_from([-30, -1, 0, 1, 23, 24, 25, 47, 48, 24 * 9, 24 * 9 + 1, 24 * 9 + 30]),
        st.sampled_from([0, 0, 15, 30, 59]),
        st.none() | st.integers(0, 9),
        st.sampled_from([ReadingSource.LIMITS, ReadingSource.LIMITS, ReadingSource.HEADER, ReadingSource.EXHAUSTED]),
        st.sampled_from([API_REQUESTS, API_REQUESTS, BATCHES]),
        st.integers(0, 1),
    ),
    max_size=40,
    unique_by=lambda r: (r.name, r.observed_at, r.received_at, r.source),
)


def told_most(readings: Iterable[LimitReading]) -> list[LimitReading]:
    """Return the readings of one hour and limit that stay, by looking at each in turn."""
    last = peak = first = None
    for each in readings:
        instant = (each.observed_at, each.received_at)
        height = (each.source is ReadingSource.EXHAUSTED, -1 if each.used is None else each.used, *instant)
        if last is None or instant >= (last.observed_at, last.received_at):
            last = each
        if peak is None or height >= peak[0]:
            peak = (height, each)
        if each.observed_at.hour == 0 and (first is None or instant < (first.observed_at, first.received_at)):
            first = each
    return [each for each in (last, peak and peak[1], first) if each is not None]


def test_of_each_hour_the_last_and_the_highest_reading_stay_and_the_first_after_midnight(engine: Engine) -> None:
    """For any readings, of any limits, sources and order of arrival; those of the details all stay."""
    store = UsageStore(engine)

    @settings(max_examples=examples(engine), deadline=None)
    @given(readings=some_readings)
    def check(readings: list[LimitReading]) -> None:
        org_id = f"00DAA{next(_orgs):010d}"
        readings = [replace(each, org_id=org_id) for each in readings]
        store.add_readings(readings)
        groups: dict[tuple[str, datetime], list[LimitReading]] = defaultdict(list)
        for each in readings:
            groups[each.name, each.observed_at.replace(minute=0)].append(each)
        expected: set[LimitReading] = set()
        for (_, hour), group in groups.items():
            if hour >= FULL_FROM:
                expected.update(group)
            elif hour >= KEPT_FROM:
                expected.update(told_most(group))

        prune(engine, org_id)

        found = [
            each for name in (API_REQUESTS, BATCHES) for each in store.readings(org_id, name, NOW - 100 * DAY, NOW)
        ]
        assert len(found) == len(set(found))
        # Two that differ in nothing but their source tell the same: either may stay.
        assert {_told(each) for each in found} == {_told(each) for each in expected}

    check()


def _told(each: LimitReading) -> tuple[object, ...]:
    return each.name, each.observed_at, each.received_at, each.used


@st.composite
def reports(draw: st.DrawFn) -> list[tuple[datetime, str, list[DailyCount]]]:
    """Observations of seven days each: some days have no row, the first one always has."""
    made = []
    for hours in draw(st.lists(st.integers(0, 24 * 8), max_size=5, unique=True)):
        at = KEPT_FROM + 6 * DAY + HOUR * hours
        days = [at.date() - DAY * back for back in range(6, -1, -1)]
        with_rows = [days[0], *(day for day in days[1:] if draw(st.booleans()))]
        source = draw(st.sampled_from(["report", "report", "csv"]))
        rows = [
            counted(day, draw(st.integers(0, 99)), user=f"005AA000000000{who}", observed_at=at, source=source)
            for day in with_rows
            for who in range(draw(st.integers(1, 2)))
        ]
        made.append((at, source, rows))
    return made


def test_every_finished_day_is_told_as_before(engine: Engine) -> None:
    """Whatever reports were made of it, evidence of the next day tells the same of each day that is kept."""
    store = UsageStore(engine)

    @settings(max_examples=examples(engine) // 2, deadline=None)
    @given(made=reports())
    def check(made: list[tuple[datetime, str, list[DailyCount]]]) -> None:
        org_id = f"00DBB{next(_orgs):010d}"
        for at, _, rows in made:
            store.add(Snapshot(org_id, at, (), tuple(replace(each, org_id=org_id) for each in rows)))
        days = [FULL_FROM.date() + DAY * number for number in range(-6, 2)]
        before = {day: told_of(store, org_id, day) for day in days}

        pruned = prune(engine, org_id)

        assert {day: told_of(store, org_id, day) for day in days} == before
        rows = pruned.kept["daily_count"]
        assert rows == sum(len(each) for each in kept_by_hand(made).values())

    check()


def kept_by_hand(
    made: list[tuple[datetime, str, list[DailyCount]]],
) -> dict[tuple[date, str, datetime], list[DailyCount]]:
    """Return the rows that stay, by day and observation: of an old day those of each source's last look at it."""
    kept: dict[tuple[date, str, datetime], list[DailyCount]] = defaultdict(list)
    for at, source, rows in made:
        for row in rows:
            later = [
                other for other, of, _ in made if of == source and other > at and other.date() - 6 * DAY <= row.day
            ]
            if row.day >= FULL_FROM.date() or not later:
                kept[row.day, source, at].append(row)
    return kept


def told_of(store: UsageStore, org_id: str, day: date) -> list[DailyCount]:
    """Return what evidence says of a day, at noon of the next."""
    at = datetime.combine(day, time(12), UTC) + DAY
    found = store.evidence(org_id, at)
    return [] if found is None else [each for each in found.daily_counts if each.day == day]


def test_a_snapshot_goes_with_its_last_row(engine: Engine) -> None:
    """Its findings are kept as long as a reading or a count of it is; a recent one without any stays."""
    store = UsageStore(engine)
    lost = (Finding("limit-missing", Severity.WARNING, "No limit.", {}),)
    old = FULL_FROM - 2 * DAY + 5 * HOUR
    store.add(Snapshot(ORG, old, (reading(1, old),), findings=lost, taken_by="thinned"))
    store.add(Snapshot(ORG, old, (reading(2, old + minutes(1)),), findings=lost, taken_by="last of its hour"))
    at = old + HOUR
    store.add(Snapshot(ORG, at, (), (counted(at.date(), 5, observed_at=at),), taken_by="with a count"))
    store.add(Snapshot(ORG, old, (), findings=lost, taken_by="empty"))
    store.add(Snapshot(ORG, NOW - DAY, (), findings=lost, taken_by="empty, but recent"))

    assert prune(engine).removed["snapshot"] == 2

    with engine.connect() as connection:
        left = set(connection.execute(select(snapshot.c.taken_by)).scalars())
    assert left == {"last of its hour", "with a count", "empty, but recent"}


def test_the_last_reconciliation_of_an_old_day_stays(engine: Engine) -> None:
    """By the instant that it is about, and of one instant the one made last; recent ones all stay."""
    store = UsageStore(engine)
    old = KEPT_FROM + DAY
    for number, at in enumerate((old, old + HOUR, old + HOUR, old - HOUR, old - 3 * DAY, NOW - HOUR, NOW)):
        store.add_reconciliation({"org_id": ORG, "consistent": True, "number": number}, at)

    assert prune(engine).removed["reconciliation"] == 3

    latest = store.latest_reconciliation(ORG)
    assert latest is not None
    assert latest["number"] == 6


def hourly(starts_at: datetime, sequence: int, *parts: tuple[Caller, int]) -> FileUsage:
    """Return what an hourly file told, each row with a fingerprint of its own."""
    file = LogFile(
        starts_at, sequence, starts_at + 2 * HOUR, f"0ATH{starts_at:%m%d%H}{sequence:05d}", LogInterval.HOURLY
    )
    told = [Part(starts_at, who, calls, 0, bytes([sequence]) * 8 * calls) for who, calls in parts]
    return FileUsage(file, tuple(told), sum(calls for _, calls in parts), scheme="test")


def daily(day: datetime, *parts: tuple[Caller, int]) -> FileUsage:
    """Return what a daily file told of its first hour."""
    file = LogFile(day, 0, day + 30 * HOUR, f"0ATD{day:%Y%m%d}000", LogInterval.DAILY)
    return FileUsage(file, tuple(Part(day, who, 0, calls) for who, calls in parts), 0)


ANN = Caller("005AA0000000001", "0H4AA0000000001", "loader", "REST", "query", counted=True)
BOB = Caller("005AA0000000002", family="REST", resource="sobjects", counted=True)


def test_a_late_file_of_a_rolled_up_hour_never_lowers_it(engine: Engine, logs: EventLogStore) -> None:
    """Its parts are gone, so nothing can be united with it: it stays the lower bound that it is."""
    old = FULL_FROM - 3 * DAY
    logs.add_file(ORG, hourly(old, 1, (ANN, 7), (BOB, 5)), old + 3 * HOUR)
    prune(engine)
    assert [(each.caller, each.calls) for each in logs.usage(ORG, old, old + HOUR).counts] == [
        (Caller(family="REST", counted=True), 12)
    ]

    assert logs.add_file(ORG, hourly(old, 2, (ANN, 1)), NOW)
    assert logs.add_file(ORG, hourly(old + HOUR, 1, (BOB, 2)), NOW)

    usage = logs.usage(ORG, old, old + 2 * HOUR)
    assert [each.calls for each in usage.counts] == [12, 2]
    assert set(usage.completeness.values()) == {Completeness.PROVISIONAL}


def test_a_late_daily_file_replaces_rolled_up_hours(engine: Engine, logs: EventLogStore) -> None:
    """It is the whole day, and tells the callers again; the next pruning rolls it up again."""
    old = FULL_FROM - 3 * DAY
    logs.add_file(ORG, hourly(old, 1, (ANN, 7)), old + 3 * HOUR)
    prune(engine)

    logs.add_file(ORG, daily(old, (ANN, 9), (BOB, 1)), NOW)
    assert [each.calls for each in logs.usage(ORG, old, old + HOUR).counts] == [9, 1]
    prune(engine)

    (only,) = logs.usage(ORG, old, old + HOUR).counts
    assert (only.calls, only.caller.user) == (10, None)


def test_no_file_is_read_again_because_its_entry_is_gone(engine: Engine, logs: EventLogStore) -> None:
    """Should the org still list everything, nothing of what was read is wanted, and no hour's completeness changes."""
    with_daily, without = FULL_FROM - 3 * DAY, FULL_FROM - 5 * DAY
    for day in (with_daily, without):
        for hour in (0, 1):
            logs.add_file(ORG, hourly(day + hour * HOUR, 1, (ANN, 7)), day + 4 * HOUR)
    logs.add_file(ORG, daily(with_daily, (ANN, 9)), with_daily + 31 * HOUR)
    files = [state.file for state in logs.states(ORG, without, NOW)]
    logs.record_listing(ORG, files, FULL_FROM + 5 * DAY, watching=True)
    completeness = logs.usage(ORG, without, FULL_FROM).completeness

    assert prune(engine).removed["event_file"] == 2

    assert logs.usage(ORG, without, FULL_FROM).completeness == completeness
    logs.record_listing(ORG, files, NOW, watching=False)
    for source in (EventSource.AUTO, EventSource.HOURLY, EventSource.DAILY):
        assert files_to_read(source, logs.states(ORG, without, NOW), NOW) == []
    assert set(completeness.values()) == set(Completeness)


def test_a_stray_part_keeps_the_entry_of_its_file(engine: Engine, logs: EventLogStore) -> None:
    """A file of an old day tells of an hour of the details too: that hour's parts stay, and so does the file."""
    last = FULL_FROM - HOUR
    file = hourly(last, 1, (ANN, 7))
    stray = Part(FULL_FROM, BOB, 1, 0, b"12345678")
    logs.add_file(ORG, replace(file, parts=(*file.parts, stray)), last + 3 * HOUR)
    logs.add_file(ORG, daily(FULL_FROM - DAY, (ANN, 9)), FULL_FROM + 6 * HOUR)

    assert prune(engine).removed["event_file"] == 0
    logs.add_file(ORG, hourly(FULL_FROM, 1, (BOB, 1)), FULL_FROM + 3 * HOUR)

    assert [each.calls for each in logs.usage(ORG, FULL_FROM, FULL_FROM + HOUR).counts] == [2]
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(event_part)).scalar_one() == 2


def test_callers_that_nobody_refers_to_go(engine: Engine, logs: EventLogStore) -> None:
    """One with a count or a part of the details stays, even if its other hours are rolled up."""
    old = FULL_FROM - 3 * DAY
    logs.add_file(ORG, daily(old, (ANN, 9), (BOB, 1)), NOW)
    logs.add_file(ORG, hourly(NOW.replace(minute=0) - 3 * HOUR, 1, (BOB, 2)), NOW)

    assert prune(engine).removed["caller"] == 1

    with engine.connect() as connection:
        assert set(connection.execute(select(caller.c.user)).scalars()) == {None, BOB.user}


def test_live_leases_and_the_last_decision_of_each_that_is_left_stay(engine: Engine) -> None:
    """However old; what ended goes with its decisions once it is old, and a recent one keeps them all but old ones."""
    ledger = QuotaLedger(engine)
    old = NOW - 8 * DAY
    with ledger.turn(ORG) as turn:
        for who, lease_length in (("held", 99 * DAY), ("released", LEASE), ("released late", 99 * DAY)):
            wanted = request(who, at=old, lease=lease_length)
            turn.join(wanted, old, old + LEASE)
            turn.record(wanted, old, "wait", "others are first", ())
            turn.record(wanted, old, "wait", "not enough is left", ())
            held = turn.grant(wanted, old)
            turn.record(wanted, old, "grant", "enough is left", ())
            if who == "released":
                released = held
        waiting = request("waiting", at=old)
        turn.join(waiting, old, NOW + LEASE)
        turn.record(waiting, old, "wait", "others are first", ())
        turn.record(waiting, old, "wait", "not enough is left", ())
        forgotten = request("never asked again", at=old)
        turn.join(forgotten, old, old + LEASE)
    ledger.release(released.reservation_id, old + HOUR / 2)
    ledger.release(held.reservation_id, NOW - HOUR)
    held_before, queue_before = ledger.reservations(ORG, NOW), ledger.waiting(ORG, NOW)

    pruned = prune(engine)

    assert (pruned.removed["lease"], pruned.removed["decision"]) == (1, 3 + 2 + 2 + 1)
    assert ledger.reservations(ORG, NOW) == held_before
    assert ledger.waiting(ORG, NOW) == queue_before
    assert [each["kind"] for each in ledger.decisions(ORG)] == ["wait", "grant", "grant"]
    assert ledger.release(held.reservation_id, NOW) is not None
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(lease)).scalar_one() == 4
        assert connection.execute(select(func.count()).select_from(decision)).scalar_one() == 3


def test_a_gate_keeps_its_latest_metered_runs(engine: Engine) -> None:
    """What a load that runs once a month has cost is known the next time, until it is very old."""
    ledger = QuotaLedger(engine)
    starts = [NOW - 30 * DAY, *(NOW - 20 * DAY + HOUR * 2 * number for number in range(25)), NOW - DAY]
    for number, at in enumerate(starts):
        with ledger.turn(ORG) as turn:
            wanted = request(number, at=at)
            turn.join(wanted, at, at + LEASE)
            held = turn.grant(wanted, at)
        ledger.draw(held.reservation_id, {API_REQUESTS: number}, at + HOUR / 2, closed=True)
        ledger.release(held.reservation_id, at + HOUR / 2)
    gate = ORG, wanted.holder.dag_id, wanted.holder.task_id
    before = ledger.past_runs(*gate)

    assert prune(engine).removed["lease"] == 7

    assert ledger.past_runs(*gate) == before
    assert len(before) == 20
    only_old = UsageRetention(engine, pause=lambda _: None).prune(ORG, NOW + 20 * DAY, KEEP)
    assert only_old.kept["lease"] == 1
