"""What the page asks of the store: a page of each list, never all of it, and each question through an index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Engine, Row, cast, func, or_, select

from airflow_provider_apiusage.quota.model import Holder, LeaseState
from airflow_provider_apiusage.quota.order import HEAD_START
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.lease_rows import holder_columns, holder_from, unseen_of
from airflow_provider_apiusage.store.schema import (
    daily_count,
    decision,
    event_file,
    hourly_count,
    lease,
    reading,
    reconciliation,
    snapshot,
)
from airflow_provider_apiusage.store.usage_store import latest_readings, reading_from
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource

MOST_ADDED = 2_000
"""Requests whose needs are added up; with more of them in the queue the sum is left out."""

HOUR_SECONDS = 3600

ONE_BODY = timedelta(seconds=1)
"""Readings of one body of ``/limits`` were received within so short a time."""


@dataclass(frozen=True, slots=True)
class Newest:
    """What tells whether anything new came; equal if nothing did.

    :param reading: the latest of ``DailyApiRequests``.
    :param snapshot_id: of the latest snapshot.
    :param event_file: id of the file of the latest hour, and when it was read.
    """

    reading: LimitReading | None
    snapshot_id: int | None
    event_file: tuple[int, datetime | None] | None


@dataclass(frozen=True, slots=True)
class Limit:
    """The latest reading of one limit, and whether a snapshot made it."""

    reading: LimitReading
    in_snapshot: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list.

    :param rows: of the table of leases, in order.
    :param total: how many there are in all.
    :param calls: calls of ``DailyApiRequests`` of all of them; ``None`` if they are too many to add up.
    """

    rows: tuple[Row[Any], ...]
    total: int
    calls: int | None


@dataclass(frozen=True, slots=True)
class Marked:
    """Decisions of one kind within one hour: the latest of them, and how many."""

    at: datetime
    kind: str
    decisions: int


