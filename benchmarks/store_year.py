"""A year in the store, on SQLite and on PostgreSQL: how large, how fast to ask, and how pruning disturbs others.

``python -m benchmarks.store_year [--days 365] [--database sqlite --database postgresql]``

The year: a snapshot of 20 limits every 15 minutes, a report every day, event logs of 30 callers (hourly files of the
last two days with their fingerprints, a daily file for each day before), 24 gated loads and a reconciliation a day; all
tell of the same traffic. While it is pruned for the first time, another thread takes the org's lock, as a gate does,
and measures how long that takes. PostgreSQL runs with fsync off: its times to write are those of a quick disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine, Table, create_engine, event, func, insert, select, text
from sqlalchemy.pool import NullPool

from airflow_provider_apiusage.store import schema
from airflow_provider_apiusage.store.engine import migrate, prepare_engine, sqlite_engine, writing
from airflow_provider_apiusage.store.event_log_store import EventLogStore
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.retention import Pruned, UsageRetention
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, WINDOW
from airflow_provider_apiusage.usage.reconciliation import reconcile

ORG = "00DSB0000000042"
NOW = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)
LIMITS = [API_REQUESTS, *(f"DailyLimit{number:02d}" for number in range(19))]
PEOPLE = 30
CHUNK = 20_000
RUNS = 7


class Traffic:
    """Calls of each caller in each quarter of an hour, added up from the beginning; the sources all tell of these.

    Every third caller uses SOAP, and every fifth one's calls do not count.

    :param days: before ``NOW`` that the store covers; traffic begins ten days earlier.
    """

    def __init__(self, days: int) -> None:
        random = Random(42)
        self.start = NOW.replace(hour=0, minute=0) - timedelta(days=days + 10)
        quarters = (NOW - self.start) // QUARTER
        self._so_far = [
            [0, *accumulate(random.randrange(40) * (random.random() < 0.4) for _ in range(quarters))]
            for _ in range(PEOPLE)
        ]

    def calls(self, who: int, start: datetime, end: datetime) -> int:
        """Return the calls of one caller in ``(start, end]``, both at a quarter of an hour."""
        so_far = self._so_far[who]
        return so_far[(min(end, NOW) - self.start) // QUARTER] - so_far[(start - self.start) // QUARTER]


def is_soap(who: int) -> bool:
    """Whether a caller uses SOAP."""
    return who % 3 == 1


def counts(who: int) -> bool:
    """Whether a caller's calls count against the allowance."""
    return who % 5 > 0


def readings(days: int, traffic: Traffic) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield a snapshot every 15 minutes with a reading of each limit, and every 96th with a report."""
    serial = 0
    for number in range(days * 96):
        at = NOW - QUARTER * (days * 96 - 1 - number)
        key = {"id": number + 1, "org_id": ORG, "observed_at": at}
        taken_by = f"api_usage_snapshot/scheduled__{at.isoformat()}/snapshot/-1"
        yield schema.snapshot, {**key, "taken_by": taken_by, "api_calls": 1, "findings": []}
        used = sum(traffic.calls(who, at - WINDOW, at) for who in range(PEOPLE) if counts(who))
        for place, name in enumerate(LIMITS):
            serial += 1
            yield (
                schema.reading,
                {
                    "id": serial, "snapshot_id": number + 1, "org_id": ORG, "name": name, "scope": "",
                    "source": "limits", "observed_at": at, "received_at": at + timedelta(milliseconds=150 + place),
                    "limit": 100_000, "remaining": 100_000 - used // (place + 1), "used": used // (place + 1),
                },
            )  # fmt: skip
        if number % 96 == 0:
            for back in range(7):
                day = at.replace(hour=0, minute=0) - timedelta(days=back)
                for who in filter(counts, filter(is_soap, range(PEOPLE))):
                    yield (
                        schema.daily_count,
                        {
                            "snapshot_id": number + 1, "org_id": ORG, "day": day.date(), "user": f"005SB00000{who:05d}",
                            "calls": traffic.calls(who, day, min(at, day + timedelta(days=1))), "coverage": "soap",
                            "source": "report", "observed_at": at,
                        },
                    )  # fmt: skip


def event_logs(days: int, traffic: Traffic) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield a daily file for each day but the last two, whose hours have hourly files and parts; and the counts."""
    random = Random(43)
    midnight = NOW.replace(hour=0, minute=0)
    for who in range(PEOPLE):
        yield (
            schema.caller,
            {
                "id": who + 1, "org_id": ORG, "digest": f"{who:064d}", "user": f"005SB00000{who:05d}",
                "app": f"0H4SB{who:010d}", "client": f"client {who}", "family": "SOAP" if is_soap(who) else "REST",
                "resource": ("query", "sobjects")[who % 2], "counted": counts(who), "user_name": f"Person {who}",
                "app_name": f"App {who}",
            },
        )  # fmt: skip
    files = 0
    for back in range(days, -1, -1):
        day = midnight - timedelta(days=back)
        hours = 24 if back else NOW.hour
        daily = back > 1
        for hour in [0] if daily else range(hours):
            files += 1
            starts_at = day + HOUR * hour
            created_at = starts_at + (timedelta(days=1, hours=5) if daily else timedelta(hours=2))
            yield (
                schema.event_file,
                {
                    "id": files, "org_id": ORG, "file_id": f"0AT{files:012d}",
                    "interval": "daily" if daily else "hourly", "sequence": 0 if daily else 1, "starts_at": starts_at,
                    "created_at": created_at, "length": 1_000_000, "seen_at": created_at + timedelta(days=3),
                    "read_at": created_at, "rows": 3_000, "repeated": 0, "unread": 0, "scheme": "1", "findings": [],
                },
            )  # fmt: skip
            if not daily:
                for who in range(PEOPLE):
                    yield (
                        schema.event_part,
                        {
                            "event_file_id": files, "org_id": ORG, "starts_at": starts_at, "caller_id": who + 1,
                            "told_apart": 100, "nameless": 0, "fingerprints": random.randbytes(800),
                        },
                    )  # fmt: skip
        for hour in range(hours):
            begins = day + HOUR * hour
            for who in range(PEOPLE):
                calls = traffic.calls(who, begins, begins + HOUR)
                yield schema.hourly_count, {"org_id": ORG, "starts_at": begins, "caller_id": who + 1, "calls": calls}


