"""Readings, counts and reconciliations: what was seen, kept as it was seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.event_hours import totals_between
from airflow_provider_apiusage.store.report_findings import report_findings
from airflow_provider_apiusage.store.schema import daily_count, lease, org, reading, reconciliation, snapshot
from airflow_provider_apiusage.usage.event_log_plan import day_of
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Coverage,
    DailyCount,
    Evidence,
    Finding,
    LimitReading,
    ReadingSource,
    Severity,
    Snapshot,
)

EVIDENCE_SPAN = timedelta(days=8, hours=1)
"""Readings this much older than the instant still bear on the last seven days: a window and an hour before them."""

LONGEST_WAIT_FOR_A_LOCK = timedelta(seconds=30)
LONGEST_PAUSE_IN_A_TURN = timedelta(seconds=60)
MILLISECOND = timedelta(milliseconds=1)

EVIDENCE_DAYS = 8
"""Days before the instant's own whose counts may matter: the report covers the last seven."""


def evidence_since(at: datetime, span: timedelta = EVIDENCE_SPAN) -> datetime:
    """Return 00:00 UTC of the earliest day of which anything bears on an instant.

    :param at: the instant.
    :param span: how far back readings matter.
    """
    return day_of(min(at - span, at - timedelta(days=EVIDENCE_DAYS)))


class UsageStore:
    """Reads and writes one store.

    "Latest" always means by the org's clock (``observed_at``), then by ours (``received_at``): a reading that arrives
    late never takes the place of a newer one.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """What it reads and writes."""
        return self._engine

    def add(self, taken: Snapshot) -> bool:
        """Keep a snapshot whole or not at all; one with a ``taken_by`` that is there already is kept once.

        :returns: whether it was kept now.
        :raises StoreUnavailableError: if the store cannot be written.
        """
        values = {
            "org_id": taken.org_id,
            "observed_at": taken.observed_at,
            "taken_by": taken.taken_by,
            "api_calls": taken.api_calls,
            "findings": [finding_to_json(finding) for finding in taken.findings],
        }
        with writing(self._engine) as connection:
            made = insert_unless_there(connection, snapshot, [values], returning=True)
            if made is None:
                return False
            add_readings(connection, taken.readings, snapshot_id=made)
            if taken.daily_counts:
                rows = [{**asdict(c), "coverage": c.coverage.value, "snapshot_id": made} for c in taken.daily_counts]
                connection.execute(insert(daily_count), rows)
        return True

    def add_readings(self, readings: Iterable[LimitReading]) -> None:
        """Keep readings that came without a snapshot; one that is there already changes nothing.

        :raises StoreUnavailableError: if the store cannot be written.
        """
        with writing(self._engine) as connection:
            add_readings(connection, readings)

    def find_snapshot(self, org_id: str, taken_by: str) -> Snapshot | None:
        """Return the snapshot kept under a name, as it was added; ``None`` if there is none."""
        with looking(self._engine) as connection:
            found = connection.execute(
                select(snapshot).where(snapshot.c.org_id == org_id, snapshot.c.taken_by == taken_by)
            ).one_or_none()
            if found is None:
                return None
            readings = connection.execute(
                select(reading).where(reading.c.snapshot_id == found.id).order_by(reading.c.id)
            )
            counts = connection.execute(
                select(daily_count).where(daily_count.c.snapshot_id == found.id).order_by(daily_count.c.id)
            )
            return Snapshot(
                org_id=found.org_id,
                observed_at=found.observed_at,
                readings=tuple(map(reading_from, readings)),
                daily_counts=tuple(map(_count_from, counts)),
                findings=tuple(map(finding_from_json, found.findings)),
                api_calls=found.api_calls,
                taken_by=found.taken_by,
            )

    def latest_reading(self, org_id: str, name: str = API_REQUESTS) -> LimitReading | None:
        """Return the latest org-wide reading of one limit, or ``None``."""
        with looking(self._engine) as connection:
            return latest_readings(connection, org_id, [name]).get(name)

    def latest_report_at(self, org_id: str) -> datetime | None:
        """Return the org's instant at which counts were last read from a report run in the org, or ``None``."""
        query = (
            select(daily_count.c.observed_at)
            .where(daily_count.c.org_id == org_id, daily_count.c.source == "report")
            .order_by(daily_count.c.day.desc(), daily_count.c.observed_at.desc())
            .limit(1)
        )
        with looking(self._engine) as connection:
            found: datetime | None = connection.execute(query).scalar_one_or_none()
            return found

    def readings(self, org_id: str, name: str, since: datetime, until: datetime) -> tuple[LimitReading, ...]:
        """Return the org-wide readings of one limit with ``since <= observed_at <= until``, oldest first."""
        with looking(self._engine) as connection:
            return readings_between(connection, org_id, name, since, until)

    def evidence(self, org_id: str, at: datetime | None = None, *, span: timedelta = EVIDENCE_SPAN) -> Evidence | None:
        """Return what bears on the usage at an instant, or ``None`` if nothing was read up to then.

        Readings go back by ``span``. Days go back by :data:`EVIDENCE_DAYS`. Hours begin with the earliest UTC day that
        either reaches, and end with the hour that holds ``at``, which is told whole if it is told at all; what is known
        of them by now counts, also what was read or settled later than ``at``.

        Each day is told by one observation of the report (one source at one instant): a day still running at ``at`` by
        the one nearest to ``at``, the earlier of two equally near; a day that was over by the latest one made after
        it ended, and for want of such by the nearest.

        :param org_id: the 15-character org id.
        :param at: the org's instant; ``None`` for that of the latest reading of ``DailyApiRequests``.
        :param span: how far back readings matter.
        """
        with looking(self._engine) as connection:
            if at is None:
                latest = latest_readings(connection, org_id, [API_REQUESTS]).get(API_REQUESTS)
                if latest is None:
                    return None
                at = latest.observed_at
            readings = readings_between(connection, org_id, API_REQUESTS, at - span, at)
            counts, told_by = _daily_counts(connection, org_id, at)
            findings = report_findings(connection, org_id, at, told_by)
            hours = totals_between(connection, org_id, evidence_since(at, span), at)
        return Evidence(org_id, at, readings, counts, hours, findings) if readings or counts or hours else None

    def add_reconciliation(self, result: Mapping[str, Any], at: datetime) -> None:
        """Keep the outcome of a reconciliation.

        :param result: as ``Reconciliation.as_dict()`` gives it.
        :param at: the instant it is about.
        """
        with writing(self._engine) as connection:
            connection.execute(
                insert(reconciliation).values(
                    org_id=result["org_id"], at=at, consistent=result["consistent"], body=dict(result)
                )
            )

    def latest_reconciliation(self, org_id: str) -> dict[str, Any] | None:
        """Return the reconciliation of the latest instant, or ``None``."""
        query = select(reconciliation.c.body).where(reconciliation.c.org_id == org_id)
        with looking(self._engine) as connection:
            found = connection.execute(query.order_by(reconciliation.c.at.desc(), reconciliation.c.id.desc()).limit(1))
            body = found.scalar_one_or_none()
            return None if body is None else dict(body)

    def orgs(self) -> tuple[str, ...]:
        """Return the ids of all orgs of which anything is kept, sorted."""
        with looking(self._engine) as connection:
            return tuple(
                sorted({found for table in (reading, snapshot, lease, org) for found in _orgs_in(connection, table)})
            )


