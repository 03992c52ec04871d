"""Callers as rows: each is kept once per org, and counts point at it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from airflow_provider_apiusage.store.schema import caller
from airflow_provider_apiusage.store.usage_store import insert_unless_there
from airflow_provider_apiusage.usage.hourly import Caller

_AT_ONCE = 500
"""Digests in one statement: fewer than the parameters that any SQLite allows (999)."""


def caller_ids(connection: Connection, org_id: str, callers: Iterable[Caller]) -> dict[Caller, int]:
    """Return the row of each caller within the caller's transaction, made where there is none yet.

    :param connection: in a transaction that writes and holds the org's lock.
    :param org_id: the 15-character org id.
    :param callers: whom to find; repeats are fine.
    """
    wanted = {_digest(each): each for each in callers}
    known = _rows(connection, org_id, wanted)
    missing = [digest for digest in wanted if digest not in known]
    if missing:
        insert_unless_there(connection, caller, [_row(org_id, digest, wanted[digest]) for digest in missing])
        known |= _rows(connection, org_id, missing)
    return {wanted[digest]: row_id for digest, row_id in known.items()}


def caller_from(row: Row[Any]) -> Caller:
    """Return a row of the table of callers, or a join with it, as what it was."""
    return Caller(row.user, row.app, row.client, row.family, row.resource, row.counted, row.user_name, row.app_name)


def _rows(connection: Connection, org_id: str, digests: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    left = list(digests)
    while left:
        some, left = left[:_AT_ONCE], left[_AT_ONCE:]
        rows = connection.execute(
            select(caller.c.digest, caller.c.id).where(caller.c.org_id == org_id, caller.c.digest.in_(some))
        )
        found.update((row.digest, row.id) for row in rows)
    return found


def _row(org_id: str, digest: str, who: Caller) -> dict[str, Any]:
    return {
        "org_id": org_id,
        "digest": digest,
        "user": who.user,
        "app": who.app,
        "client": who.client,
        "family": who.family,
        "resource": who.resource,
        "counted": who.counted,
        "user_name": who.user_name,
        "app_name": who.app_name,
    }


def _digest(who: Caller) -> str:
    identity = [who.user, who.app, who.client, who.family, who.resource, who.counted]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()
