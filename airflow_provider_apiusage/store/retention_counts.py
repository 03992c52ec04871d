"""Retention of readings, daily counts, snapshots and reconciliations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, or_, select, tuple_

from airflow_provider_apiusage.store.batches import Batches, grouped
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.schema import daily_count, reading, reconciliation, snapshot
from airflow_provider_apiusage.usage.model import ReadingSource


def prune_readings(batches: Batches, thin_before: datetime, drop_before: datetime) -> int:
    """Thin old readings out to those that tell the most, and drop older ones.

    Of each limit and scope there stay in each UTC hour the last reading and the highest (one that says the allowance is
    used up is higher than any figure), and the first after midnight: with the last before it, it tells the finished
    day.

    :param batches: of one org.
    :param thin_before: 00:00 UTC of a day; later readings are not touched.
    :param drop_before: no later than ``thin_before``.
    :returns: rows removed.
    """
    with looking(batches.engine) as connection:
        series = list(_series(connection, batches.org_id))
    removed = 0
    for name, scope in series:
        of_series = and_(
            reading.c.org_id == batches.org_id,
            reading.c.name == name,
            reading.c.scope == scope,
            reading.c.observed_at < thin_before,
        )
        with looking(batches.engine) as connection:
            found = _superfluous(connection, of_series, drop_before)
        removed += batches.delete(reading, found)
    return removed


def _series(connection: Connection, org_id: str) -> Iterator[tuple[str, str]]:
    """Tell the limits and scopes of an org, each by one look into the index, however many readings it has."""
    key = tuple_(reading.c.name, reading.c.scope)
    query = select(reading.c.name, reading.c.scope).where(reading.c.org_id == org_id)
    query = query.order_by(reading.c.name, reading.c.scope).limit(1)
    found = connection.execute(query).one_or_none()
    while found is not None:
        yield found.name, found.scope
        found = connection.execute(query.where(key > (found.name, found.scope))).one_or_none()


def _superfluous(connection: Connection, of_series: ColumnElement[bool], drop_before: datetime) -> list[int]:
    table = reading.c
    hour = _hour(connection, table.observed_at)
    newest = (table.observed_at.desc(), table.received_at.desc(), table.id.desc())
    peak = (case((table.source == ReadingSource.EXHAUSTED.value, 1), else_=0).desc(), table.used.desc().nulls_last())
    ranked = (
        select(
            table.id,
            table.observed_at,
            func.substr(hour, 12, 2).label("hour"),
            func.row_number().over(partition_by=hour, order_by=newest).label("from_last"),
            func.row_number().over(partition_by=hour, order_by=(*peak, *newest)).label("from_peak"),
            func.row_number()
            .over(partition_by=hour, order_by=(table.observed_at, table.received_at, table.id))
            .label("from_first"),
        )
        .where(of_series)
        .subquery()
    )
    told = or_(ranked.c.from_last == 1, ranked.c.from_peak == 1, and_(ranked.c.from_first == 1, ranked.c.hour == "00"))
    query = select(ranked.c.id).where(or_(ranked.c.observed_at < drop_before, ~told))
    return sorted(connection.execute(query).scalars())


def _hour(connection: Connection, instant: Any) -> Any:
    """Return an instant's UTC hour as text, such as ``2026-10-07T14``."""
    if connection.dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", instant), 'YYYY-MM-DD"T"HH24')
    return func.substr(instant, 1, 13)


class Observation(NamedTuple):
    """One look at a report: what a source showed at an instant, kept with one snapshot."""

    observed_at: datetime
    snapshot_id: int
    source: str


class _Group(NamedTuple):
    """The rows of one day in one observation."""

    day: date
    seen: Observation
    rows: int


def prune_daily_counts(batches: Batches, thin_before: datetime, drop_before: datetime) -> int:
    """Keep of each old day one observation per source, the one that evidence takes; drop older days.

    That is the latest of those that tell of the day: made after its end if any was, else the nearest to it.

    :param batches: of one org.
    :param thin_before: 00:00 UTC of a day; that day and later ones are not touched.
    :param drop_before: no later than ``thin_before``.
    :returns: rows removed.
    """
    table = daily_count.c
    key = (table.day, table.observed_at, table.source, table.snapshot_id)
    query = (
        select(*key, func.count().label("rows"))
        .where(table.org_id == batches.org_id, table.day < thin_before.date())
        .group_by(*key)
        .order_by(*key)
    )
    with looking(batches.engine) as connection:
        found = [
            _Group(row.day, Observation(row.observed_at, row.snapshot_id, row.source), row.rows)
            for row in connection.execute(query)
        ]
    kept = kept_observations(((group.day, group.seen) for group in found), thin_before.date())
    superfluous = [
        (group, group.rows)
        for group in found
        if group.day < drop_before.date() or kept[group.day, group.seen.source] != group.seen
    ]
    removed = 0
    for groups in grouped(superfluous):
        with batches.batch() as connection:
            for group in groups:
                removed += connection.execute(
                    delete(daily_count).where(
                        table.org_id == batches.org_id,
                        table.day == group.day,
                        table.observed_at == group.seen.observed_at,
                        table.source == group.seen.source,
                        table.snapshot_id == group.seen.snapshot_id,
                    )
                ).rowcount
    return removed


def kept_observations(found: Iterable[tuple[date, Observation]], before: date) -> dict[tuple[date, str], Observation]:
    """Return which observation of each day and source is kept.

    An observation tells of the days from its first row up to the day on which it was made, also of those on which
    nobody called and that have no row. So an older one with rows of such a day goes, although nothing replaces them.

    :param found: days of which observations have rows.
    :param before: days from this on are left aside.
    """
    first: dict[Observation, date] = {}
    for day, seen in found:
        first[seen] = min(day, first.get(seen, day))
    latest: dict[tuple[date, str], Observation] = {}
    for seen, day in first.items():
        last = min(seen.observed_at.astimezone(UTC).date(), before - timedelta(days=1))
        while day <= last:
            latest[day, seen.source] = max(seen, latest.get((day, seen.source), seen))
            day += timedelta(days=1)
    return latest


def prune_snapshots(batches: Batches, before: datetime) -> int:
    """Drop old snapshots of which neither a reading nor a count is left, with their findings.

    :param batches: of one org.
    :param before: later snapshots are not touched.
    :returns: rows removed.
    """
    empty = and_(
        ~select(reading.c.id).where(reading.c.snapshot_id == snapshot.c.id).exists(),
        ~select(daily_count.c.id).where(daily_count.c.snapshot_id == snapshot.c.id).exists(),
    )
    query = select(snapshot.c.id).where(snapshot.c.org_id == batches.org_id, snapshot.c.observed_at < before, empty)
    with looking(batches.engine) as connection:
        found = sorted(connection.execute(query).scalars())
    return batches.delete(snapshot, found, empty)


def prune_reconciliations(batches: Batches, thin_before: datetime, drop_before: datetime) -> int:
    """Keep of each old day the last reconciliation, and drop older ones.

    :param batches: of one org.
    :param thin_before: reconciliations of later instants are not touched.
    :param drop_before: no later than ``thin_before``.
    :returns: rows removed.
    """
    table = reconciliation.c
    query = select(table.id, table.at).where(table.org_id == batches.org_id, table.at < thin_before)
    with looking(batches.engine) as connection:
        found = connection.execute(query.order_by(table.at, table.id)).all()
    last = {row.at.date(): row.id for row in found}
    superfluous = [row.id for row in found if row.at < drop_before or last[row.at.date()] != row.id]
    return batches.delete(reconciliation, superfluous)