def _orgs_in(connection: Connection, table: Table) -> Iterator[str]:
    """Tell the orgs of a table, each by one look into an index, however many rows it has."""
    found: str | None = ""
    while found is not None:
        found = connection.execute(select(func.min(table.c.org_id)).where(table.c.org_id > found)).scalar_one()
        if found is not None:
            yield found


def add_readings(connection: Connection, readings: Iterable[LimitReading], snapshot_id: int | None = None) -> None:
    """Insert readings within a transaction that the caller holds; repeats are passed over."""
    rows = [{**asdict(r), "source": r.source.value, "snapshot_id": snapshot_id} for r in readings]
    if rows:
        insert_unless_there(connection, reading, rows)


def latest_readings(connection: Connection, org_id: str, names: Collection[str]) -> dict[str, LimitReading]:
    """Return the latest org-wide reading of each limit within the caller's transaction; absent where there is none."""
    found: dict[str, LimitReading] = {}
    for name in names:
        query = _org_wide(org_id, name).order_by(reading.c.observed_at.desc(), reading.c.received_at.desc()).limit(1)
        row = connection.execute(query).one_or_none()
        if row is not None:
            found[name] = reading_from(row)
    return found


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as it is kept."""
    return {**asdict(finding), "severity": finding.severity.value, "figures": dict(finding.figures)}


def finding_from_json(body: Mapping[str, Any]) -> Finding:
    """Return the finding that :func:`finding_to_json` wrote."""
    return Finding(body["code"], Severity(body["severity"]), body["message"], body["figures"])


def reading_from(row: Row[Any]) -> LimitReading:
    """Return a row of the table of readings as what it was."""
    return LimitReading(
        org_id=row.org_id,
        name=row.name,
        source=ReadingSource(row.source),
        observed_at=row.observed_at,
        received_at=row.received_at,
        limit=row.limit,
        remaining=row.remaining,
        used=row.used,
        scope=row.scope,
    )


def _count_from(row: Row[Any]) -> DailyCount:
    return DailyCount(row.org_id, row.day, row.user, row.calls, Coverage(row.coverage), row.source, row.observed_at)


def _org_wide(org_id: str, name: str) -> Select[Any]:
    return select(reading).where(reading.c.org_id == org_id, reading.c.name == name, reading.c.scope == "")


def readings_between(
    connection: Connection, org_id: str, name: str, since: datetime, until: datetime
) -> tuple[LimitReading, ...]:
    """Return org-wide readings of one limit within the caller's transaction, oldest first; both ends included."""
    query = _org_wide(org_id, name).where(reading.c.observed_at.between(since, until))
    rows = connection.execute(query.order_by(reading.c.observed_at, reading.c.received_at))
    return tuple(map(reading_from, rows))


