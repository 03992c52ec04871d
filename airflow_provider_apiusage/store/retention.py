"""Keeping the store small: what is old is thinned out, rolled up and at last dropped, a little at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Table, func, select

from airflow_provider_apiusage.store.batches import Batches
from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.retention_counts import (
    prune_daily_counts,
    prune_readings,
    prune_reconciliations,
    prune_snapshots,
)
from airflow_provider_apiusage.store.retention_events import prune_events
from airflow_provider_apiusage.store.retention_quota import prune_quota
from airflow_provider_apiusage.store.schema import metadata, org
from airflow_provider_apiusage.store.usage_store import UsageStore, evidence_since
from airflow_provider_apiusage.usage.event_log_plan import day_of
from airflow_provider_apiusage.usage.retention import Retention

PREFIX = "apiusage_"
TABLES: tuple[Table, ...] = tuple(table for table in metadata.sorted_tables if table is not org)
"""All tables that grow; that of orgs has one row for each."""

PAGES_AT_ONCE = 100
"""Pages of a SQLite file that are given back in one transaction: 400 kB."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one pruning did.

    :param removed: rows removed, by table; where rows became fewer by rolling up, the difference.
    :param kept: rows that are there now, by table.
    """

    removed: Mapping[str, int]
    kept: Mapping[str, int]


class UsageRetention:
    """Prunes one store.

    Safe at any time: each step is a short transaction under the org's lock and leaves the store whole, so readers,
    writers, gates and another pruning may go on meanwhile, and one that is killed is simply run again. Running it twice
    removes nothing the second time.

    :param engine: prepared and migrated.
    :param pause: called between transactions with the seconds that the last one took; sleeping as long leaves at least
        half of the time to others.
    """

    def __init__(self, engine: Engine, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._engine = engine
        self._pause = pause

    def prune(self, org_id: str | None, now: datetime, keep: Retention | None = None) -> Pruned:
        """Remove what need not be kept.

        :param org_id: the 15-character org id; ``None`` for all orgs in the store.
        :param now: the current instant.
        :param keep: what to keep; default: :class:`~airflow_provider_apiusage.usage.retention.Retention`.
        :raises ValueError: if ``now`` is naive.
        :raises StoreUnavailableError: if the store cannot be read or written; what was done by then stays done.
        """
        keep = keep or Retention()
        if now.tzinfo is None:
            raise ValueError(f"An instant must be aware of its zone: {now!r}.")
        orgs = UsageStore(self._engine).orgs() if org_id is None else (org_id,)
        removed: Counter[str] = Counter({table.name: 0 for table in TABLES})
        for each in orgs:
            removed.update(self._prune_org(Batches(self._engine, each, self._pause), now, keep))
        if self._engine.dialect.name == "sqlite":
            self._tidy()
        return Pruned(_by_table(removed), _by_table(self._count(orgs)))

    def _prune_org(self, batches: Batches, now: datetime, keep: Retention) -> Mapping[str, int]:
        details_from = now - keep.keep_details
        thin_before = evidence_since(details_from)
        drop_before = day_of(now - keep.keep)
        removed: Counter[str] = Counter(prune_quota(batches, details_from, drop_before))
        removed["apiusage_reading"] += prune_readings(batches, thin_before, drop_before)
        removed["apiusage_daily_count"] += prune_daily_counts(batches, thin_before, drop_before)
        removed["apiusage_snapshot"] += prune_snapshots(batches, thin_before)
        removed["apiusage_reconciliation"] += prune_reconciliations(batches, day_of(details_from), drop_before)
        removed.update(prune_events(batches, thin_before, drop_before))
        return removed

    def _tidy(self) -> None:
        """Give free pages back to the file system, if the file was made so, and let SQLite look at what has changed."""
        before = left = self._free_pages()
        while left:
            began = time.monotonic()
            with writing(self._engine) as connection:
                for _ in range(min(left, PAGES_AT_ONCE)):
                    # Python's driver takes one step of this statement, which is one page.
                    connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
            self._pause(time.monotonic() - began)
            before, left = left, self._free_pages()
            if left >= before:
                break
        with writing(self._engine) as connection:
            connection.exec_driver_sql("PRAGMA analysis_limit = 400")
            connection.exec_driver_sql("PRAGMA optimize")

    def _free_pages(self) -> int:
        with looking(self._engine) as connection:
            free: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
            return free

    def _count(self, orgs: tuple[str, ...]) -> Counter[str]:
        counted: Counter[str] = Counter({table.name: 0 for table in TABLES})
        with looking(self._engine) as connection:
            for table in TABLES:
                for each in orgs:
                    query = select(func.count()).select_from(table).where(table.c.org_id == each)
                    counted[table.name] += connection.execute(query).scalar_one()
        return counted


def _by_table(counted: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(PREFIX): rows for name, rows in sorted(counted.items())}
