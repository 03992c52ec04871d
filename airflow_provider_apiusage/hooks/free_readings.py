"""What a hook needs so that every answer to its session can become a reading in the store, for no API call."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.hooks import store
from airflow_provider_apiusage.salesforce.errors import ApiUsageError, Where
from airflow_provider_apiusage.salesforce.header_readings import INTERVAL, HeaderReadings
from airflow_provider_apiusage.salesforce.places import place_of
from airflow_provider_apiusage.salesforce.session import MeteredSession

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from airflow_provider_apiusage.usage.model import LimitReading

log = logging.getLogger(__name__)


def interval_from(keep_readings: bool | timedelta) -> timedelta | None:
    """Return how often readings are kept, or ``None`` for never.

    :param keep_readings: ``True`` for once a minute, ``False`` for never, or a duration of 0 or more.
    :raises ValueError: if it is anything else.
    """
    if isinstance(keep_readings, bool):
        return INTERVAL if keep_readings else None
    if not isinstance(keep_readings, timedelta) or keep_readings < timedelta(0):
        raise ValueError(f"keep_readings={keep_readings!r} must be True, False, or a timedelta of 0 or more.")
    return keep_readings


def keep_place(engine: Engine, org_id: str, conn_id: str) -> None:
    """Let a store know which org a connection leads to: the page shows an org to those who may read one of them.

    That it cannot be written stops nobody; whoever comes next tries again.

    :param engine: of the store.
    :param org_id: the 15-character org id.
    :param conn_id: of the Airflow connection.
    """
    from airflow_provider_apiusage.store.errors import StoreError
    from airflow_provider_apiusage.store.org_connections import OrgConnection, OrgConnections

    seen = OrgConnection(org_id, conn_id, place_of(conn_id).instance_url, datetime.now(UTC))
    try:
        OrgConnections(engine).record(seen)
    except StoreError as away:
        log.info("That connection %s leads to org %s could not be kept: %s", conn_id, org_id, away)


def listener_for(
    find_connection: Callable[[], Any | None], interval: timedelta, conn_id: str | None = None
) -> HeaderReadings:
    """Return what listens to a session and keeps readings.

    The store is located now, in the caller's thread, because looking up a connection is not safe in every thread; it
    is opened when there is something to write. That it cannot be found is told then, and stops nobody.

    :param find_connection: returns the Airflow connection of the store, or ``None`` for the default file.
    :param interval: how often readings are kept.
    :param conn_id: the connection that leads to the org; ``None`` if it is none of Airflow's.
    """
    place: Any = None
    unfound: Exception | None = None
    try:
        place = find_connection() or store.default_path()
    except Exception as failed:
        unfound = failed

    def write(readings: Sequence[LimitReading]) -> None:
        from airflow_provider_apiusage.store.errors import StoreError, StoreUnavailableError
        from airflow_provider_apiusage.store.usage_store import UsageStore

        try:
            if unfound is not None:
                raise unfound
            engine = store.engine_of(place)
            UsageStore(engine).add_readings(readings)
            if conn_id is not None:
                for org_id in {reading.org_id for reading in readings}:
                    keep_place(engine, org_id, conn_id)
        except (StoreError, ApiUsageError):
            raise
        except Exception as unforeseen:  # its text may hold anything, so it is not shown
            raise StoreUnavailableError(
                f"The store cannot be used: {type(unforeseen).__name__}.",
                str(getattr(place, "conn_id", place) or "of [apiusage] store_conn_id"),
                "Check the connection in [apiusage] store_conn_id, or set keep_readings=False.",
            ) from None

    return HeaderReadings(write, interval=interval)


def session_heard_by(readings: HeaderReadings | None, where: Where, **options: Any) -> MeteredSession:
    """Return a session whose answers are listened to, and whose end keeps the last of them.

    :param readings: the listener; ``None`` for none.
    :param where: names connection and org in errors.
    :param options: further arguments of :class:`MeteredSession`.
    """
    if readings is None:
        return MeteredSession(where, **options)
    session = MeteredSession(where, listener=readings, on_close=readings.flush, **options)
    weakref.finalize(session, readings.end).atexit = False  # the listener sees to its own exit
    return session
