"""Event log arithmetic: uniting parts, completeness, what to read next, and when to ask the org again."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.event_log import (
    LogFile,
    LogInterval,
    Part,
    Told,
    file_from_json,
    file_to_json,
    unite,
)
from airflow_provider_apiusage.usage.event_log_plan import (
    EventSource,
    FileState,
    Listings,
    completeness,
    files_to_read,
    listing_due,
    listings_after,
)
from airflow_provider_apiusage.usage.hourly import HOUR, Caller, Completeness, EventUsage, resource_class, short_id

DAY0 = datetime(2026, 10, 6, tzinfo=UTC)
DAY = timedelta(days=1)
CALLERS = [Caller(user="005A", counted=True), Caller(user="005B", counted=True), Caller(user="005B", counted=None)]


def daily(day: datetime = DAY0, *, after: timedelta = timedelta(hours=6), id: str = "0ATD") -> LogFile:
    """A daily file made ``after`` its day ended."""
    return LogFile(day, 0, day + DAY + after, id, LogInterval.DAILY, 100)


def hourly(hour: datetime = DAY0, sequence: int = 1, id: str = "0ATH") -> LogFile:
    """An hourly file made two hours after its hour, one hour later for each further sequence."""
    return LogFile(hour, sequence, hour + HOUR * (2 + sequence), f"{id}{hour:%d%H}{sequence}", LogInterval.HOURLY, 100)


def read(file: LogFile, *, seen_at: datetime | None = None) -> FileState:
    """A file that was read when it was listed."""
    return FileState(file, read_at=seen_at or file.created_at, seen_at=seen_at or file.created_at)


def listed(file: LogFile, **changes: datetime) -> FileState:
    """A file that was listed and not read."""
    return replace(FileState(file, read_at=None, seen_at=file.created_at), **changes)


rows = st.lists(st.tuples(st.sampled_from(CALLERS), st.integers(0, 12)), max_size=20)


def told(row_list: list[tuple[Caller, int]], interval: LogInterval, nameless: int = 0) -> list[Told]:
    """The parts of one file that holds these rows."""
    by_caller: dict[Caller, set[int]] = defaultdict(set)
    for caller, row in row_list:
        by_caller[caller].add(row)
    return [
        Told(interval, "scheme", Part(DAY0, caller, len(found), nameless, array("Q", sorted(found)).tobytes()))
        for caller, found in by_caller.items()
    ]


@given(files=st.lists(rows, max_size=4), queried=rows)
def test_an_hour_is_the_union_of_its_files_or_what_the_object_told_if_that_is_more(
    files: list[list[tuple[Caller, int]]], queried: list[tuple[Caller, int]]
) -> None:
    """Each distinct row is one call, however many files tell it; the object's calls are never added to the files'."""
    union: dict[Caller, set[int]] = defaultdict(set)
    for file in files:
        for caller, row in file:
            union[caller].add(row)
    expected = {caller: len(found) for caller, found in union.items()}
    from_object = {each.part.caller: each.part.calls for each in told(queried, LogInterval.OBJECT)}

    parts = [part for file in files for part in told(file, LogInterval.HOURLY)]
    result = unite([*parts, *told(queried, LogInterval.OBJECT)])

    assert result == (from_object if sum(from_object.values()) > sum(expected.values()) else expected)


def test_rows_without_a_request_id_are_added_because_their_repeats_cannot_be_told() -> None:
    """Two files with two such rows each make four calls, besides the one that both tell."""
    one = Told(LogInterval.HOURLY, "s", Part(DAY0, CALLERS[0], 1, 2, array("Q", [7]).tobytes()))

    assert unite([one, one]) == {CALLERS[0]: 5}


def test_fingerprints_of_different_making_are_not_compared() -> None:
    """The making that tells more is taken: a lower bound, where adding could count a call twice."""
    parts = [
        Told(LogInterval.HOURLY, "old", Part(DAY0, CALLERS[0], 3, 0, array("Q", [1, 2, 3]).tobytes())),
        Told(LogInterval.HOURLY, "new", Part(DAY0, CALLERS[0], 2, 0, array("Q", [8, 9]).tobytes())),
        Told(LogInterval.HOURLY, "new", Part(DAY0, CALLERS[0], 2, 0, array("Q", [9, 10]).tobytes())),
    ]

    assert unite(parts) == {CALLERS[0]: 3}


def told_of(states: list[FileState], listings: Listings | None, *, day: datetime = DAY0) -> Completeness:
    """The completeness of a day."""
    hours = completeness(day, day + DAY, states, listings)
    return EventUsage("00D", day, day + DAY, (), hours).of_day(day)


def test_a_day_without_a_file_is_unknown_even_when_the_org_was_asked() -> None:
    """No file is not zero calls."""
    late = DAY0 + timedelta(days=9)

    assert told_of([], Listings(late, DAY0)) is Completeness.NONE
    assert told_of([listed(daily())], Listings(late, DAY0)) is Completeness.NONE


def test_hourly_files_make_their_hour_provisional_and_no_other() -> None:
    """Late rows may follow in a further sequence; the hours around it stay unknown."""
    hours = completeness(DAY0, DAY0 + HOUR * 3, [read(hourly(DAY0 + HOUR))], None)

    assert list(hours.values()) == [Completeness.NONE, Completeness.PROVISIONAL, Completeness.NONE]


@pytest.mark.parametrize(
    ("seen_late", "watched", "newer_unread", "expected"),
    [
        (True, False, False, Completeness.SETTLED),
        (False, True, False, Completeness.SETTLED),
        (False, False, False, Completeness.PROVISIONAL),
        (True, True, True, Completeness.PROVISIONAL),
    ],
)
def test_a_day_is_settled_only_when_no_fuller_file_can_have_been_missed(
    seen_late: bool, watched: bool, newer_unread: bool, expected: Completeness
) -> None:
    """Three days after it ended, and either its file still listed or the org watched without a gap."""
    final = DAY0 + DAY * 4
    state = read(daily())
    if seen_late:
        state = replace(state, seen_at=final)
    listings = Listings(last_at=final, since=DAY0 if watched else final)
    states = [state, *([listed(daily(after=timedelta(hours=30), id="0ATE"))] if newer_unread else [])]

    assert told_of(states, listings) is expected


def test_a_gap_between_listings_begins_a_new_watch() -> None:
    """A file may have come and gone within a gap of a day, the shortest retention."""
    watch = listings_after(None, DAY0)
    watch = listings_after(watch, DAY0 + timedelta(hours=23))
    assert watch == Listings(DAY0 + timedelta(hours=23), DAY0)

    assert listings_after(watch, DAY0 + timedelta(hours=47)) == Listings(*[DAY0 + timedelta(hours=47)] * 2)
    assert listings_after(watch, DAY0) == watch


def test_of_a_day_only_the_latest_daily_file_is_read_and_hourly_files_only_without_one() -> None:
    """Everything else would spend calls on what changes nothing; the newest period comes first."""
    first, fuller = daily(), daily(after=timedelta(hours=30), id="0ATE")
    of_day = [hourly(DAY0 + HOUR * n) for n in range(3)]
    of_next = [hourly(DAY0 + DAY + HOUR * n) for n in range(2)]
    states = [listed(file) for file in (first, fuller, *of_day, *of_next)]
    now = DAY0 + DAY * 3

    assert files_to_read(EventSource.AUTO, states, now) == [*reversed(of_next), fuller]
    assert files_to_read(EventSource.DAILY, states, now) == [fuller]
    assert files_to_read(EventSource.HOURLY, states, now) == [*reversed(of_next), *reversed(of_day)]
    assert files_to_read(EventSource.HOURLY, [*states, read(fuller)], now) == list(reversed(of_next))


def test_a_file_that_failed_is_left_alone_for_a_while_and_hourly_files_stand_in() -> None:
    """A daily file that cannot be read does not keep its hours unknown."""
    now = DAY0 + DAY * 2
    states = [listed(daily(), retry_at=now + HOUR), listed(hourly())]

    assert files_to_read(EventSource.AUTO, states, now) == [hourly()]
    assert files_to_read(EventSource.AUTO, states, now + HOUR) == [daily(), hourly()]


def test_the_org_is_asked_once_an_hour_where_hourly_files_exist() -> None:
    """Another listing within the hour could hardly show anything new, and each is a call."""
    states, listings = [read(hourly())], Listings(DAY0, DAY0)

    assert listing_due(EventSource.AUTO, states, None, DAY0)
    assert not listing_due(EventSource.AUTO, states, listings, DAY0 + timedelta(minutes=59))
    assert listing_due(EventSource.AUTO, states, listings, DAY0 + HOUR)


def test_without_hourly_files_the_org_is_asked_until_yesterday_is_there_and_then_once_a_day() -> None:
    """The listing a day later, before the retention is over, is for a replacement of the file."""
    at = DAY0 + DAY + timedelta(hours=7)
    listings = Listings(at, DAY0)

    assert listing_due(EventSource.AUTO, [], listings, at + HOUR)
    assert not listing_due(EventSource.AUTO, [read(daily())], listings, at + HOUR)
    assert not listing_due(EventSource.DAILY, [read(daily()), read(hourly())], listings, at + HOUR)
    assert listing_due(EventSource.DAILY, [read(daily())], Listings(at, DAY0), at + timedelta(hours=23))


def test_a_file_survives_its_way_through_an_xcom() -> None:
    """What a listing task hands to a mapped task is the same file there."""
    assert file_from_json(file_to_json(hourly())) == hourly()
    with pytest.raises(ValueError, match="ApiUsageListEventLogsOperator"):
        file_from_json({"id": "0AT"})


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("/v67.0/query", "query"),
        ("/v64.0/query?q=SELECT+Id", "query"),
        ("/v64.0/sobjects/Account/001AA0000000001", "sobjects"),
        ("/services/data/v64.0/sobjects/Account/describe", "describe"),
        ("/v64.0/jobs/ingest/750AA0000000001/batches", "jobs/ingest"),
        ("/v64.0/composite/sobjects", "composite/sobjects"),
        ("/services/apexrest/orders/17", "apexrest"),
        ("/services/async/64.0/job", "async"),
        ("login", "login"),
        (" ", None),
        (None, None),
        ("/services/data/", "versions"),
    ],
)
def test_resource_classes_hold_no_ids(resource: str | None, expected: str | None) -> None:
    """What a call went to, without version, ids and names of objects."""
    assert resource_class(resource) == expected


def test_ids_of_15_and_18_characters_are_one() -> None:
    """Other text, such as a consumer key, is kept whole."""
    assert short_id("005AA0000000001AAA") == short_id("005AA0000000001") == "005AA0000000001"
    assert short_id("3MVG9abcdefghijklmnopqrstu") == "3MVG9abcdefghijklmnopqrstu"
    assert short_id("  ") is None
