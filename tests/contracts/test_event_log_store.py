"""The store of event logs: each file counts once, whatever the order, the repeats and the company it comes in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.schema import event_file, event_part, hourly_count
from airflow_provider_apiusage.usage.event_log import FileUsage, LogInterval, Part
from airflow_provider_apiusage.usage.event_log_plan import Listings
from airflow_provider_apiusage.usage.hourly import Completeness
from airflow_provider_apiusage.usage.model import Finding, Severity
from tests.support.event_logs import DAY, DAY0, HOUR, File, Row, counts_of, truth_of

ORG = "00DAA0000000001"
AT = DAY0 + DAY * 2
END = DAY0 + DAY * 3

_orgs = count(1)


@pytest.fixture
def logs(engine: Engine) -> EventLogStore:
    """An empty store of event logs."""
    return EventLogStore(engine)


def row_lists(hours: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[Row, ...]]:
    """Few callers and few requests, so that files repeat each other's rows."""
    return st.lists(st.builds(Row, hours, st.integers(0, 2), st.integers(0, 5)), max_size=8).map(tuple)


@st.composite
def log_files(draw: st.DrawFn) -> File:
    """An hourly or daily file of the first two days; some rows lie outside its period."""
    number = draw(st.integers(1, 2))
    if draw(st.booleans()):
        period = draw(st.sampled_from([0, 1, 23, 24]))
        hours = st.sampled_from([period, period, max(0, period - 1), period + 1])
        return File(LogInterval.HOURLY, period, number, draw(row_lists(hours)))
    period = draw(st.integers(0, 1))
    inside = [period * 24 + hour for hour in (0, 1, 23)]
    hours = st.sampled_from([*inside, *inside, (period * 24 - 1) % 48, period * 24 + 24])
    return File(LogInterval.DAILY, period, number, draw(row_lists(hours)))


arrivals = st.lists(log_files(), min_size=1, max_size=5, unique_by=lambda file: file.listed.id).flatmap(
    lambda files: st.tuples(st.permutations(files), st.lists(st.sampled_from(files), max_size=2)).map(
        lambda drawn: [*drawn[0], *drawn[1]]
    )
)


def test_the_counts_are_the_truth_for_every_mix_order_and_repeat(logs: EventLogStore, engine: Engine) -> None:
    """Hourly and daily files, sequences, replaced files, strays, and some files twice: call for call."""

    @settings(max_examples=100 if engine.dialect.name == "sqlite" else 50, deadline=None)
    @given(order=arrivals)
    def check(order: list[File]) -> None:
        org_id = f"00DAA{next(_orgs):010d}"
        arrived: list[File] = []
        for file in order:
            assert logs.add_file(org_id, file.usage, AT) == (file not in arrived)
            arrived.append(file)
        assert counts_of(logs.usage(org_id, DAY0 - DAY, END)) == truth_of(arrived)

    check()


def test_two_orgs_in_one_store_keep_apart(logs: EventLogStore) -> None:
    """The same file of another org is another file."""
    file = File(LogInterval.HOURLY, 0, 1, (Row(0, 0, 1),))
    other = "00DBB0000000002"

    assert logs.add_file(ORG, file.usage, AT)
    assert logs.add_file(other, file.usage, AT)

    assert counts_of(logs.usage(ORG, DAY0, END)) == counts_of(logs.usage(other, DAY0, END)) == truth_of([file])


def test_files_that_arrive_at_the_same_time_are_each_counted_once(logs: EventLogStore) -> None:
    """Twelve workers, each file handed to three of them, rows shared between sequences: as if one had read them."""
    files = [File(LogInterval.DAILY, 1, 1, tuple(Row(25, 0, request) for request in range(9)))]
    for number in (1, 2, 3):
        rows = tuple(Row(0, who, request) for who in range(3) for request in range(number, number + 3))
        files.append(File(LogInterval.HOURLY, 0, number, rows))
    start = threading.Barrier(12)

    def add(file: File) -> bool:
        start.wait()
        return logs.add_file(ORG, file.usage, AT)

    with ThreadPoolExecutor(12) as pool:
        kept = list(pool.map(add, files * 3))

    assert sum(kept) == len(files)
    assert counts_of(logs.usage(ORG, DAY0, END)) == truth_of(files)


def test_a_file_that_fails_half_way_leaves_nothing(logs: EventLogStore, engine: Engine) -> None:
    """Not a part, not a count, and not the mark that it was read."""
    good = File(LogInterval.HOURLY, 0, 1, (Row(0, 0, 1), Row(0, 1, 1))).usage
    bad = replace(good, parts=(*good.parts, Part(DAY0 + HOUR, good.parts[0].caller, None)))  # type: ignore[arg-type]

    with pytest.raises(Exception, match=r"(?i)null"):
        logs.add_file(ORG, bad, AT)

    with engine.connect() as connection:
        for table in (event_part, hourly_count, event_file):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
    assert logs.add_file(ORG, good, AT)


