"""What leases of the past tell the gate: who was granted what since when, and what one's own loads have spent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, select

from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.quota.order import PastGrant
from airflow_provider_apiusage.store.lease_rows import draws_of, held_of
from airflow_provider_apiusage.store.schema import lease
from airflow_provider_apiusage.usage.model import WINDOW

FINE = timedelta(seconds=15)
"""What a metered load has spent between two totals is spread in pieces so long at most: what is not counted as one's
own at the right time is taken for others' calls, and somebody may wait for it to leave the window."""

COARSE = timedelta(minutes=15)
"""What a load that was not metered has spent is a guess; once it has left the window, pieces so long do."""


def grants_since(connection: Connection, org_id: str, since: datetime) -> tuple[PastGrant, ...]:
    """Return what was granted after an instant (our clock), whether it has ended or not."""
    columns = (lease.c.requested_at, lease.c.priority, lease.c.granted_at, lease.c.needs)
    of_org = select(*columns).where(lease.c.org_id == org_id, lease.c.granted_at > since)
    # Two questions, not one with "or": each has an index that passes over the history of the org.
    held = connection.execute(of_org.where(lease.c.state == LeaseState.GRANTED.value))
    ended = connection.execute(of_org.where(lease.c.ended_at > since))
    return tuple(PastGrant(row.requested_at, row.priority, row.granted_at, dict(row.needs)) for row in (*held, *ended))


def own_calls(
    connection: Connection, org_id: str, name: str, since: datetime, now: datetime
) -> list[tuple[float, int]]:
    """Return what one's own loads have spent of a limit, as epoch seconds (our clock) and numbers.

    Where loads were metered it is known; otherwise all that was granted is taken to have been spent evenly while the
    reservation was held, which is a guess.

    :param since: leases that ended before are left out.
    :param now: our clock.
    """
    granted = select(lease).where(lease.c.org_id == org_id, lease.c.granted_at.is_not(None))
    held = connection.execute(granted.where(lease.c.state == LeaseState.GRANTED.value))
    ended = connection.execute(granted.where(lease.c.ended_at > since))
    return [piece for row in (*held, *ended) for piece in _pieces(row, name, now)]


def _pieces(row: Row[tuple[object, ...]], name: str, now: datetime) -> Iterator[tuple[float, int]]:
    course = draws_of(row).course
    if course:
        before, spent_before = row.granted_at, 0
        for at, spent in course:
            total = spent.get(name, spent_before)
            yield from _spread(total - spent_before, before, at, FINE)
            before, spent_before = at, total
    else:
        end = row.ended_at or now
        yield from _spread(held_of(row).get(name, 0), row.granted_at, end, FINE if end > now - WINDOW else COARSE)


def _spread(calls: int, start: datetime, end: datetime, piece: timedelta) -> Iterator[tuple[float, int]]:
    pieces = max(1, -(-(end - start) // piece))
    for n in range(pieces if calls > 0 else 0):
        at = start + (end - start) * (n + 0.5) / pieces
        yield at.timestamp(), calls * (n + 1) // pieces - calls * n // pieces
