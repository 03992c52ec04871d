"""Two months of one small org in a store: everything that retention has to do with, and odd corners on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from sqlalchemy import Engine, create_engine, func, insert, select, text
from sqlalchemy.pool import StaticPool

from airflow_provider_apiusage.quota.model import LimitFigures
from airflow_provider_apiusage.store.engine import migrate, prepare_engine
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.schema import metadata
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.event_log import FileUsage, LogFile, LogInterval, Part
from airflow_provider_apiusage.usage.hourly import Caller
from airflow_provider_apiusage.usage.model import API_REQUESTS, ReadingSource, Snapshot
from tests.support.quota import BATCHES, LEASE, NOW, ORG, reading, request
from tests.usage.evidence import counted

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MIDNIGHT = NOW.replace(hour=0, minute=0)
CALLERS = [
    Caller(f"005AA000000000{number}", family=family, resource=resource, counted=number_counts)
    for number, (family, resource, number_counts) in enumerate(
        [
            ("REST", "query", True),
            ("REST", "sobjects", True),
            ("SOAP", "query", True),
            ("REST", "composite/batch", True),
            (None, None, None),
        ]
    )
]


def fill(engine: Engine, days: int, org_id: str = ORG, *, step: timedelta = HOUR * 6) -> None:
    """Keep the history of an org: snapshots with reports, event logs, loads, reconciliations.

    It is made once, through the product, and then copied: that is much quicker.

    :param engine: migrated.
    :param days: before ``NOW``.
    :param org_id: of the org.
    :param step: between snapshots; some of them come in pairs within one hour.
    """
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            rows = _history(days, org_id, step)[table.name]
            if rows:
                connection.execute(insert(table), rows)
            if engine.dialect.name == "postgresql" and "id" in table.c:
                last = connection.execute(select(func.max(table.c.id))).scalar_one() or 1
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})"))


@cache
def _history(days: int, org_id: str, step: timedelta) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table; the ids of two orgs differ."""
    apart = int(org_id[-6:], 16) * 1_000_000
    engine = prepare_engine(create_engine("sqlite://", poolclass=StaticPool))
    migrate(engine)
    _live(engine, days, org_id, step)
    with engine.connect() as connection:
        tables = {
            table.name: [dict(row._mapping) for row in connection.execute(select(table))]
            for table in metadata.sorted_tables
        }
    for row in (row for rows in tables.values() for row in rows):
        for name in ("id", "snapshot_id", "event_file_id", "caller_id"):
            if row.get(name) is not None:
                row[name] += apart
    return tables


def _live(engine: Engine, days: int, org_id: str, step: timedelta) -> None:
    random = Random(f"{org_id} {days}")
    store = UsageStore(engine)
    at = NOW - days * DAY
    while at <= NOW:
        for offset in (timedelta(0), timedelta(minutes=7)) if random.random() < 0.6 else (timedelta(0),):
            _add_snapshot(store, org_id, at + offset, random)
        if random.random() < 0.2:
            store.add_reconciliation({"org_id": org_id, "consistent": True, "made": at.isoformat()}, at)
        at += step
    for back in range(days, -1, -1):
        _add_logs(EventLogStore(engine), org_id, MIDNIGHT - back * DAY, random, finished=back > 0)
        _add_loads(QuotaLedger(engine), org_id, NOW - back * DAY, back)


def _add_snapshot(store: UsageStore, org_id: str, at: datetime, random: Random) -> None:
    used = random.randrange(20_000, 50_000)
    source = ReadingSource.EXHAUSTED if random.random() < 0.1 else ReadingSource.LIMITS
    readings = (
        reading(None if source is ReadingSource.EXHAUSTED else used, at, org_id=org_id, source=source),
        reading(random.randrange(500), at, name=BATCHES, org_id=org_id),
        reading(random.randrange(500), at, scope="Ant Migration Tool", org_id=org_id),
    )
    counts = tuple(
        replace(
            counted((at - back * DAY).date(), random.randrange(9_000), user=f"005AA000000000{who}", observed_at=at),
            org_id=org_id,
        )
        for back in range(7)
        for who in range(2)
        if random.random() < 0.8 or back == 6
    )
    with_report = counts if random.random() < 0.3 else ()
    store.add(Snapshot(org_id, at, readings, with_report, taken_by=f"{at:%d%H%M}"))
    store.add_readings([reading(used, at + timedelta(seconds=5), org_id=org_id, source=ReadingSource.HEADER)])


def _add_logs(logs: EventLogStore, org_id: str, day: datetime, random: Random, *, finished: bool) -> None:
    """Hourly files of a few hours, some with rows of the next hour; a daily file for two days of three."""
    listed: list[LogFile] = []
    for hour in (0, 23):
        starts_at = day + hour * HOUR
        for sequence in (1, 2):
            file = LogFile(
                starts_at,
                sequence,
                starts_at + (1 + sequence) * HOUR,
                _name("H", starts_at, sequence),
                LogInterval.HOURLY,
            )
            fingerprints = random.randbytes(8 * 3)
            strays = [Part(starts_at + HOUR, CALLERS[0], 3, 0, fingerprints)] if random.random() < 0.5 else []
            parts = [Part(starts_at, who, 3, random.randrange(5), random.randbytes(24)) for who in CALLERS]
            logs.add_file(org_id, FileUsage(file, (*parts, *strays), 20, scheme="test"), file.created_at)
            listed.append(file)
    if finished and day.toordinal() % 3:
        file = LogFile(day, 0, day + 30 * HOUR, _name("D", day, 0), LogInterval.DAILY)
        parts = [
            Part(day + hour * HOUR, who, 0, random.randrange(1, 900)) for hour in range(0, 24, 6) for who in CALLERS
        ]
        logs.add_file(org_id, FileUsage(file, tuple(parts), 100), file.created_at)
        listed.append(file)
    logs.record_listing(org_id, listed, day + 4 * DAY + 5 * HOUR, watching=True)


def _name(kind: str, starts_at: datetime, sequence: int) -> str:
    return f"0AT{kind}{starts_at:%y%m%d%H}{sequence}"


def _add_loads(ledger: QuotaLedger, org_id: str, at: datetime, number: int) -> None:
    """A load that waits twice and is granted; most are released or lapse, one in ten is held for a very long time."""
    lease = 1_000 * DAY if number % 10 == 3 else LEASE
    wanted = request(number, at=at, lease=lease, org_id=org_id)
    figures = [LimitFigures(API_REQUESTS, 10_000, 100_000, 50_000)]
    with ledger.turn(org_id) as turn:
        turn.lapse(at)
        turn.join(wanted, at, at + HOUR)
        turn.record(wanted, at, "wait", "not enough is left", figures)
        turn.record(wanted, at, "wait", "others are first", figures)
        reservation = turn.grant(wanted, at)
        turn.record(wanted, at, "grant", "enough is left", figures)
    if number % 2:
        ledger.release(reservation.reservation_id, at + HOUR / 2)


def rows_of(engine: Engine) -> dict[str, list[Any]]:
    """Return everything that a store holds, by table."""
    with engine.connect() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def instants(days: int, random: Random) -> Iterator[datetime]:
    """Tell instants of the last days: the edges, midnights and others."""
    yield NOW
    yield NOW - days * DAY
    yield MIDNIGHT - 3 * DAY
    for _ in range(12):
        yield NOW - timedelta(minutes=random.randrange(days * 24 * 60))
