"""Retention of leases and decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import and_, delete, or_, select

from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.store.batches import AT_ONCE, Batches
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.schema import decision, lease

_LIVE = (LeaseState.WAITING.value, LeaseState.GRANTED.value)


def prune_quota(batches: Batches, before: datetime) -> Mapping[str, int]:
    """Drop leases that ended long ago with their decisions, and of the others all old decisions but the last.

    A lease that waits or is held is not touched, however old.

    :param batches: of one org.
    :param before: an instant of our clock.
    :returns: rows removed, by table.
    """
    ended = and_(lease.c.ended_at < before, lease.c.state.not_in(_LIVE))
    query = select(lease.c.id, lease.c.reservation_id).where(lease.c.org_id == batches.org_id, ended)
    with looking(batches.engine) as connection:
        found = sorted(connection.execute(query).all(), key=lambda row: row.id)
    removed: Counter[str] = Counter()
    step = AT_ONCE // 4
    for start in range(0, len(found), step):
        some = found[start : start + step]
        with batches.batch() as connection:
            for table, where in (
                (decision, decision.c.reservation_id.in_([row.reservation_id for row in some])),
                (lease, and_(lease.c.id.in_([row.id for row in some]), ended)),
            ):
                removed[table.name] += connection.execute(delete(table).where(where)).rowcount
    removed[decision.name] += _prune_decisions(batches, before)
    return removed


def _prune_decisions(batches: Batches, before: datetime) -> int:
    later = decision.alias()
    superfluous = or_(
        select(later.c.id)
        .where(later.c.reservation_id == decision.c.reservation_id, later.c.id > decision.c.id)
        .exists(),
        ~select(lease.c.id).where(lease.c.reservation_id == decision.c.reservation_id).exists(),
    )
    query = select(decision.c.id).where(
        decision.c.org_id == batches.org_id, decision.c.decided_at < before, superfluous
    )
    with looking(batches.engine) as connection:
        found = sorted(connection.execute(query).scalars())
    return batches.delete(decision, found)
