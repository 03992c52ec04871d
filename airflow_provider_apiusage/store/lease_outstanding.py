"""What is granted and not seen yet: the calls that a reading may not show, though they are spent or promised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.store.lease_rows import unseen_of
from airflow_provider_apiusage.store.schema import lease


def outstanding(
    connection: Connection, org_id: str, shown: Mapping[str, datetime], *, lapsed_by: datetime | None = None
) -> dict[str, int]:
    """Return, by limit, what is outstanding.

    :param shown: by limit name, the instant that its reading shows (our clock): what was spent or had ended by then is
        in it.
    :param lapsed_by: leases whose time is up by then have ended, though no turn has written that down yet; not needed
        inside a turn that has seen to it.
    """
    # Two questions, not one with "or": each has an index that passes over the history of the org.
    columns = (lease.c.needs, lease.c.held, lease.c.draws, lease.c.state, lease.c.ended_at, lease.c.held_until)
    of_org = select(*columns).where(lease.c.org_id == org_id)
    earliest = min(shown.values(), default=datetime.max.replace(tzinfo=UTC))
    rows = [
        *connection.execute(of_org.where(lease.c.state == LeaseState.GRANTED.value)),
        *connection.execute(of_org.where(lease.c.granted_at.is_not(None), lease.c.ended_at > earliest)),
    ]
    totals = dict.fromkeys(shown, 0)
    for row in rows:
        ended_at = row.ended_at
        if ended_at is None and lapsed_by is not None and row.held_until <= lapsed_by:
            ended_at = row.held_until
        for name, instant in shown.items():
            if ended_at is None or ended_at > instant:
                totals[name] += unseen_of(row, name, instant)
    return totals
