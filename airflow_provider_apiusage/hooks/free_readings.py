"""What a hook needs so that every answer to its session can become a reading in the store, for no API call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.hooks import store
from airflow_provider_apiusage.salesforce.errors import ApiUsageError, Where
from airflow_provider_apiusage.salesforce.header_readings import INTERVAL, HeaderReadings
from airflow_provider_apiusage.salesforce.session import MeteredSession

if TYPE_CHECKING:
    from airflow_provider_apiusage.usage.model import LimitReading


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


def listener_for(find_connection: Callable[[], Any | None], interval: timedelta) -> HeaderReadings:
    """Return what listens to a session and keeps readings.

    The store is located now, in the caller's thread, because looking up a connection is not safe in every thread; it
    is opened when there is something to write. That it cannot be found is told then, and stops nobody.

    :param find_connection: returns the Airflow connection of the store, or ``None`` for the default file.
    :param interval: how often readings are kept.
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
            UsageStore(store.engine_of(place)).add_readings(readings)
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