def quota(days: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield an hourly load that waited twice, was granted, and released."""
    for number in range(days * 24):
        at = NOW - HOUR * (days * 24 - number)
        reservation = f"{number:036d}"
        yield (
            schema.lease,
            {
                "reservation_id": reservation, "org_id": ORG, "dag_id": "load", "run_id": at.isoformat(),
                "task_id": "gate", "map_index": -1, "state": "released", "needs": {API_REQUESTS: 1_000},
                "reserve_calls": {}, "reserve_share": 0.0, "lease_seconds": 3600.0, "max_age_seconds": 900.0,
                "on_unknown": "wait", "requested_at": at, "granted_at": at, "held_until": at + HOUR,
                "ended_at": at + HOUR / 2,
            },
        )  # fmt: skip
        for kind, reason in (("wait", "not enough is left"), ("wait", "others are first"), ("grant", "enough is left")):
            figures = [{"name": API_REQUESTS, "limit": 100_000, "used": 50_000, "needed": 1_000, "reserve": 0}]
            yield (
                schema.decision,
                {
                    "org_id": ORG, "reservation_id": reservation, "decided_at": at, "kind": kind, "reason": reason,
                    "figures": figures,
                },
            )  # fmt: skip


def fill(engine: Engine, days: int) -> None:
    """Write the year, many rows at a time."""
    listed = {"logs_listed_at": NOW, "logs_listed_since": NOW - timedelta(days=days)}
    with writing(engine) as connection:
        connection.execute(insert(schema.org), [{"org_id": ORG, **listed}])
    traffic = Traffic(days)
    for rows in (readings(days, traffic), event_logs(days, traffic), quota(days)):
        while some := list(islice(rows, CHUNK)):
            by_table: dict[Table, list[dict[str, Any]]] = {}
            for table, row in some:
                by_table.setdefault(table, []).append(row)
            with writing(engine) as connection:
                for table in schema.metadata.sorted_tables:
                    if table in by_table:
                        connection.execute(insert(table), by_table[table])
    store = UsageStore(engine)
    evidence = store.evidence(ORG)
    assert evidence is not None
    body = reconcile(evidence).as_dict()
    for back in range(days - 1, -1, -1):
        store.add_reconciliation(body, NOW - timedelta(days=back))
    if engine.dialect.name == "postgresql":
        # Its serial numbers do not know of the ids that were given, and its statistics come a minute later.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in schema.metadata.sorted_tables:
                if "id" in table.c:
                    last = connection.execute(select(func.max(table.c.id))).scalar_one() or 1
                    connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})"))
            connection.execute(text("ANALYZE"))


def median_ms(ask: Callable[[], Any]) -> float:
    """Return how long a question takes, the median of several askings."""
    return statistics.median(_timed(ask) for _ in range(RUNS)) * 1000


def _timed(ask: Callable[[], Any]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def questions(engine: Engine) -> dict[str, float]:
    """Return what the product asks most, and how long each takes in milliseconds."""
    store, ledger, logs = UsageStore(engine), QuotaLedger(engine), EventLogStore(engine)
    evidence = store.evidence(ORG)
    assert evidence is not None
    assert len(evidence.readings) > 700
    assert len(evidence.hours) > 180

    def turn() -> None:
        with ledger.turn(ORG) as opened:
            opened.lapse(NOW)
            latest = opened.latest_readings([API_REQUESTS])
            opened.outstanding(latest, [API_REQUESTS], NOW)
            opened.last_read_at()
            opened.queue()

    return {
        "evidence()": median_ms(lambda: store.evidence(ORG)),
        "evidence(), 35 days": median_ms(lambda: store.evidence(ORG, span=timedelta(days=35))),
        "reconcile()": median_ms(lambda: reconcile(evidence)),
        "latest_reading()": median_ms(lambda: store.latest_reading(ORG)),
        "usage(), 7 days by caller": median_ms(lambda: logs.usage(ORG, NOW - timedelta(days=7, minutes=30), NOW)),
        "decisions()": median_ms(lambda: ledger.decisions(ORG)),
        "a gate's looks under its lock": median_ms(turn),
    }


@contextmanager
def watched(engine: Engine) -> Iterator[list[float]]:
    """Measure each transaction that writes, from its beginning to its end."""
    began: dict[int, float] = {}
    took: list[float] = []

    def begin(connection: Any) -> None:
        if connection.get_execution_options().get("apiusage_writes"):
            began[id(connection)] = time.perf_counter()

    def end(connection: Any) -> None:
        start = began.pop(id(connection), None)
        if start is not None:
            took.append(time.perf_counter() - start)

    event.listen(engine, "begin", begin)
    event.listen(engine, "commit", end)
    try:
        yield took
    finally:
        event.remove(engine, "begin", begin)
        event.remove(engine, "commit", end)


def prune(engine: Engine, gate: Engine) -> tuple[Pruned, float, list[float], list[float]]:
    """Prune while gates take the lock.

    :returns: what was done, seconds in all, seconds of each transaction, and seconds that each gate needed.
    """
    done = threading.Event()
    waits: list[float] = []

    def take_turns() -> None:
        while not done.wait(0.02):
            waits.append(_timed(take_turn))

    def take_turn() -> None:
        with QuotaLedger(gate).turn(ORG):
            pass

    others = threading.Thread(target=take_turns)
    others.start()
    try:
        with watched(engine) as took:
            began = time.perf_counter()
            pruned = UsageRetention(engine).prune(ORG, NOW)
            seconds = time.perf_counter() - began
    finally:
        done.set()
        others.join()
    return pruned, seconds, took, waits


def size_mb(engine: Engine) -> float:
    """Return how much room the store takes on the disk."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            size: int = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
            return size / 1e6
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(engine.url.database or "") / 1e6


def pack(engine: Engine) -> None:
    """Write the store anew without its gaps, as one may do by hand while nobody uses it."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM FULL"))
        return
    raw = engine.raw_connection()
    raw.cursor().execute("VACUUM")
    raw.close()


@contextmanager
def stores(names: Iterable[str]) -> Iterator[list[Callable[[], Engine]]]:
    """Make an empty store on each database, and give ways to open them."""
    from tests.support.postgres import fresh_database, postgres_server

    with tempfile.TemporaryDirectory() as folder:
        made: list[Callable[[], Engine]] = []
        if "sqlite" in names:
            made.append(lambda: sqlite_engine(Path(folder) / "year.db"))
        if "postgresql" not in names:
            yield made
            return
        with postgres_server() as server, fresh_database(server) as url:
            made.append(lambda: prepare_engine(create_engine(url, poolclass=NullPool)))
            yield made


def measure(open_store: Callable[[], Engine], days: int) -> dict[str, str]:
    """Return one column of the table."""
    engine = open_store()
    migrate(engine)
    empty = size_mb(engine)
    column: dict[str, str] = {}
    began = time.perf_counter()
    fill(engine, days)
    column["(written in s)"] = f"{time.perf_counter() - began:.0f}"
    column["size before, MB"] = f"{size_mb(engine) - empty:.1f}"
    column |= {f"{name} before, ms": f"{ms:.1f}" for name, ms in questions(engine).items()}
    pruned, seconds, took, waits = prune(engine, open_store())
    column["first prune, s"] = f"{seconds:.1f}"
    column["its transactions"] = f"{len(took):,}"
    column["the longest of them, ms"] = f"{max(took) * 1000:.1f}"
    column["median, ms"] = f"{statistics.median(took) * 1000:.1f}"
    column["a gate's lock meanwhile, median ms"] = f"{statistics.median(waits) * 1000:.1f}"
    column["the longest of them, ms "] = f"{max(waits) * 1000:.1f}"
    column["size after, MB"] = f"{size_mb(engine) - empty:.1f}"
    column |= {f"{name} after, ms": f"{ms:.1f}" for name, ms in questions(engine).items()}
    pack(engine)
    column["size packed by hand (VACUUM), MB"] = f"{size_mb(engine) - empty:.1f}"
    column["second prune, s"] = f"{prune(engine, open_store())[1]:.1f}"
    column |= {
        f"rows of {table}": f"{pruned.removed[table]:,} removed, {kept:,} kept" for table, kept in pruned.kept.items()
    }
    return column


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    options = parser.parse_args(arguments)
    names = options.database or ["sqlite", "postgresql"]
    with stores(names) as openers:
        columns = [measure(open_store, options.days) for open_store in openers]
    print(f"| {options.days} days | {' | '.join(name for name in ('sqlite', 'postgresql') if name in names)} |")
    print("|---|" + "---|" * len(columns))
    for label in columns[0]:
        print(f"| {label.strip()} | {' | '.join(column[label] for column in columns)} |")


if __name__ == "__main__":
    main()
