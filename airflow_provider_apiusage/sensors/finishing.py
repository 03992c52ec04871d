"""How a gate ends: in the triggerer, or by taking up on a worker what was granted there."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseSensorOperator
from airflow.sdk import timezone

from airflow_provider_apiusage.quota.wire import reservation_to_json

log = logging.getLogger(__name__)


def may_finish_in_triggerer(sensor: BaseSensorOperator, *, as_written: type[BaseSensorOperator]) -> bool:
    """Whether nothing is lost by it: Airflow then sends no asset events, calls nobody, asks no XCom backend.

    :param sensor: the gate.
    :param as_written: its class as we wrote it; what a subclass adds to the end of the task would not run.
    """
    from airflow.sdk.execution_time.xcom import XCom

    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:  # before Airflow 3.2
        from airflow.listeners.listener import get_listener_manager  # type: ignore[assignment]

    its_class = type(sensor)
    return (
        not (sensor.outlets or sensor.on_success_callback or getattr(sensor, "_post_execute_hook", None))
        and its_class.post_execute is BaseSensorOperator.post_execute
        and getattr(its_class, "execute_complete", None) is getattr(as_written, "execute_complete", None)
        and not getattr(sensor, "returns_dag_result", False)
        and XCom.__name__ == "BaseXCom"
        and not get_listener_manager().has_listeners
    )


def taken_up(granted: dict[str, Any], lease: timedelta, store_conn_id: str | None) -> dict[str, Any] | None:
    """Renew a reservation by the store alone; ``None`` if it has lapsed.

    :param granted: as the triggerer told it.
    :param lease: how long it holds from now on.
    :param store_conn_id: where it is kept.
    :raises StoreUnavailableError: if the store is away, and the reservation has lapsed by what is known here.
    """
    from airflow_provider_apiusage.hooks.store import open_ledger
    from airflow_provider_apiusage.store.errors import StoreUnavailableError

    now = timezone.utcnow()
    try:
        held = open_ledger(store_conn_id).renew(granted["reservation_id"], lease, now)
    except StoreUnavailableError as away:
        if datetime.fromisoformat(granted["held_until"]) <= now:
            raise
        log.warning("The reservation holds until %s: its lease could not be renewed. %s", granted["held_until"], away)
        return granted
    return None if held is None else reservation_to_json(held)
