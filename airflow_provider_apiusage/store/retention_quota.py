"""Retention of leases and decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, and_, delete, or_, select

from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.store.batches import AT_ONCE, Batches
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.schema import decision, lease

_LIVE = (LeaseState.WAITING.value, LeaseState.GRANTED.value)

PAST_RUNS = 20
"""Metered runs of a gate that an estimate asks for, see ``QuotaLedger.past_runs``."""


def prune_quota(batches: Batches, before: datetime, drop_before: datetime) -> Mapping[str, int]:
    """Drop leases that ended long ago with their decisions, and of the others all old decisions but the last.

    A lease that waits or is held is not touched, however old. The latest runs of each gate that were metered stay until
    they are very old: a load that runs once a month learns from them what it will cost.

    :param batches: of one org.
    :param before: an instant of our clock.
    :param drop_before: no later than ``before``.
    :returns: rows removed, by table.
    """
    column = lease.c
    ended = and_(column.ended_at < before, column.state.not_in(_LIVE))
    query = select(
        column.id, column.reservation_id, column.dag_id, column.task_id, column.ended_at, column.spent
    ).where(column.org_id == batches.org_id, ended)
    with looking(batches.engine) as connection:
        old = sorted(connection.execute(query).all(), key=lambda row: row.id)
        gates = {(row.dag_id, row.task_id) for row in old if row.spent is not None}
        taught = {
            each for dag_id, task_id in gates for each in _latest_runs(connection, batches.org_id, dag_id, task_id)
        }
    found = [row for row in old if row.ended_at < drop_before or row.id not in taught]
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


def _latest_runs(connection: Connection, org_id: str, dag_id: str, task_id: str) -> Iterable[int]:
    table = lease.c
    metered = table.spent.is_not(None), table.ended_at.is_not(None)
    query = select(table.id).where(table.org_id == org_id, table.dag_id == dag_id, table.task_id == task_id, *metered)
    return connection.execute(query.order_by(table.ended_at.desc(), table.id.desc()).limit(PAST_RUNS)).scalars()


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
