"""Readings of weeks, thinned by the database: running loads leave one a minute, and a quarter of an hour needs one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, select

from airflow_provider_apiusage.store.schema import reading
from airflow_provider_apiusage.store.usage_store import reading_from
from airflow_provider_apiusage.usage.model import LimitReading

QUARTER = 900
"""Seconds."""


def thinned_readings(
    connection: Connection, org_id: str, name: str, since: datetime, until: datetime
) -> tuple[LimitReading, ...]:
    """Return one org-wide reading of each quarter of an hour that has any with ``used``, oldest first.

    :param since: the org's instant; included.
    :param until: the org's instant; not included.
    """
    of_org = (
        reading.c.org_id == org_id,
        reading.c.name == name,
        reading.c.scope == "",
        reading.c.observed_at >= since,
        reading.c.observed_at < until,
        reading.c.used.is_not(None),
    )
    kept = select(func.max(reading.c.id)).where(*of_org).group_by(_quarter(connection))
    rows = connection.execute(select(reading).where(reading.c.id.in_(kept)).order_by(reading.c.observed_at))
    return tuple(map(reading_from, rows))


def _quarter(connection: Connection) -> ColumnElement[Any]:
    if connection.dialect.name == "postgresql":
        return func.floor(func.extract("epoch", reading.c.observed_at) / QUARTER)
    return cast(func.strftime("%s", reading.c.observed_at), BigInteger) // QUARTER