class PageQueries:
    """Questions that only read.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(self, org_id: str) -> Newest:
        """Return what tells whether anything new came."""
        latest = select(snapshot.c.id).where(snapshot.c.org_id == org_id)
        files = select(event_file.c.id, event_file.c.read_at).where(event_file.c.org_id == org_id)
        with looking(self._engine) as connection:
            file = connection.execute(files.order_by(event_file.c.starts_at.desc()).limit(1)).one_or_none()
            return Newest(
                latest_readings(connection, org_id, [API_REQUESTS]).get(API_REQUESTS),
                connection.execute(latest.order_by(snapshot.c.observed_at.desc()).limit(1)).scalar_one_or_none(),
                None if file is None else (file.id, file.read_at),
            )

    def limits(self, org_id: str, names: Collection[str]) -> tuple[Limit, ...]:
        """Return the latest org-wide reading of every limit that the org told when its limits were last read.

        :param names: limits that are wanted besides, by whatever reading told them last.
        """
        of_org = reading.c.org_id == org_id
        in_body = of_org, reading.c.source == ReadingSource.LIMITS.value
        found: dict[str, Limit] = {}
        with looking(self._engine) as connection:
            last = connection.execute(select(func.max(reading.c.received_at)).where(*in_body)).scalar_one()
            if last is not None:
                body = select(reading).where(*in_body, reading.c.received_at > last - ONE_BODY, reading.c.scope == "")
                for row in connection.execute(body.order_by(reading.c.received_at)):
                    found[row.name] = Limit(reading_from(row), row.snapshot_id is not None)
            for name in names:
                of_name = select(reading).where(of_org, reading.c.name == name, reading.c.scope == "")
                newest = of_name.order_by(reading.c.observed_at.desc(), reading.c.received_at.desc()).limit(1)
                one = connection.execute(newest).one_or_none()
                if one is not None:
                    found[name] = Limit(reading_from(one), one.snapshot_id is not None)
        return tuple(found.values())

    def snapshot_readings(self, org_id: str, since: datetime, until: datetime) -> tuple[tuple[datetime, int], ...]:
        """Return instants and use of ``DailyApiRequests`` as snapshots read it, one an hour, oldest first."""
        of_org = (
            reading.c.org_id == org_id,
            reading.c.name == API_REQUESTS,
            reading.c.scope == "",
            reading.c.observed_at.between(since, until),
            reading.c.snapshot_id.is_not(None),
            reading.c.used.is_not(None),
        )
        with looking(self._engine) as connection:
            hour = _hour(connection, reading.c.observed_at)
            kept = select(func.max(reading.c.id)).where(*of_org).group_by(hour)
            rows = connection.execute(select(reading.c.observed_at, reading.c.used).where(reading.c.id.in_(kept)))
            return tuple(sorted((row.observed_at, row.used) for row in rows))

    # --- the gate ----------------------------------------------------------------------------------------------------

    def waiting(self, org_id: str, now: datetime, offset: int = 0, limit: int = 50) -> Part:
        """Return a part of the queue, in the order of service.

        :param now: our clock; what has lapsed by then is left out.
        """
        column = lease.c
        of_queue = column.org_id == org_id, column.state == LeaseState.WAITING.value
        query = select(column.id, column.requested_at, column.priority).where(*of_queue, column.held_until > now)
        with looking(self._engine) as connection:
            places = sorted(
                (row.requested_at - row.priority * HEAD_START, row.id) for row in connection.execute(query).all()
            )
            ids = [row_id for _, row_id in places]
            rows = _by_id(connection, ids[offset : offset + limit])
            return Part(rows, len(ids), _calls(connection, ids))

    def held(self, org_id: str, now: datetime, offset: int = 0, limit: int = 50) -> Part:
        """Return a part of the reservations that are held, oldest grant first.

        :param now: our clock; what has lapsed by then is left out.
        """
        column = lease.c
        of_held = column.org_id == org_id, column.state == LeaseState.GRANTED.value
        query = select(column.id).where(*of_held, column.held_until > now).order_by(column.granted_at, column.id)
        with looking(self._engine) as connection:
            ids = list(connection.execute(query).scalars())
            return Part(_by_id(connection, ids[offset : offset + limit]), len(ids), _calls(connection, ids))

    def before(self, org_id: str, now: datetime, place: int) -> Mapping[str, int]:
        """Return what those ask for, by limit name, who stand at the first so many places of the queue."""
        totals: dict[str, int] = {}
        for row in self.waiting(org_id, now, 0, place).rows if place else ():
            for name, calls in row.needs.items():
                totals[name] = totals.get(name, 0) + calls
        return totals

    def outstanding(self, org_id: str, name: str, shown_at: datetime, now: datetime) -> int:
        """Return what is granted of a limit and may not show in its latest reading yet.

        As ``Turn.outstanding`` has it, which counts on leases that have lapsed being written down as such: here they
        may not be yet.

        :param shown_at: the instant that the reading shows (our clock).
        :param now: our clock.
        """
        of_org = select(lease).where(lease.c.org_id == org_id)
        with looking(self._engine) as connection:
            granted = connection.execute(of_org.where(lease.c.state == LeaseState.GRANTED.value)).all()
            ended = connection.execute(of_org.where(lease.c.granted_at.is_not(None), lease.c.ended_at > shown_at)).all()
        live = [row for row in granted if row.held_until > min(now, shown_at)]
        return sum(unseen_of(row, name, shown_at) for row in (*live, *ended))

    def reasons(self, reservation_ids: Collection[str]) -> dict[str, Row[Any]]:
        """Return the latest decision about each lease; absent where there is none."""
        of_leases = decision.c.reservation_id.in_(reservation_ids)
        latest = select(func.max(decision.c.id)).where(of_leases).group_by(decision.c.reservation_id)
        with looking(self._engine) as connection:
            ids = list(connection.execute(latest).scalars())
            rows = connection.execute(select(decision).where(decision.c.id.in_(ids))).all()
        return {row.reservation_id: row for row in rows}

    def decisions(
        self, org_id: str, before: tuple[datetime, int] | None = None, limit: int = 50
    ) -> tuple[tuple[Row[Any], Holder | None], ...]:
        """Return decisions, newest first, each with who it was about.

        :param before: instant and id of a decision; only earlier ones are told.
        :param limit: so many at most.
        """
        query = select(decision).where(decision.c.org_id == org_id)
        if before is not None:
            at, row_id = before
            earlier = or_(decision.c.decided_at < at, decision.c.id < row_id)
            query = query.where(decision.c.decided_at <= at, earlier)
        query = query.order_by(decision.c.decided_at.desc(), decision.c.id.desc()).limit(limit)
        with looking(self._engine) as connection:
            rows = connection.execute(query).all()
            wanted = {row.reservation_id for row in rows}
            found = connection.execute(
                select(lease.c.reservation_id, *holder_columns()).where(lease.c.reservation_id.in_(wanted))
            )
            holders = {row.reservation_id: holder_from(row) for row in found}
        return tuple((row, holders.get(row.reservation_id)) for row in rows)

    def marks(self, org_id: str, since: datetime, until: datetime) -> tuple[Marked, ...]:
        """Return decisions by hour and kind, oldest first.

        :param since: our clock.
        :param until: our clock.
        """
        with looking(self._engine) as connection:
            hour = _hour(connection, decision.c.decided_at)
            rows = connection.execute(
                select(func.max(decision.c.decided_at).label("at"), decision.c.kind, func.count().label("many"))
                .where(decision.c.org_id == org_id, decision.c.decided_at.between(since, until))
                .group_by(hour, decision.c.kind)
            )
            return tuple(sorted((Marked(row.at, row.kind, row.many) for row in rows), key=lambda mark: mark.at))

    def leases_of(
        self, dag_id: str, run_id: str | None, task_id: str | None, map_index: int | None, limit: int = 50
    ) -> tuple[Row[Any], ...]:
        """Return what a DAG, or a run, task or task instance of it, has asked of gates, latest first."""
        query = select(lease).where(lease.c.dag_id == dag_id)
        for column, value in ((lease.c.run_id, run_id), (lease.c.task_id, task_id), (lease.c.map_index, map_index)):
            if value is not None:
                query = query.where(column == value)
        with looking(self._engine) as connection:
            return tuple(connection.execute(query.order_by(lease.c.requested_at.desc()).limit(limit)))

    def takes_snapshots(self, org_id: str, dag_id: str) -> bool:
        """Tell whether any task of a DAG has kept a snapshot of an org."""
        names = snapshot.c.taken_by.between(f"{dag_id}/", f"{dag_id}0")  # the character after the slash
        query = select(snapshot.c.id).where(snapshot.c.org_id == org_id, names).limit(1)
        with looking(self._engine) as connection:
            return connection.execute(query).first() is not None

    # --- the past ----------------------------------------------------------------------------------------------------

    def reconciliations(
        self, org_id: str, before: tuple[datetime, int] | None = None, limit: int = 7
    ) -> tuple[Row[Any], ...]:
        """Return reconciliations, newest first; arguments as for :meth:`decisions`."""
        query = select(reconciliation).where(reconciliation.c.org_id == org_id)
        if before is not None:
            at, row_id = before
            earlier = or_(reconciliation.c.at < at, reconciliation.c.id < row_id)
            query = query.where(reconciliation.c.at <= at, earlier)
        with looking(self._engine) as connection:
            return tuple(
                connection.execute(query.order_by(reconciliation.c.at.desc(), reconciliation.c.id.desc()).limit(limit))
            )

    def days(self, org_id: str) -> tuple[date, date] | None:
        """Return the first and the last UTC day of which event logs or the daily report tell anything."""
        found: list[date] = []
        with looking(self._engine) as connection:
            for end in (func.min, func.max):
                hour = connection.execute(
                    select(end(hourly_count.c.starts_at)).where(hourly_count.c.org_id == org_id)
                ).scalar_one()
                day = connection.execute(
                    select(end(daily_count.c.day)).where(daily_count.c.org_id == org_id)
                ).scalar_one()
                found += [each for each in (hour and hour.astimezone(UTC).date(), day) if each is not None]
        return (min(found), max(found)) if found else None

    def reported(self, org_id: str, day: date) -> Mapping[str | None, int]:
        """Return calls by user of one UTC day as the daily report told them last; empty if it told nothing."""
        of_day = daily_count.c.org_id == org_id, daily_count.c.day == day
        observation = daily_count.c.observed_at, daily_count.c.source, daily_count.c.snapshot_id
        query = select(*observation).where(*of_day)
        with looking(self._engine) as connection:
            best = connection.execute(query.order_by(*(column.desc() for column in observation)).limit(1)).one_or_none()
            if best is None:
                return {}
            rows = connection.execute(
                select(daily_count.c.user, func.sum(daily_count.c.calls).label("calls"))
                .where(*of_day, *(column == value for column, value in zip(observation, best, strict=True)))
                .group_by(daily_count.c.user)
            ).all()
        return {row.user: int(row.calls) for row in rows}


def _by_id(connection: Connection, ids: Sequence[int]) -> tuple[Row[Any], ...]:
    rows = {row.id: row for row in connection.execute(select(lease).where(lease.c.id.in_(ids)))}
    return tuple(rows[each] for each in ids if each in rows)


def _calls(connection: Connection, ids: Sequence[int]) -> int | None:
    """Return calls of ``DailyApiRequests`` that leases are about."""
    if len(ids) > MOST_ADDED:
        return None
    rows = connection.execute(select(lease.c.needs, lease.c.held).where(lease.c.id.in_(ids)))
    total: int = sum((row.needs if row.held is None else row.held).get(API_REQUESTS, 0) for row in rows)
    return total


def _hour(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    if connection.dialect.name == "postgresql":
        return func.floor(func.extract("epoch", column) / HOUR_SECONDS)
    return cast(func.strftime("%s", column), BigInteger) // HOUR_SECONDS
