"""Retention of event logs: hours rolled up, and what is known of files and callers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, case, delete, func, insert, or_, select

from airflow_provider_apiusage.store.batches import Batches, grouped
from airflow_provider_apiusage.store.callers import caller_ids
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.schema import caller, event_file, event_part, hourly_count
from airflow_provider_apiusage.usage.event_log import LogInterval
from airflow_provider_apiusage.usage.event_log_plan import DAY, day_of
from airflow_provider_apiusage.usage.hour_total import COMPOSITE_BATCH
from airflow_provider_apiusage.usage.hourly import Caller

_RESOURCE = case((caller.c.resource == COMPOSITE_BATCH, COMPOSITE_BATCH), else_=None)
"""What a rolled-up caller keeps of its resource: only a Composite Batch changes the bounds of a total."""


def prune_events(batches: Batches, thin_before: datetime, drop_before: datetime) -> Mapping[str, int]:
    """Roll old hours up, forget the files that have served, and drop older hours.

    A rolled-up hour has the same total, bounds and all: calls by family, counted or not, Composite Batch or not. Who
    made them is lost. Its completeness stays, because what tells it is kept as long as the hour.

    :param batches: of one org.
    :param thin_before: 00:00 UTC of a day; that day and later ones are not touched.
    :param drop_before: 00:00 UTC of a day, no later than ``thin_before``.
    :returns: rows removed, by table.
    """
    removed = _roll_up(batches, thin_before)
    removed[event_file.name] += _forget_files(batches, thin_before)
    removed += _drop(batches, drop_before)
    removed[caller.name] += _forget_callers(batches)
    return removed


def _roll_up(batches: Batches, before: datetime) -> Counter[str]:
    """Make each old hour one row per kind of call, and let go of the parts that it was united from."""
    is_rolled = and_(
        caller.c.org_id == batches.org_id,
        caller.c.user.is_(None),
        caller.c.app.is_(None),
        caller.c.client.is_(None),
        or_(caller.c.resource.is_(None), caller.c.resource == COMPOSITE_BATCH),
    )
    sizes: Counter[datetime] = Counter()
    with looking(batches.engine) as connection:
        rolled = list(connection.execute(select(caller.c.id).where(is_rolled)).scalars())
        for table, condition in ((hourly_count, hourly_count.c.caller_id.not_in(rolled)), (event_part, None)):
            query = select(table.c.starts_at, func.count()).where(
                table.c.org_id == batches.org_id, table.c.starts_at < before
            )
            query = query if condition is None else query.where(condition)
            for hour, rows in connection.execute(query.group_by(table.c.starts_at)):
                sizes[hour] += rows
    removed: Counter[str] = Counter()
    for hours in grouped(sorted(sizes.items())):
        with batches.batch() as connection:
            removed += _roll_hours_up(connection, batches.org_id, hours)
    return removed


def _roll_hours_up(connection: Connection, org_id: str, hours: Sequence[datetime]) -> Counter[str]:
    kind = (hourly_count.c.starts_at, caller.c.counted, caller.c.family, _RESOURCE.label("kind"))
    found = connection.execute(
        select(*kind, func.sum(hourly_count.c.calls).label("calls"))
        .join(caller, caller.c.id == hourly_count.c.caller_id)
        .where(hourly_count.c.org_id == org_id, hourly_count.c.starts_at.in_(hours))
        .group_by(*kind)
    ).all()
    totals = {(row.starts_at, Caller(None, None, None, row.family, row.kind, row.counted)): row.calls for row in found}
    ids = caller_ids(connection, org_id, {who for _, who in totals})
    removed: Counter[str] = Counter()
    for table in (hourly_count, event_part):
        gone = connection.execute(delete(table).where(table.c.org_id == org_id, table.c.starts_at.in_(hours)))
        removed[table.name] = gone.rowcount
    if totals:
        connection.execute(
            insert(hourly_count),
            [
                {"org_id": org_id, "starts_at": hour, "caller_id": ids[who], "calls": int(calls)}
                for (hour, who), calls in totals.items()
            ],
        )
    removed[hourly_count.name] -= len(totals)
    return removed


def _forget_files(batches: Batches, before: datetime) -> int:
    """Drop the hourly files of days whose daily file was read.

    Should the org still list them, they are not read again, because the day has its daily file; and they never had a
    say in how complete it is. All others stay: each may tell that an hour is known, and that it need not be read.
    """
    table = event_file.c
    with looking(batches.engine) as connection:
        rows = connection.execute(
            select(table.id, table.interval, table.starts_at, table.read_at).where(
                table.org_id == batches.org_id, table.starts_at < before
            )
        ).all()
    daily = LogInterval.DAILY.value
    told = {row.starts_at for row in rows if row.interval == daily and row.read_at is not None}
    served = [row.id for row in rows if row.interval == LogInterval.HOURLY.value and day_of(row.starts_at) in told]
    # A file may have a part in the hours of another day, and its parts would go with it.
    parts = select(event_part.c.event_file_id).where(event_part.c.event_file_id == event_file.c.id)
    return batches.delete(event_file, served, ~parts.exists())


def _drop(batches: Batches, before: datetime) -> Counter[str]:
    """Drop days with all that is known of them; never the counts without their files, or the other way round."""
    with looking(batches.engine) as connection:
        days = {
            day_of(row.starts_at)
            for table in (hourly_count, event_file)
            for row in connection.execute(
                select(table.c.starts_at).distinct().where(table.c.org_id == batches.org_id, table.c.starts_at < before)
            )
        }
    removed: Counter[str] = Counter()
    for day in sorted(days):
        with batches.batch() as connection:
            for table in (hourly_count, event_part, event_file):
                of_day = table.c.starts_at >= day, table.c.starts_at < day + DAY
                gone = connection.execute(delete(table).where(table.c.org_id == batches.org_id, *of_day))
                removed[table.name] += gone.rowcount
    return removed


def _forget_callers(batches: Batches) -> int:
    """Drop callers that no count and no part refers to."""
    unused = and_(
        *(
            ~select(table.c.caller_id).where(table.c.caller_id == caller.c.id).exists()
            for table in (hourly_count, event_part)
        )
    )
    query = select(caller.c.id).where(caller.c.org_id == batches.org_id, unused)
    with looking(batches.engine) as connection:
        found = sorted(connection.execute(query).scalars())
    return batches.delete(caller, found, unused)
