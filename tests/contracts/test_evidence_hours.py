"""What the store hands to a reconciliation of event logs: one total for each hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.hour_total import hour_totals
from airflow_provider_apiusage.usage.hourly import Caller
from airflow_provider_apiusage.usage.model import Completeness, Evidence, HourTotal, Interval, Snapshot
from tests.contracts.conftest import open_engine
from tests.support.quota import NOW, ORG, reading
from tests.usage.evidence import TODAY, counted

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MIDNIGHT = NOW.replace(hour=0, minute=0)


@pytest.fixture
def logs(engine: Engine) -> EventLogStore:
    """What event logs told, in the same store."""
    return EventLogStore(engine)


def evidence_of(store: UsageStore, at: datetime) -> Evidence:
    """Return the evidence, which is there."""
    found = store.evidence(ORG, at)
    assert found is not None
    return found


def add_log(logs: EventLogStore, interval: LogInterval, starts_at: datetime, *parts: tuple[int, int, Caller]) -> None:
    """Keep a log file whose rows are told as hour (counted from its start), calls and caller; made 3 hours after."""
    created_at = starts_at + interval.length + 3 * HOUR
    sequence = 0 if interval is LogInterval.DAILY else 1
    file = LogFile(starts_at, sequence, created_at, f"0AT{interval.value[0]}{starts_at:%y%m%d%H}", interval)
    told = tuple(Part(starts_at + hour * HOUR, who, 0, calls) for hour, calls, who in parts)
    logs.add_file(ORG, FileUsage(file, told, sum(part.calls for part in told)), created_at)


def told_by(store: UsageStore, at: datetime, **options: timedelta) -> dict[datetime, HourTotal]:
    """Return the hours of the evidence, which are in order."""
    found = store.evidence(ORG, at, **options)
    hours = () if found is None else found.hours
    assert list(hours) == sorted(hours, key=lambda hour: hour.starts_at)
    return {hour.starts_at: hour for hour in hours}


def test_hours_alone_are_evidence_of_an_instant_that_is_named(store: UsageStore, logs: EventLogStore) -> None:
    """Without a reading or a count event logs still tell what was called."""
    add_log(logs, LogInterval.HOURLY, MIDNIGHT, (0, 7, Caller("005AA0000000001", family="REST", counted=True)))

    assert store.evidence(ORG) is None
    assert store.evidence("00DBB0000000002", NOW) is None
    found = evidence_of(store, NOW)
    assert (found.readings, found.daily_counts) == ((), ())
    assert [(hour.starts_at, hour.calls) for hour in found.hours] == [(MIDNIGHT, Interval(7))]


def test_the_callers_of_an_hour_are_one_total_with_its_bounds(store: UsageStore, logs: EventLogStore) -> None:
    """The same totals as from every caller by itself: what counts, what may, what a batch may hide, what is SOAP."""
    kinds = [
        Caller(user, family=family, resource=resource, counted=counted)
        for user in ("005AA0000000001", "005AA0000000002", None)
        for family in ("REST", "SOAP", "soap ", None)
        for resource in ("query", "composite/batch", None)
        for counted in (True, False, None)
    ]
    parts = [(number % 24, number + 1, who) for number, who in enumerate(kinds)]
    add_log(logs, LogInterval.DAILY, MIDNIGHT - DAY, *parts)
    logs.record_listing(
        ORG, [state.file for state in logs.states(ORG, MIDNIGHT - DAY, NOW)], NOW + 9 * DAY, watching=True
    )
    add_log(logs, LogInterval.HOURLY, MIDNIGHT, *((0, calls, who) for _, calls, who in parts))
    usage = logs.usage(ORG, MIDNIGHT - DAY, NOW.replace(minute=0) + HOUR)
    expected = hour_totals(usage.counts, usage.completeness)

    found = evidence_of(store, NOW).hours

    assert found == expected
    assert [hour.completeness for hour in found] == [Completeness.SETTLED] * 24 + [Completeness.PROVISIONAL]
    assert found[0].calls.high is not None


def test_an_hour_of_which_logs_tell_nothing_yet_is_left_out(store: UsageStore, logs: EventLogStore) -> None:
    """No file is not zero calls; a file without a row is."""
    add_log(logs, LogInterval.HOURLY, MIDNIGHT + HOUR)
    add_log(logs, LogInterval.HOURLY, MIDNIGHT + 3 * HOUR, (0, 5, Caller(counted=True)), (1, 2, Caller(counted=True)))

    assert {hour: told.calls.low for hour, told in told_by(store, NOW).items()} == {
        MIDNIGHT + HOUR: 0,
        MIDNIGHT + 3 * HOUR: 5,
    }


def test_hours_begin_with_the_earliest_day_that_matters_and_end_with_the_instant(
    store: UsageStore, logs: EventLogStore
) -> None:
    """The day eight days before is whole, that of the earliest reading too; no hour begins at the instant or later."""
    for back in range(11):
        who = Caller(counted=True)
        add_log(logs, LogInterval.DAILY, MIDNIGHT - back * DAY, *((hour, hour + 1, who) for hour in range(24)))

    hours = list(told_by(store, NOW))
    assert (hours[0], hours[-1]) == (MIDNIGHT - 8 * DAY, NOW.replace(minute=0))
    assert len(hours) == 8 * 24 + 15
    early = MIDNIGHT + timedelta(minutes=30)
    assert next(iter(told_by(store, early))) == MIDNIGHT - 9 * DAY
    assert list(told_by(store, MIDNIGHT))[-1] == MIDNIGHT - HOUR
    assert next(iter(told_by(store, NOW, span=timedelta(hours=1)))) == MIDNIGHT - 8 * DAY
    assert next(iter(told_by(store, NOW, span=timedelta(days=9)))) == MIDNIGHT - 9 * DAY


def test_an_hour_that_was_settled_after_the_instant_is_evidence_as_it_is_now(
    store: UsageStore, logs: EventLogStore
) -> None:
    """Who asks about last Tuesday is told what has been learnt since."""
    who = Caller(counted=True)
    add_log(logs, LogInterval.HOURLY, MIDNIGHT, (0, 5, who))
    assert told_by(store, NOW)[MIDNIGHT].calls == Interval(5)

    add_log(logs, LogInterval.DAILY, MIDNIGHT, (0, 6, who))
    files = [state.file for state in logs.states(ORG, MIDNIGHT, MIDNIGHT + HOUR)]
    logs.record_listing(ORG, files, NOW + 4 * DAY, watching=True)

    assert told_by(store, NOW)[MIDNIGHT].calls == Interval(6, 6)
    assert told_by(store, NOW)[MIDNIGHT].completeness is Completeness.SETTLED


def test_evidence_is_the_store_at_one_moment(store: UsageStore, logs: EventLogStore, engine: Engine) -> None:
    """What is written while the evidence is gathered is in all of it or in none of it."""
    store.add_readings([reading(1)])
    done = []

    def meddle(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "apiusage_reading" in statement and statement.startswith("SELECT") and not done:
            done.append(statement)
            other = UsageStore(open_engine(engine.url))
            EventLogStore(open_engine(engine.url)).add_file(ORG, file_of_one_call(), NOW)
            other.add(Snapshot(ORG, NOW, (), (counted(TODAY, 15_000),)))

    event.listen(engine, "after_cursor_execute", meddle)
    found = evidence_of(store, NOW)
    event.remove(engine, "after_cursor_execute", meddle)

    assert done
    assert (len(found.readings), found.daily_counts, found.hours) == (1, (), ())
    later = evidence_of(store, NOW)
    assert (len(later.daily_counts), len(later.hours)) == (1, 1)


def file_of_one_call() -> FileUsage:
    """Return what a file of today's first hour told."""
    file = LogFile(MIDNIGHT, 1, MIDNIGHT + 3 * HOUR, "0AT0000000001AA", LogInterval.HOURLY)
    return FileUsage(file, (Part(MIDNIGHT, Caller(counted=True), 0, 1),), 1)
