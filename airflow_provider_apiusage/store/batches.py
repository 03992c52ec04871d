"""Removing many rows without keeping anybody waiting: few at a time, each time in a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete

from airflow_provider_apiusage.store.engine import writing
from airflow_provider_apiusage.store.usage_store import lock_org

AT_ONCE = 200
"""Rows in one transaction: some milliseconds, and fewer than the parameters that any SQLite allows (999)."""


class Batches:
    """Short transactions under one org's lock, with pauses between them.

    Two that remove the same rows at once cannot lock each other out, because the org's lock comes first. Whoever waits
    for SQLite's write lock looks for it only now and then, so it is left alone as long as it was held.

    :param engine: prepared and migrated.
    :param org_id: the 15-character org id.
    :param pause: called after each transaction with the seconds that it took.
    """

    def __init__(self, engine: Engine, org_id: str, pause: Callable[[float], None]) -> None:
        self.engine = engine
        self.org_id = org_id
        self._pause = pause

    @contextmanager
    def batch(self) -> Iterator[Connection]:
        """Open the next transaction.

        :raises StoreUnavailableError: if the store cannot be written.
        """
        with writing(self.engine) as connection:
            lock_org(connection, self.org_id)
            began = monotonic()
            yield connection
        self._pause(monotonic() - began)

    def delete(self, table: Table, ids: Sequence[int], *only_if: ColumnElement[bool]) -> int:
        """Delete rows by their ids and return how many there were.

        :param table: with a column ``id``.
        :param ids: which rows; one that is gone already is no error.
        :param only_if: what must hold of a row at the moment of deleting it.
        """
        removed = 0
        for some in in_steps(ids):
            with self.batch() as connection:
                removed += connection.execute(delete(table).where(table.c.id.in_(some), *only_if)).rowcount
        return removed


def in_steps(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a list into pieces of :data:`AT_ONCE` items."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def grouped(sizes: Sequence[tuple[Any, int]]) -> Iterator[list[Any]]:
    """Gather things of known sizes into groups of about :data:`AT_ONCE` together, and at most a quarter as many things.

    :param sizes: each with the number of rows that it stands for; a thing that is larger makes a group by itself.
    """
    group: list[Any] = []
    total = 0
    for thing, size in sizes:
        if group and (total + size > AT_ONCE or len(group) >= AT_ONCE // 4):
            yield group
            group, total = [], 0
        group.append(thing)
        total += size
    if group:
        yield group
