"""The queryable object as a source: the same hourly counts, each hour asked for once, and files beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.hourly import HOUR, Completeness
from tests.events.conftest import START, World, told_by, truth_of

Make = Callable[..., World]


def test_each_hour_is_asked_for_once_and_is_what_the_org_counted(world: Make) -> None:
    """One query an hour; within the hour none; and no hour is told before it has been over for an hour."""
    here = world()
    here.pass_time(hours=30)
    first = here.reader.refresh(EventSource.OBJECT)
    calls = here.calls
    again = here.reader.refresh(EventSource.OBJECT)
    assert (again.read, here.calls) == ((), calls)
    here.pass_time(hours=1)
    calls = here.calls
    new = here.reader.refresh(EventSource.OBJECT)

    assert len(first.read) >= 22
    assert [file.starts_at for file in new.read] == [max(file.starts_at for file in first.read) + HOUR]
    assert here.calls - calls == 1
    until = new.read[-1].ends_at
    assert until <= here.org.now() - HOUR
    since = min(file.starts_at for file in first.read)
    assert told_by(here.usage(since, until)) == truth_of(here.org, since, until)


def test_files_and_object_are_never_added(world: Make) -> None:
    """The same calls from two tellers; the day's own file ends it."""
    here = world(event_log_hourly_first_share=0.5)
    here.pass_time(hours=20)
    here.reader.refresh(EventSource.OBJECT)
    here.reader.refresh(EventSource.HOURLY)
    until = START + timedelta(hours=18)
    assert told_by(here.usage(START, until)) == truth_of(here.org, START, until)

    here.pass_time(hours=11)
    here.reader.refresh(EventSource.DAILY)
    here.reader.refresh(EventSource.OBJECT)
    until = START + timedelta(days=1)
    assert told_by(here.usage(START, until)) == truth_of(here.org, START, until)
    assert set(here.usage(START, until).completeness.values()) == {Completeness.PROVISIONAL}


def test_an_org_without_the_object_gives_a_finding_and_no_hours(world: Make) -> None:
    """Nothing is known, which is not zero calls."""
    here = world(event_log_object="absent")
    here.pass_time(hours=5)
    read = here.reader.refresh(EventSource.OBJECT)

    assert [finding.code for finding in read.findings] == ["event-log-object-denied"]
    assert read.read == ()
    assert set(here.usage(START, START + HOUR * 3).completeness.values()) == {Completeness.NONE}


def test_an_org_that_does_not_group_is_read_row_by_row(world: Make) -> None:
    """The counts are the same."""
    here = world(event_log_object="rows", calls_per_day=500)
    here.pass_time(hours=10)
    read = here.reader.refresh(EventSource.OBJECT)

    since, until = min(f.starts_at for f in read.read), max(f.ends_at for f in read.read)
    assert told_by(here.usage(since, until)) == truth_of(here.org, since, until)
