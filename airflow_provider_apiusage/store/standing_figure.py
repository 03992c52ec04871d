"""From when the figure of a reading is, if its org stands still or our own clocks differ.

Each reading of ``/limits`` is an API call itself, so what is used of an org that is well moves with every one of them.
A figure that has been the same for longer than it may be late is of the instant at which it was first told, at the
latest: to take it for the present one would grant the same calls again and again, for as long as it stands.

Leases end by the clock of one host of ours, readings arrive by that of another. If these differ, a reading may seem to
come minutes after the end of a load that it came before. How far they are apart shows in the readings: all hosts are
told the org's one time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from airflow_provider_apiusage.store.schema import reading
from airflow_provider_apiusage.usage.model import API_REQUESTS, STALENESS, WINDOW, LimitReading

LOOKED_AT = 50
"""Readings by which it is told how far our clocks are apart."""

SLOW_ANSWER = timedelta(minutes=1)
"""By so much an answer may arrive later than the org dated it, and no clock be wrong."""


def figure_as_of(connection: Connection, latest: LimitReading, now: datetime) -> datetime:
    """Return by when at the latest (our clock) the figure of a reading was told, whoever of ours has read it.

    :param latest: the latest org-wide reading of a limit.
    :param now: our clock; a reading that has yet to come was made by a host whose clock is fast.
    """
    return min(told_first_at(connection, latest), now) - clocks_apart(connection, latest)


def clocks_apart(connection: Connection, latest: LimitReading) -> timedelta:
    """Return by how much the clocks of our hosts differ, as the readings that they have made lately show.

    :param latest: the latest org-wide reading of a limit.
    """
    lately = (
        select(reading.c.observed_at, reading.c.received_at)
        .where(reading.c.org_id == latest.org_id, reading.c.name == latest.name, reading.c.scope == "")
        .order_by(reading.c.observed_at.desc())
        .limit(LOOKED_AT)
    )
    late = [row.received_at - row.observed_at for row in connection.execute(lately)]
    apart = max(late) - min(late) if late else timedelta(0)
    return apart if apart > SLOW_ANSWER else timedelta(0)


def told_first_at(connection: Connection, latest: LimitReading) -> datetime:
    """Return when the figure of a reading arrived for the first time, if it has stood for too long (our clock).

    :param latest: the latest org-wide reading of a limit.
    :returns: otherwise when the reading itself arrived; of other limits than API calls too, which may rightly stand.
    """
    if latest.name != API_REQUESTS or latest.used is None:
        return latest.received_at
    of_limit = (
        reading.c.org_id == latest.org_id,
        reading.c.name == latest.name,
        reading.c.scope == "",
        reading.c.observed_at <= latest.observed_at,
    )
    other = (
        select(reading.c.observed_at)
        .where(*of_limit, reading.c.observed_at > latest.observed_at - WINDOW, reading.c.used != latest.used)
        .order_by(reading.c.observed_at.desc())
        .limit(1)
    )
    since = connection.execute(other).scalar_one_or_none() or latest.observed_at - WINDOW
    same = select(func.min(reading.c.received_at)).where(*of_limit, reading.c.observed_at > since)
    first: datetime | None = connection.execute(same).scalar_one_or_none()
    return latest.received_at if first is None or latest.received_at - first <= STALENESS else first
