"""What has been read of an org's event logs: how complete it is, what to read next, and when to ask again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from airflow_provider_apiusage.usage.event_log import LogFile, LogInterval
from airflow_provider_apiusage.usage.hourly import HOUR, SETTLED_AFTER, Completeness

DAY = timedelta(days=1)


class EventSource(StrEnum):
    """Which event logs a task reads."""

    AUTO = "auto"
    """Daily files, and hourly ones for days that have no daily file yet."""
    HOURLY = "hourly"
    """Hourly files only."""
    DAILY = "daily"
    """Daily files only."""
    OBJECT = "object"
    """The queryable object ``ApiTotalUsageEventLog`` instead of files (API version 61.0 or newer)."""


@dataclass(frozen=True, slots=True)
class FileState:
    """Where the reading of one listed file stands.

    :param file: which.
    :param read_at: when it was read, by the org's clock; ``None`` if it was not.
    :param seen_at: the last listing that showed it, by the org's clock.
    :param retry_at: not to be asked for before, after a download that failed.
    :param unread: its rows that could not be read.
    """

    file: LogFile
    read_at: datetime | None
    seen_at: datetime
    retry_at: datetime | None = None
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Listings:
    """When the org was asked for its files.

    :param last_at: the last time.
    :param since: since when it was asked often enough that no file can have come and gone unseen.
    """

    last_at: datetime
    since: datetime


RETENTION = timedelta(days=1)
"""The shortest time that a file is kept: in Developer Edition and without Event Monitoring (Using Event Monitoring)."""


def completeness(
    start: datetime, end: datetime, files: Iterable[FileState], listings: Listings | None
) -> Mapping[datetime, Completeness]:
    """Return how complete each hour of ``[start, end)`` is.

    A day is settled when its daily file was read, the time for a replacement is over, and none can have been missed:
    either a listing after that time still showed the file that was read, or the org was listed ever since at least
    once a day.

    :param start: on the hour.
    :param end: on the hour.
    :param files: the files that touch the period.
    :param listings: ``None`` if the org was never asked.
    """
    known = list(files)
    settled = {state.file.starts_at for state in known if _settles(state, known, listings)}
    provisional = {
        state.file.starts_at + HOUR * n
        for state in known
        if state.read_at is not None
        for n in range(state.file.interval.length // HOUR)
    }
    result: dict[datetime, Completeness] = {}
    hour = start
    while hour < end:
        if day_of(hour) in settled:
            result[hour] = Completeness.SETTLED
        else:
            result[hour] = Completeness.PROVISIONAL if hour in provisional else Completeness.NONE
        hour += HOUR
    return result


def _settles(state: FileState, known: list[FileState], listings: Listings | None) -> bool:
    file = state.file
    if file.interval is not LogInterval.DAILY or state.read_at is None or listings is None:
        return False
    final_at = file.ends_at + SETTLED_AFTER
    newer_unread = any(
        other.file.interval is LogInterval.DAILY
        and other.file.starts_at == file.starts_at
        and other.file.created_at > file.created_at
        and other.read_at is None
        for other in known
    )
    seen_late = state.seen_at >= final_at
    watched = listings.since <= state.read_at and listings.last_at >= final_at
    return not newer_unread and (seen_late or watched)


def files_to_read(source: EventSource, states: Iterable[FileState], now: datetime) -> list[LogFile]:
    """Return the files to download, the newest period first.

    Of a day's daily files only the latest is worth reading, and hourly files only while their day has no daily file.

    :param source: which files are wanted.
    :param states: of all listed files of the period in question.
    :param now: the org's instant.
    """
    known = list(states)
    latest: dict[datetime, LogFile] = {}
    failed: set[LogFile] = {state.file for state in known if state.retry_at is not None}
    read_days: set[datetime] = set()
    for state in known:
        if state.file.interval is LogInterval.DAILY:
            day = state.file.starts_at
            latest[day] = max(latest.get(day, state.file), state.file, key=lambda file: file.created_at)
            if state.read_at is not None:
                read_days.add(day)
    daily_wanted = source in (EventSource.AUTO, EventSource.DAILY)
    covered = read_days | {day for day, file in latest.items() if daily_wanted and file not in failed}

    def wanted(state: FileState) -> bool:
        if state.read_at is not None or (state.retry_at is not None and state.retry_at > now):
            return False
        if state.file.interval is LogInterval.DAILY:
            return daily_wanted and latest[state.file.starts_at] == state.file
        hourly_wanted = source in (EventSource.AUTO, EventSource.HOURLY)
        return hourly_wanted and day_of(state.file.starts_at) not in covered

    found = [state.file for state in known if wanted(state)]
    return sorted(found, key=lambda file: (file.starts_at, file.created_at), reverse=True)


def listing_due(source: EventSource, states: Iterable[FileState], listings: Listings | None, now: datetime) -> bool:
    """Tell whether a listing can show anything new: each is an API call.

    Hourly files come about once an hour, so once an hour is often enough; in an org that has none, and where only
    daily ones are wanted, the same holds while a finished day has no daily file. Otherwise a listing serves to see a
    replacement before its retention is over.

    :param source: which files are wanted.
    :param states: of the files of the last days.
    :param listings: earlier listings.
    :param now: the org's instant.
    """
    if listings is None:
        return True
    since_last = now - listings.last_at
    if since_last < HOUR:
        return False
    known = list(states)
    hourly = any(state.file.interval is LogInterval.HOURLY for state in known)
    if source is EventSource.HOURLY or (source is EventSource.AUTO and hourly):
        return True
    yesterday = day_of(now) - DAY
    read = any(
        state.file.interval is LogInterval.DAILY and state.file.starts_at == yesterday and state.read_at is not None
        for state in known
    )
    return not read or since_last >= RETENTION - HOUR


def listings_after(listings: Listings | None, at: datetime) -> Listings:
    """Return the listings with one more, made at ``at``.

    :param listings: so far.
    :param at: the org's instant.
    """
    if listings is None or at - listings.last_at >= RETENTION:
        return Listings(at, at)
    return Listings(max(at, listings.last_at), listings.since)


def day_of(instant: datetime) -> datetime:
    """Return 00:00 UTC of the day that holds ``instant``."""
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
