"""What metrics tell of an org, in one look that takes no lock."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select

from airflow_provider_apiusage.quota.model import LeaseState
from airflow_provider_apiusage.store.engine import looking
from airflow_provider_apiusage.store.quota_turn import Turn
from airflow_provider_apiusage.store.schema import alert, lease, snapshot
from airflow_provider_apiusage.usage.model import LimitReading


@dataclass(frozen=True, slots=True)
class OrgFigures:
    """The figures of one org.

    :param readings: the latest org-wide reading of each limit asked for; absent where there is none.
    :param outstanding: what is granted and may not show there yet, by limit.
    :param waiting: gates that wait.
    :param waiting_since: when the first of them asked (our clock); ``None`` if none waits.
    :param snapshot_at: the org's instant of the latest snapshot; ``None`` if there is none.
    :param open_alerts: alerts that are open, of all tasks.
    """

    readings: Mapping[str, LimitReading]
    outstanding: Mapping[str, int]
    waiting: int
    waiting_since: datetime | None
    snapshot_at: datetime | None
    open_alerts: int


class MetricFigures:
    """Reads them.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, org_id: str, names: Collection[str], now: datetime) -> OrgFigures:
        """Return the figures of an org.

        :param org_id: the 15-character id of the org.
        :param names: the limits asked about.
        :param now: our clock.
        :raises StoreUnavailableError: if the store cannot be read.
        """
        queue = select(func.count(), func.min(lease.c.requested_at)).where(
            lease.c.org_id == org_id, lease.c.state == LeaseState.WAITING.value, lease.c.held_until > now
        )
        taken = select(func.max(snapshot.c.observed_at)).where(snapshot.c.org_id == org_id)
        is_open = select(func.count()).where(alert.c.org_id == org_id, alert.c.resolved_at.is_(None))
        with looking(self._engine) as connection:
            turn = Turn(connection, org_id)
            readings = turn.latest_readings(names)
            waiting, since = connection.execute(queue).one()
            return OrgFigures(
                readings=readings,
                outstanding=turn.outstanding(readings, names, now),
                waiting=waiting,
                waiting_since=since,
                snapshot_at=connection.execute(taken).scalar_one(),
                open_alerts=connection.execute(is_open).scalar_one(),
            )

    def waited(self, reservation_ids: Collection[str]) -> timedelta:
        """Return how long reservations had waited, all together, before they were granted."""
        total = timedelta(0)
        with looking(self._engine) as connection:
            for reservation_id in reservation_ids:
                asked = select(lease.c.requested_at, lease.c.granted_at).where(lease.c.reservation_id == reservation_id)
                for requested_at, granted_at in connection.execute(asked):
                    total += max(timedelta(0), granted_at - requested_at)
        return total