def _daily_counts(connection: Connection, org_id: str, at: datetime) -> tuple[tuple[DailyCount, ...], set[int]]:
    """Return the counts that tell each day, and the ids of the snapshots that they came with."""
    today = at.astimezone(UTC).date()
    days = [today - timedelta(days=back) for back in range(EVIDENCE_DAYS, -1, -1)]
    table = daily_count.c
    observation = (table.observed_at, table.source, table.snapshot_id)
    seen = connection.execute(
        select(*observation, func.min(table.day).label("first"))
        .where(table.org_id == org_id, table.day.between(days[0], days[-1]))
        .group_by(*observation)
    ).all()
    chosen: list[DailyCount] = []
    snapshots: set[int] = set()
    for day in days:
        begins = datetime.combine(day, time(), UTC)
        # An observation tells of the days from its first row up to the day on which it was made.
        covering = [o for o in seen if o.first <= day and o.observed_at >= begins]
        after = [o for o in covering if o.observed_at >= begins + timedelta(days=1)]
        if day < today and after:
            best = max(after, key=lambda o: (o.observed_at, o.snapshot_id))
        elif covering:
            best = min(covering, key=lambda o: (abs(o.observed_at - at), o.observed_at, o.snapshot_id))
        else:
            continue
        rows = connection.execute(
            select(daily_count)
            .where(
                table.org_id == org_id,
                table.day == day,
                table.observed_at == best.observed_at,
                table.source == best.source,
                table.snapshot_id == best.snapshot_id,
            )
            .order_by(table.id)
        )
        chosen.extend(map(_count_from, rows))
        snapshots.add(best.snapshot_id)
    return tuple(chosen), snapshots


def insert_unless_there(
    connection: Connection, table: Any, rows: list[dict[str, Any]], *, returning: bool = False
) -> int | None:
    """Insert rows, passing over those whose unique key is taken; optionally return the id of the one inserted."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing()
    if returning:
        made: int | None = connection.execute(statement.values(rows[0]).returning(table.c.id)).scalar_one_or_none()
        return made
    connection.execute(statement, rows)
    return None


def lock_org(connection: Connection, org_id: str) -> None:
    """Hold the org's lock until the transaction ends; SQLite's write lock, held already, is one for all orgs.

    A host that hangs in the middle of a transaction would keep all others of the org waiting without an end, and
    without a word: so nobody waits for longer than :data:`LONGEST_WAIT_FOR_A_LOCK`, and the database ends a transaction
    that stands still for :data:`LONGEST_PAUSE_IN_A_TURN`. On SQLite the wait ends by itself, and a process that is gone
    holds no lock.
    """
    if connection.dialect.name == "postgresql":
        settings = {
            "lock_timeout": LONGEST_WAIT_FOR_A_LOCK,
            "idle_in_transaction_session_timeout": LONGEST_PAUSE_IN_A_TURN,
        }
        connection.execute(
            select(*(func.set_config(name, f"{span // MILLISECOND}ms", True) for name, span in settings.items()))
        )
    insert_unless_there(connection, org, [{"org_id": org_id}])
    connection.execute(select(org.c.org_id).where(org.c.org_id == org_id).with_for_update())
