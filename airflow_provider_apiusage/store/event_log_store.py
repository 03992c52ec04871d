"""What event logs told, kept so that each file counts once, whatever the order and however often it comes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, select, update

from airflow_provider_apiusage.store.callers import caller_from, caller_ids
from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.event_hours import listings_of, states_between, told_between
from airflow_provider_apiusage.store.schema import caller, event_file, event_part, hourly_count, org
from airflow_provider_apiusage.store.usage_store import (
    finding_from_json,
    finding_to_json,
    insert_unless_there,
    lock_org,
)
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part, Told, unite
from airflow_provider_apiusage.usage.event_log_plan import FileState, Listings, day_of, listings_after
from airflow_provider_apiusage.usage.hourly import EventUsage, HourlyCount
from airflow_provider_apiusage.usage.model import Finding


class EventLogStore:
    """Files and hourly counts of all orgs in one store.

    How an hour comes about: once a day's daily file is read, its hours are what the latest such file tells, and what
    other files tell about them is not kept. Until then the parts of all files are kept, with the fingerprints of
    their rows, and an hour is their union. Either way the outcome does not depend on the order of arrival.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_listing(self, org_id: str, files: Iterable[LogFile], at: datetime, *, watching: bool) -> None:
        """Keep what a listing showed.

        :param org_id: the 15-character org id.
        :param files: all files that it showed.
        :param at: the org's instant of the listing.
        :param watching: whether it covered all that may still change, up to now; others do not count as listings.
        """
        rows = [_file_row(org_id, file, at) for file in files]
        with writing(self._engine) as connection:
            lock_org(connection, org_id)
            if watching:
                after = listings_after(listings_of(connection, org_id), at)
                connection.execute(
                    update(org)
                    .where(org.c.org_id == org_id)
                    .values(logs_listed_at=after.last_at, logs_listed_since=after.since)
                )
            if rows:
                insert_unless_there(connection, event_file, rows)
                for row in rows:
                    connection.execute(
                        update(event_file).where(*_is_file(org_id, row)).values(seen_at=at, length=row["length"])
                    )

    def states(self, org_id: str, start: datetime, end: datetime) -> tuple[FileState, ...]:
        """Return where each file stands whose period begins in ``[start, end)``, oldest first."""
        with looking(self._engine) as connection:
            return states_between(connection, org_id, start, end)

    def listings(self, org_id: str) -> Listings | None:
        """Return when the org's files were listed, or ``None`` if they never were."""
        with looking(self._engine) as connection:
            return listings_of(connection, org_id)

    def has_read(self, org_id: str, file: LogFile) -> bool:
        """Whether what a file tells is in the store."""
        query = select(event_file.c.read_at).where(*_is_file(org_id, _file_row(org_id, file, file.created_at)))
        with looking(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none() is not None

    def postpone(self, org_id: str, file: LogFile, until: datetime, finding: Finding, seen_at: datetime) -> None:
        """Keep that a file could not be read and is not to be asked for before an instant.

        :param org_id: the 15-character org id.
        :param file: as listed.
        :param until: the org's instant.
        :param finding: why.
        :param seen_at: when it was listed.
        """
        row = _file_row(org_id, file, seen_at)
        with writing(self._engine) as connection:
            insert_unless_there(connection, event_file, [row])
            connection.execute(
                update(event_file)
                .where(*_is_file(org_id, row), event_file.c.read_at.is_(None))
                .values(retry_at=until, findings=[finding_to_json(finding)])
            )

    def add_file(self, org_id: str, usage: FileUsage, at: datetime) -> bool:
        """Keep what a file told, whole or not at all; one that was kept already changes nothing.

        :param org_id: the 15-character org id.
        :param usage: what it told.
        :param at: the org's instant of reading it.
        :returns: whether it was kept now.
        """
        file = usage.file
        row = _file_row(org_id, file, at)
        with writing(self._engine) as connection:
            lock_org(connection, org_id)
            insert_unless_there(connection, event_file, [row])
            kept = connection.execute(select(event_file).where(*_is_file(org_id, row))).one()
            if kept.read_at is not None:
                return False
            days = {day_of(part.starts_at) for part in usage.parts} | {day_of(file.starts_at)}
            daily = _read_daily_files(connection, org_id, days)
            rolled_up = _rolled_up(connection, org_id, {part.starts_at for part in usage.parts} | {file.starts_at})
            connection.execute(
                update(event_file)
                .where(event_file.c.id == kept.id)
                .values(
                    read_at=at,
                    retry_at=None,
                    rows=usage.rows,
                    repeated=usage.repeated,
                    unread=usage.unread,
                    scheme=usage.scheme,
                    findings=[finding_to_json(finding) for finding in usage.findings],
                )
            )
            own = file.covers if file.interval is LogInterval.DAILY else (lambda _: False)
            if file.interval is LogInterval.DAILY:
                newest = daily.get(file.starts_at)
                if newest is None or newest < file.created_at:
                    _replace_day(connection, org_id, file, [part for part in usage.parts if own(part.starts_at)])
            if file.interval is LogInterval.OBJECT:
                _forget_earlier(connection, org_id, file, kept.id)
            hours = {part.starts_at for part in usage.parts if not own(part.starts_at)}
            if file.interval is LogInterval.OBJECT:
                hours.add(file.starts_at)
            open_hours = {hour for hour in hours if day_of(hour) not in daily} - rolled_up
            _add_parts(connection, org_id, kept.id, [part for part in usage.parts if part.starts_at in open_hours])
            for hour in sorted(open_hours):
                _unite_hour(connection, org_id, hour)
        return True

    def usage(self, org_id: str, start: datetime, end: datetime) -> EventUsage:
        """Return the hourly counts of ``[start, end)``, both on the hour, and how complete each hour is."""
        with looking(self._engine) as connection:
            rows = connection.execute(
                select(hourly_count.c.starts_at, hourly_count.c.calls, caller)
                .join(caller, caller.c.id == hourly_count.c.caller_id)
                .where(
                    hourly_count.c.org_id == org_id, hourly_count.c.starts_at >= start, hourly_count.c.starts_at < end
                )
                .order_by(hourly_count.c.starts_at, hourly_count.c.caller_id)
            )
            counts = tuple(HourlyCount(org_id, row.starts_at, caller_from(row), row.calls) for row in rows)
            states, told = told_between(connection, org_id, start, end)
            findings = _findings(connection, org_id, start, end, states)
        return EventUsage(org_id, start, end, counts, told, findings)


def _findings(
    connection: Connection, org_id: str, start: datetime, end: datetime, states: Iterable[FileState]
) -> tuple[Finding, ...]:
    """Return what was odd about the files that the counts come from: a day's hourly files are none once it has a
    daily one."""
    settled_days = {s.file.starts_at for s in states if s.file.interval is LogInterval.DAILY and s.read_at is not None}
    rows = connection.execute(
        select(event_file.c.interval, event_file.c.starts_at, event_file.c.findings)
        .where(event_file.c.org_id == org_id, event_file.c.starts_at >= day_of(start), event_file.c.starts_at < end)
        .order_by(event_file.c.starts_at, event_file.c.id)
    )
    return tuple(
        finding_from_json(body)
        for row in rows
        if row.interval == LogInterval.DAILY.value or day_of(row.starts_at) not in settled_days
        for body in row.findings or ()
    )


def _file_row(org_id: str, file: LogFile, seen_at: datetime) -> dict[str, Any]:
    values = asdict(file)
    return {
        "org_id": org_id,
        "file_id": values.pop("id"),
        **values,
        "interval": file.interval.value,
        "seen_at": seen_at,
    }


def _is_file(org_id: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    table = event_file.c
    return table.org_id == org_id, table.file_id == row["file_id"], table.created_at == row["created_at"]


def _read_daily_files(connection: Connection, org_id: str, days: Collection[datetime]) -> dict[datetime, datetime]:
    """Return for each day that has a daily file read already when the latest of them was made."""
    rows = connection.execute(
        select(event_file.c.starts_at, event_file.c.created_at).where(
            event_file.c.org_id == org_id,
            event_file.c.interval == LogInterval.DAILY.value,
            event_file.c.read_at.is_not(None),
            event_file.c.starts_at.in_(days),
        )
    )
    latest: dict[datetime, datetime] = {}
    for row in rows:
        latest[row.starts_at] = max(latest.get(row.starts_at, row.created_at), row.created_at)
    return latest


def _rolled_up(connection: Connection, org_id: str, hours: Collection[datetime]) -> set[datetime]:
    """Return the hours whose counts are there and the parts that they came from are not.

    That is what retention makes of an old hour whose day has no daily file. It cannot be united with anything any more,
    and stays the lower bound that it is.
    """
    return _hours_in(connection, hourly_count, org_id, hours) - _hours_in(connection, event_part, org_id, hours)


def _hours_in(connection: Connection, table: Table, org_id: str, hours: Collection[datetime]) -> set[datetime]:
    query = select(table.c.starts_at).where(table.c.org_id == org_id, table.c.starts_at.in_(hours))
    return set(connection.execute(query.distinct()).scalars())


def _replace_day(connection: Connection, org_id: str, file: LogFile, parts: list[Part]) -> None:
    """Make the day what its daily file tells; what others told about it is not needed any more."""
    for table in (hourly_count, event_part):
        within = table.c.starts_at >= file.starts_at, table.c.starts_at < file.ends_at
        connection.execute(delete(table).where(table.c.org_id == org_id, *within))
    if parts:
        ids = caller_ids(connection, org_id, [part.caller for part in parts])
        connection.execute(
            insert(hourly_count), [_count_row(org_id, p.starts_at, ids[p.caller], p.calls) for p in parts]
        )


def _count_row(org_id: str, starts_at: datetime, caller_id: int, calls: int) -> dict[str, Any]:
    return {"org_id": org_id, "starts_at": starts_at, "caller_id": caller_id, "calls": calls}


def _forget_earlier(connection: Connection, org_id: str, file: LogFile, kept_id: int) -> None:
    """Drop what the queryable object told of the same hour before."""
    connection.execute(
        delete(event_file).where(
            event_file.c.org_id == org_id,
            event_file.c.interval == LogInterval.OBJECT.value,
            event_file.c.starts_at == file.starts_at,
            event_file.c.id != kept_id,
        )
    )


def _add_parts(connection: Connection, org_id: str, event_file_id: int, parts: list[Part]) -> None:
    if not parts:
        return
    ids = caller_ids(connection, org_id, [part.caller for part in parts])
    connection.execute(
        insert(event_part),
        [
            {
                "event_file_id": event_file_id,
                "org_id": org_id,
                "starts_at": part.starts_at,
                "caller_id": ids[part.caller],
                "told_apart": part.told_apart,
                "nameless": part.nameless,
                "fingerprints": part.fingerprints,
            }
            for part in parts
        ],
    )


def _unite_hour(connection: Connection, org_id: str, hour: datetime) -> None:
    """Make an hour the union of its parts."""
    rows = connection.execute(
        select(event_part, event_file.c.interval, event_file.c.scheme, caller)
        .join(event_file, event_file.c.id == event_part.c.event_file_id)
        .join(caller, caller.c.id == event_part.c.caller_id)
        .where(event_part.c.org_id == org_id, event_part.c.starts_at == hour)
    )
    told = [
        Told(
            LogInterval(row.interval),
            row.scheme or "",
            Part(hour, caller_from(row), row.told_apart, row.nameless, bytes(row.fingerprints)),
        )
        for row in rows
    ]
    united = unite(told)
    ids = caller_ids(connection, org_id, united)
    connection.execute(delete(hourly_count).where(hourly_count.c.org_id == org_id, hourly_count.c.starts_at == hour))
    if united:
        connection.execute(
            insert(hourly_count), [_count_row(org_id, hour, ids[who], calls) for who, calls in united.items()]
        )