def test_once_the_daily_file_is_there_nothing_else_of_its_day_is_kept(logs: EventLogStore, engine: Engine) -> None:
    """Fingerprints take 8 bytes a row; they go when they have served."""
    logs.add_file(ORG, File(LogInterval.HOURLY, 0, 1, tuple(Row(0, 0, n) for n in range(50))).usage, AT)
    logs.add_file(ORG, File(LogInterval.DAILY, 0, 1, tuple(Row(0, 0, n) for n in range(60))).usage, AT)
    logs.add_file(ORG, File(LogInterval.HOURLY, 1, 1, (Row(1, 0, 1),)).usage, AT)

    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(event_part)).scalar_one() == 0
    assert sum(count.calls for count in logs.usage(ORG, DAY0, END).counts) == 60


def test_the_queryable_object_is_another_teller_of_the_same_calls(logs: EventLogStore) -> None:
    """The later answer replaces the earlier, the larger of object and files is taken, and a daily file ends it."""

    def queried(calls: int, minute: int) -> FileUsage:
        file = File(LogInterval.OBJECT, 0, 1, ()).listed
        file = replace(file, created_at=AT + timedelta(minutes=minute))
        parts = (Part(DAY0, Row(0, 0, 0).caller, calls),) if calls else ()
        return FileUsage(file, parts, calls)

    def total() -> int:
        return sum(count.calls for count in logs.usage(ORG, DAY0, END).counts)

    logs.add_file(ORG, queried(5, 0), AT)
    assert total() == 5
    logs.add_file(ORG, queried(4, 1), AT)
    assert total() == 4
    logs.add_file(ORG, File(LogInterval.HOURLY, 0, 1, tuple(Row(0, 1, n) for n in range(3))).usage, AT)
    assert total() == 4
    logs.add_file(ORG, File(LogInterval.HOURLY, 0, 2, tuple(Row(0, 1, n) for n in range(3, 7))).usage, AT)
    assert total() == 7
    logs.add_file(ORG, queried(0, 2), AT)
    assert total() == 7
    logs.add_file(ORG, File(LogInterval.DAILY, 0, 1, (Row(0, 0, 1),)).usage, AT)
    logs.add_file(ORG, queried(9, 3), AT)
    assert total() == 1


def test_listings_are_remembered_only_if_they_watch_the_present(logs: EventLogStore) -> None:
    """A backfill's listing of an old period shows nothing of what is new."""
    file = File(LogInterval.DAILY, 0, 1, ()).listed
    assert logs.listings(ORG) is None

    logs.record_listing(ORG, [file], AT, watching=False)
    assert logs.listings(ORG) is None
    logs.record_listing(ORG, [file], AT + HOUR, watching=True)

    assert logs.listings(ORG) == Listings(AT + HOUR, AT + HOUR)
    (state,) = logs.states(ORG, DAY0, END)
    assert (state.file, state.seen_at, state.read_at) == (file, AT + HOUR, None)


def test_what_is_wrong_with_a_file_goes_with_its_hours(logs: EventLogStore) -> None:
    """A postponed file is a finding until it is read; one that a daily file replaced is none any more."""
    hourly, daily = File(LogInterval.HOURLY, 0, 1, (Row(0, 0, 1),)), File(LogInterval.DAILY, 0, 1, (Row(0, 0, 1),))
    lost = Finding("event-log-unread", Severity.WARNING, "It did not arrive whole.", {"file": hourly.listed.id})
    repeated = Finding("event-log-rows-repeated", Severity.INFO, "One row.", {"rows": 1})
    logs.record_listing(ORG, [hourly.listed], AT, watching=True)

    logs.postpone(ORG, hourly.listed, AT + HOUR, lost, AT)
    assert logs.usage(ORG, DAY0, END).findings == (lost,)
    assert logs.states(ORG, DAY0, END)[0].retry_at == AT + HOUR
    logs.add_file(ORG, replace(hourly.usage, findings=(repeated,), unread=3), AT)
    assert logs.usage(ORG, DAY0, END).findings == (repeated,)
    assert logs.states(ORG, DAY0, END)[0].unread == 3
    assert logs.usage(ORG, DAY0, END).completeness[DAY0] is Completeness.PROVISIONAL
    logs.add_file(ORG, daily.usage, AT)

    assert logs.usage(ORG, DAY0, END).findings == ()
