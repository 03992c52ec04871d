"""Reservations in use, with or without Airflow: draw from one, top it up, give it back.

``store`` is what the gate used: the path of a SQLite file, the URL of a PostgreSQL database
(``postgresql+psycopg://...``), or a SQLAlchemy engine. ``reservation`` is what the sensor returned, or its id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from airflow_provider_apiusage.quota.drawing import reservation_id_of
from airflow_provider_apiusage.reservations.load import MeteredLoad
from airflow_provider_apiusage.reservations.topping_up import top_up
from airflow_provider_apiusage.salesforce.errors import Where
from airflow_provider_apiusage.store.engine import migrate, prepare_engine, sqlite_engine
from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.store.quota_ledger import Extended, QuotaLedger, Released

__all__ = ["MeteredLoad", "extend", "metered_load", "open_ledger", "release", "top_up"]

log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")


def open_ledger(store: str | Path | Engine) -> QuotaLedger:
    """Return the ledger of a store, its schema brought up to date.

    :param store: a path, a URL, or an engine.
    :raises StoreError: if the store cannot be reached, written, or is of a newer schema.
    """
    if isinstance(store, Engine):
        engine = prepare_engine(store)
    elif isinstance(store, Path) or "://" not in store:
        engine = sqlite_engine(Path(store))
    else:
        engine = prepare_engine(create_engine(store, poolclass=NullPool))
    migrate(engine)
    return QuotaLedger(engine)


def release(
    reservation: Any, store: str | Path | Engine, *, calls: Mapping[str, int] | None = None, now: datetime | None = None
) -> Released | None:
    """Give a reservation back, or a part of it; what is not spent is free at once. Spends no API call.

    :param calls: give back so much only, by limit name, and hold the rest.
    :param now: our clock; default: now.
    :returns: what came of it; ``None`` if there is nothing to release, as when the gate never opened.
    :raises ValueError: if the store knows no such reservation.
    :raises StoreError: if the store could not be written.
    """
    reservation_id = reservation_id_of(reservation)
    if reservation_id is None:
        return None
    outcome = open_ledger(store).release(reservation_id, now or datetime.now(UTC), calls=calls)
    return _known(outcome, reservation_id)


def extend(
    reservation: Any, more: Mapping[str, int], store: str | Path | Engine, *, now: datetime | None = None
) -> Extended:
    """Add to a reservation if it fits now; otherwise say no, and why. Spends no API call.

    :param more: what to add, by limit name.
    :param now: our clock; default: now.
    :raises ValueError: if the store knows no such reservation, or it is none.
    :raises StoreError: if the store could not be written.
    """
    reservation_id = reservation_id_of(reservation) or ""
    return _known(top_up(open_ledger(store), reservation_id, more, now or datetime.now(UTC)), reservation_id)


@contextmanager
def metered_load(
    reservation: Any,
    store: str | Path | Engine,
    session: requests.Session | None = None,
    *,
    on_overspend: str = "warn",
    estimate: Mapping[str, int] | None = None,
    keep: bool = False,
    connection: str = "script",
) -> Iterator[MeteredLoad]:
    """Run a load that draws what it spends from its reservation, and gives the rest back at the end.

    :param session: its calls are counted by themselves; without one, say what was spent: ``load.add({...})``.
    :param on_overspend: what to do when it spends more than it was granted: ``warn``, ``extend``, or ``fail``.
    :param estimate: what the formula said before any correction, if that is not what was asked for.
    :param keep: whether the reservation stays after the block, for the next one that uses it.
    :param connection: names who runs this, in errors.
    :raises ValueError: if ``reservation`` is none or an argument makes no sense.
    :raises OverspentError: in the block, with ``on_overspend="fail"``.
    """
    ledgers: list[QuotaLedger] = []

    def find() -> QuotaLedger:
        if not ledgers:
            ledgers.append(open_ledger(store))
        return ledgers[0]

    load = MeteredLoad(reservation, find, where=Where(connection), on_overspend=on_overspend, estimate=estimate)
    if session is not None:
        load.watch(session)
    load.begin()
    try:
        yield load
    except BaseException:
        load.close(failed=True)
        raise
    else:
        load.close()
    finally:
        if not keep:
            try:
                find().release(load.reservation_id, datetime.now(UTC))
            except StoreError as away:
                log.warning("Reservation %s lapses by itself; it could not be released. %s", load.reservation_id, away)


def _known(outcome: Outcome | None, reservation_id: str) -> Outcome:
    if outcome is None:
        raise ValueError(
            f"The store knows no reservation {reservation_id!r}: give the sensor's XCom (gate.output) as "
            "'reservation', and the store that the sensor used."
        )
    return outcome
