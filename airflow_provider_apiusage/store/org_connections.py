"""Which Airflow connections lead to which org: whoever may read one of them may see what is known of the org."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, select, update

from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.schema import org_connection
from airflow_provider_apiusage.store.usage_store import insert_unless_there

AGAIN_AFTER = timedelta(days=1)
"""A connection that was seen is not written again for so long, unless its address has changed."""


@dataclass(frozen=True, slots=True)
class OrgConnection:
    """An Airflow connection that led to an org.

    :param org_id: the 15-character id of the org.
    :param conn_id: of the connection.
    :param instance_url: where the org was reached, such as ``https://acme.my.salesforce.com``; ``None`` if unknown.
    :param seen_at: when it was used last, to a day (our clock).
    """

    org_id: str
    conn_id: str
    instance_url: str | None
    seen_at: datetime


class OrgConnections:
    """The connections of all orgs in one store.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, seen: OrgConnection) -> None:
        """Keep that a connection led to an org; it is only looked at if that is known already.

        :raises StoreUnavailableError: if the store cannot be read or written.
        """
        table = org_connection.c
        this = table.org_id == seen.org_id, table.conn_id == seen.conn_id
        with looking(self._engine) as connection:
            kept = connection.execute(select(table.instance_url, table.seen_at).where(*this)).one_or_none()
        address = seen.instance_url or (kept and kept.instance_url)
        if kept is not None and kept.instance_url == address and seen.seen_at - kept.seen_at < AGAIN_AFTER:
            return
        values = {"instance_url": address, "seen_at": seen.seen_at}
        with writing(self._engine) as connection:
            insert_unless_there(
                connection, org_connection, [{"org_id": seen.org_id, "conn_id": seen.conn_id, **values}]
            )
            connection.execute(update(org_connection).where(*this).values(**values))

    def all(self) -> tuple[OrgConnection, ...]:
        """Return every connection that ever led to an org, by org, the one seen last first."""
        table = org_connection.c
        query = select(org_connection).order_by(table.org_id, table.seen_at.desc(), table.conn_id)
        with looking(self._engine) as connection:
            return tuple(OrgConnection(*row) for row in connection.execute(query))
