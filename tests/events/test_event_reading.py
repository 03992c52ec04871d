"""From the org's event logs into the store, over HTTPS: call for call, at a known cost, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_apiusage.event_reading import NEVER, RETRY_AFTER, EventReader
from airflow_provider_apiusage.salesforce.errors import AllowanceExhaustedError
from airflow_provider_apiusage.salesforce.event_log_download import LogFileIncompleteError
from airflow_provider_apiusage.sandbox import Fault
from airflow_provider_apiusage.usage.event_log import LogFile, LogInterval
from airflow_provider_apiusage.usage.event_log_plan import EventSource
from airflow_provider_apiusage.usage.hourly import HOUR, Completeness
from tests.events.conftest import START, World, client_of, told_by, truth_of

DAY = timedelta(days=1)
Make = Callable[..., World]


def labels(files: object) -> list[str]:
    """The files as people call them."""
    return [file.label for file in files]  # type: ignore[attr-defined]


def test_a_day_of_snapshots_costs_one_call_each_and_what_new_files_cost(world: Make) -> None:
    """Every 15 minutes: 96 calls for the limits, one listing an hour, one call for each new file, and no other."""
    here = world(calls_per_day=2_000)
    here.pass_time(hours=12)
    here.reader.refresh(EventSource.AUTO)
    calls_before, used_before = here.calls, here.org.ledger.total_counted
    own_before = sum(entry.counted for entry in here.org.requests)
    listings = files = 0
    for _ in range(96):
        here.pass_time(minutes=15)
        before = here.calls
        read = here.reader.refresh(EventSource.AUTO)
        assert here.calls - before == read.listed + len(read.read)
        listings += read.listed
        files += len(read.read)

    assert here.calls - calls_before == 96 + listings + files
    assert sum(entry.counted for entry in here.org.requests) - own_before == here.calls - calls_before
    assert here.org.ledger.total_counted > used_before
    assert listings == 24
    assert files == 24 * 2 + 1  # two sequences an hour, and yesterday's daily file


def test_counts_are_the_orgs_own_once_all_files_are_there(world: Make) -> None:
    """By hour, user, app, client, family, resource class, and whether they count: each call of two days."""
    here = world(event_log_hourly_first_share=0.8)
    here.pass_time(hours=1)
    for _ in range(54):
        here.pass_time(hours=1)
        here.reader.refresh(EventSource.AUTO)

    now = here.org.now()
    usage = here.usage(START, now - HOUR * 5)
    assert told_by(usage) == truth_of(here.org, START, usage.end)
    assert set(usage.completeness.values()) == {Completeness.PROVISIONAL}
    assert usage.findings == ()


def test_daily_files_alone_tell_the_same(world: Make) -> None:
    """One call a day for the file, and listings until it is there."""
    here = world(event_log_hourly=False)
    for _ in range(12):
        here.pass_time(hours=6)
        here.reader.refresh(EventSource.AUTO)

    usage = here.usage(START, START + DAY * 2)
    assert told_by(usage) == truth_of(here.org, START, usage.end)


def test_a_fuller_daily_file_replaces_the_first_and_then_the_day_is_settled(world: Make) -> None:
    """Provisional while a replacement may come, also when the first file looked complete; settled three days later."""
    here = world(event_log_daily_first_share=0.7, event_log_retention_days=5)
    here.pass_time(hours=31)
    here.reader.refresh(EventSource.DAILY)
    first = here.usage(START, START + DAY)
    here.pass_time(hours=25)
    read = here.reader.refresh(EventSource.DAILY)
    second = here.usage(START, START + DAY)

    assert labels(read.read)[-1] == "daily 2026-10-05"
    assert sum(told_by(first).values()) < sum(told_by(second).values())
    assert told_by(second) == truth_of(here.org, START, START + DAY)
    assert second.of_day(START) is Completeness.PROVISIONAL
    for _ in range(3):
        here.pass_time(hours=23)
        here.reader.refresh(EventSource.DAILY)
    assert here.usage(START, START + DAY).of_day(START) is Completeness.SETTLED


def test_with_a_retention_of_one_day_a_gap_in_watching_keeps_a_day_provisional(world: Make) -> None:
    """A replacement may have come and gone unseen."""
    here = world(event_log_retention_days=1)
    here.pass_time(hours=31)
    here.reader.refresh(EventSource.DAILY)
    here.pass_time(days=4)
    here.reader.refresh(EventSource.DAILY)

    assert here.usage(START, START + DAY).of_day(START) is Completeness.PROVISIONAL
    assert here.usage(START + DAY, START + DAY * 2).of_day(START + DAY) is Completeness.NONE


def test_a_user_without_the_permission_gets_a_finding_that_names_it(world: Make) -> None:
    """Nothing is raised: the limits and the report go on. The next hour asks again, in case it was granted."""
    here = world(event_log_access=False)
    here.pass_time(hours=12)
    read = here.reader.refresh(EventSource.AUTO)

    (finding,) = read.findings
    assert finding.code == "event-log-denied"
    assert "View Event Log Files" in finding.message
    assert here.calls == 2


def test_files_that_vanish_between_listing_and_download_are_not_asked_for_again(world: Make) -> None:
    """The finding says so, the others are read, and a mapped task does not fail for what it cannot change."""
    here = world(event_log_hourly_first_share=1.0)
    here.pass_time(hours=6)
    here.org.faults.order(Fault("status", status=404, path="/LogFile", count=1, body=[{"errorCode": "NOT_FOUND"}]))
    read = here.reader.refresh(EventSource.AUTO)
    calls = here.calls

    assert [finding.code for finding in read.findings] == ["event-log-gone"]
    assert len(read.read) >= 1
    gone = [state for state in here.logs.states(here.client.org_id(), START - DAY, NEVER) if state.retry_at == NEVER]
    assert len(gone) == 1
    assert here.reader.refresh(EventSource.AUTO).read == ()
    assert here.calls == calls
    assert here.reader.read([gone[0].file], strict=True).read == (gone[0].file,)


def one_file(here: World) -> LogFile:
    """An hourly file that is large enough to be compressed."""
    here.pass_time(hours=6)
    return here.reader.find(START, None, EventSource.HOURLY)[-1]


def test_files_come_compressed_where_the_org_offers_it(world: Make) -> None:
    """A log is mostly repetition: it takes a small part of its length on the wire."""
    here = world(event_log_hourly_first_share=1.0)
    file = one_file(here)
    with here.client.stream(f"sobjects/EventLogFile/{file.id}/LogFile", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        on_the_wire = len(answer.raw.read(decode_content=False))

    assert file.length is not None
    assert on_the_wire < file.length / 3
    assert here.reader.read([file]).read == (file,)


def test_a_download_that_can_be_resumed_asks_for_the_rest_only(world: Make) -> None:
    """The second request begins where the first broke off; the counts are whole."""
    here = world(event_log_hourly_first_share=1.0, event_log_ranges=True)
    file = one_file(here)
    asked: list[str | None] = []
    send = here.client.session.send

    def listening(request: Any, **options: Any) -> Any:
        asked.append(request.headers.get("Range"))
        return send(request, **options)

    here.client.session.send = listening  # type: ignore[method-assign]
    here.org.faults.order(Fault("truncate", path=file.id, count=1))
    read = here.reader.read([file])

    assert read.read == (file,)
    assert file.length is not None
    assert asked == [None, f"bytes={file.length // 2}-"]
    assert told_by(here.usage(file.starts_at, file.ends_at)) == truth_of(here.org, file.starts_at, file.ends_at)


@pytest.mark.parametrize("ranges", [False, True])
def test_a_stream_that_is_cut_short_and_ends_properly_is_not_whole(world: Make, ranges: bool) -> None:
    """A gzip stream without its end, or fewer bytes than the org lists: begun anew, nothing of it is kept."""
    here = world(event_log_hourly_first_share=1.0, event_log_ranges=ranges)
    file = one_file(here)
    here.org.faults.order(Fault("cut", path=file.id, count=1))
    calls = here.calls

    assert here.reader.read([file]).read == (file,)
    assert here.calls - calls == 2
    assert told_by(here.usage(file.starts_at, file.ends_at)) == truth_of(here.org, file.starts_at, file.ends_at)


def test_a_file_shorter_than_listed_is_not_taken_and_a_longer_one_is(world: Make) -> None:
    """Short twice is enough to leave it; long means that nothing is missing, and a finding says so."""
    here = world(event_log_hourly_first_share=1.0, event_log_length="overstated")
    file = one_file(here)
    calls = here.calls
    read = here.reader.read([file])
    assert (read.read, here.calls - calls) == ((), 2)
    assert [finding.code for finding in read.findings] == ["event-log-unread"]
    assert f"of the {file.length:,} bytes" in read.findings[0].message

    here.org.change({"event_log_length": "understated"})
    here.pass_time(hours=7)
    read = here.reader.fetch(file.starts_at, file.ends_at, EventSource.HOURLY)
    assert [each.id for each in read.read] == [file.id]
    assert [finding.code for finding in read.findings] == ["event-log-longer"]


@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_a_broken_download_is_begun_anew(world: Make, kind: str) -> None:
    """Two breaks cost two more calls, and the counts are as if nothing had happened."""
    here = world(event_log_hourly_first_share=1.0)
    here.pass_time(hours=6)
    (*_, file) = here.reader.find(START, None, EventSource.HOURLY)
    here.org.faults.order(Fault(kind, path="/LogFile", count=2, carried_out=True))
    calls = here.calls
    read = here.reader.read([file])

    assert read.read == (file,)
    assert here.calls - calls == 3
    usage = here.usage(file.starts_at, file.ends_at)
    assert told_by(usage) == truth_of(here.org, file.starts_at, file.ends_at)


def test_a_download_that_breaks_every_time_leaves_nothing_and_is_tried_later(world: Make) -> None:
    """A snapshot goes on with a finding; a mapped task fails, so that Airflow retries it."""
    here = world(event_log_hourly_first_share=1.0)
    here.pass_time(hours=4)
    (file,) = here.reader.find(START, None, EventSource.HOURLY)
    here.org.faults.order(Fault("truncate", path=file.id))
    with pytest.raises(LogFileIncompleteError, match="nothing of it was kept"):
        here.reader.read([file], strict=True)
    read = here.reader.refresh(EventSource.HOURLY)

    assert file not in read.read
    assert read.findings == ()  # left alone for some hours
    assert told_by(here.usage(START, START + DAY)) == {}
    here.org.faults.clear()
    here.pass_time(hours=RETRY_AFTER // HOUR, minutes=1)
    assert file in here.reader.refresh(EventSource.HOURLY).read
    assert told_by(here.usage(START, START + HOUR)) == truth_of(here.org, START, START + HOUR)


def test_an_answer_that_is_no_log_is_not_taken_for_one(world: Make) -> None:
    """A login page under status 200 is a finding, not an empty hour."""
    here = world(event_log_hourly_first_share=1.0)
    here.pass_time(hours=4)
    (file,) = here.reader.find(START, None, EventSource.HOURLY)
    here.org.faults.order(Fault("html", path="/LogFile", count=3))
    read = here.reader.read([file])

    assert read.read == ()
    assert [finding.code for finding in read.findings] == ["event-log-unread"]
    assert here.usage(START, START + HOUR).completeness[START] is Completeness.NONE


def test_the_time_of_reading_is_the_orgs_even_if_nothing_else_was_asked(world: Make) -> None:
    """A mapped task downloads and does nothing else; its machine's clock is weeks from the org's here."""
    here = world(event_log_hourly_first_share=1.0)
    file = one_file(here)
    fresh = client_of(here.server)
    EventReader(fresh, here.logs, folder=here.folder).read([file])

    (state,) = [each for each in here.logs.states(fresh.org_id(), START - DAY, NEVER) if each.file.id == file.id]
    assert state.read_at is not None
    assert abs(state.read_at - here.org.now()) < timedelta(minutes=1)


def test_an_exhausted_allowance_is_raised_and_what_was_read_is_kept(world: Make) -> None:
    """The next files are read when calls are free again."""
    here = world(event_log_hourly_first_share=1.0)
    here.pass_time(hours=8)
    files = here.reader.find(START, None, EventSource.HOURLY)
    assert len(files) > 2
    first = here.reader.read(files[:1])
    here.org.faults.order(Fault("exhausted", path="/LogFile"))
    with pytest.raises(AllowanceExhaustedError):
        here.reader.read(files[1:])

    assert first.read == (files[0],)
    here.org.faults.clear()
    assert here.reader.read(files).read == tuple(files[1:])


def test_a_busy_orgs_first_snapshot_reads_as_many_files_as_it_is_told_and_leaves_the_rest(world: Make) -> None:
    """The newest first, because a gate looks at the last 24 hours; the others come the next time, without a listing."""
    here = world()
    here.pass_time(hours=20)
    read = here.reader.refresh(EventSource.AUTO, most=5)
    again = here.reader.refresh(EventSource.AUTO, most=5)

    assert (len(read.read), read.left > 5) == (5, True)
    starts = [file.starts_at for file in (*read.read, *again.read)]
    assert starts == sorted(starts, reverse=True)
    assert (again.listed, again.left) == (False, read.left - 5)


def test_a_period_is_fetched_once(world: Make) -> None:
    """Asking again costs the listing alone, and tells the same."""
    here = world()
    here.pass_time(hours=31)
    first = here.reader.fetch(START, START + DAY, EventSource.AUTO)
    calls = here.calls
    second = here.reader.fetch(START, START + DAY, EventSource.AUTO)

    assert [file.interval for file in first.read] == [LogInterval.DAILY]
    assert (second.read, here.calls - calls) == ((), 1)
    assert told_by(here.usage(START, START + DAY)) == truth_of(here.org, START, START + DAY)
