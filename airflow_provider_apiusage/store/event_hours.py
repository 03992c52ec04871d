"""Looking at what event logs told: where each file stands, and what each hour comes to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from airflow_provider_apiusage.store.schema import caller, event_file, hourly_count, org
from airflow_provider_apiusage.usage.event_log import LogFile, LogInterval
from airflow_provider_apiusage.usage.event_log_plan import FileState, Listings, completeness, day_of
from airflow_provider_apiusage.usage.hour_total import hour_totals
from airflow_provider_apiusage.usage.hourly import Caller, HourlyCount
from airflow_provider_apiusage.usage.model import Completeness, HourTotal


def totals_between(connection: Connection, org_id: str, start: datetime, end: datetime) -> tuple[HourTotal, ...]:
    """Return the hours of ``[start, end)`` of which logs tell anything, oldest first, within the caller's transaction.

    :param connection: in a transaction.
    :param org_id: the 15-character org id.
    :param start: on the hour.
    :param end: an hour that begins before it is told whole.
    """
    _, told = told_between(connection, org_id, start, end)
    if all(state is Completeness.NONE for state in told.values()):
        return ()
    kinds = (hourly_count.c.starts_at, caller.c.counted, caller.c.family, caller.c.resource)
    rows = connection.execute(
        select(*kinds, func.sum(hourly_count.c.calls).label("calls"))
        .join(caller, caller.c.id == hourly_count.c.caller_id)
        .where(hourly_count.c.org_id == org_id, hourly_count.c.starts_at >= start, hourly_count.c.starts_at < end)
        .group_by(*kinds)
    )
    counts = (
        HourlyCount(
            org_id,
            row.starts_at,
            Caller(family=row.family, resource=row.resource, counted=row.counted),
            int(row.calls),
        )
        for row in rows
    )
    return hour_totals(counts, told)


def told_between(
    connection: Connection, org_id: str, start: datetime, end: datetime
) -> tuple[tuple[FileState, ...], Mapping[datetime, Completeness]]:
    """Return the files that touch ``[start, end)``, and how complete they make each hour by now, within a transaction.

    A file that was read long after the hour tells of it all the same.

    :param connection: in a transaction.
    :param org_id: the 15-character org id.
    :param start: on the hour.
    :param end: an hour that begins before it is among them.
    """
    states = states_between(connection, org_id, day_of(start), end)
    return states, completeness(start, end, states, listings_of(connection, org_id))


def states_between(connection: Connection, org_id: str, start: datetime, end: datetime) -> tuple[FileState, ...]:
    """Return where each file stands whose period begins in ``[start, end)``, oldest first, within a transaction."""
    rows = connection.execute(
        select(event_file)
        .where(event_file.c.org_id == org_id, event_file.c.starts_at >= start, event_file.c.starts_at < end)
        .order_by(event_file.c.starts_at, event_file.c.created_at, event_file.c.id)
    )
    return tuple(FileState(_file_from(row), row.read_at, row.seen_at, row.retry_at, row.unread or 0) for row in rows)


def listings_of(connection: Connection, org_id: str) -> Listings | None:
    """Return when the org's files were listed, within a transaction; ``None`` if they never were."""
    row = connection.execute(
        select(org.c.logs_listed_at, org.c.logs_listed_since).where(org.c.org_id == org_id)
    ).one_or_none()
    return None if row is None or row.logs_listed_at is None else Listings(row.logs_listed_at, row.logs_listed_since)


def _file_from(row: Row[Any]) -> LogFile:
    return LogFile(row.starts_at, row.sequence, row.created_at, row.file_id, LogInterval(row.interval), row.length)
