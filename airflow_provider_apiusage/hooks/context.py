"""What a running task gives us and gets from us: its name as a holder, asset events."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.quota.model import Decision, Grant, Holder, Wait

if TYPE_CHECKING:
    from airflow.sdk import AssetAlias, Context


def holder_of(context: Context) -> Holder:
    """Return the task instance as a holder: the same for every try of it.

    :param context: the context of a running task.
    """
    ti = context["ti"]
    index = ti.map_index
    return Holder(ti.dag_id, ti.run_id, ti.task_id, -1 if index is None else index)


def asset_alias(event: str) -> AssetAlias:
    """Return the alias through which asset events of one kind are emitted; DAGs can be scheduled on it.

    :param event: ``"snapshot"``, ``"reconciliation"`` or ``"alert"``.
    """
    from airflow.sdk import AssetAlias

    return AssetAlias(f"apiusage_{event}")


def outlets_with(outlets: Any, event: str) -> list[Any]:
    """Return a task's own outlets and the alias of our events.

    :param outlets: what the DAG says: nothing, one outlet, or several, as every operator of Airflow takes them.
    :param event: as in :func:`asset_alias`.
    """
    if not outlets:
        return [asset_alias(event)]
    return [*(outlets if isinstance(outlets, Collection) else [outlets]), asset_alias(event)]


def announce(context: Context, event: str, org_id: str, extra: Mapping[str, Any]) -> None:
    """Emit an asset event for one org.

    :param context: the context of a running task whose ``outlets`` hold :func:`asset_alias`.
    :param event: as in :func:`asset_alias`.
    :param org_id: the 15-character org id; the asset is ``salesforce-usage://<org id>/<event>``.
    :param extra: figures for whoever is triggered by the event, JSON-safe.
    """
    from airflow.sdk import Asset

    asset = Asset(name=f"apiusage_{org_id}_{event}", uri=f"salesforce-usage://{org_id}/{event}")
    context["outlet_events"][asset_alias(event)].add(asset, extra=dict(extra))


def tell(decision: Decision, log: Any) -> None:
    """Log a decision as a sentence a person can act on.

    :param decision: what the gate said.
    :param log: a logger.
    """
    if isinstance(decision, Grant):
        held = f"{decision.reservation.held_until:%Y-%m-%d %H:%M:%S} UTC"
        log.info(
            "Granted: %s Reservation %s holds until %s.", decision.reason, decision.reservation.reservation_id, held
        )
    elif isinstance(decision, Wait):
        opens = f" Earliest opening: {decision.opens_at:%Y-%m-%d %H:%M:%S} UTC." if decision.opens_at else ""
        log.info("Waiting: %s%s Asking again at %s UTC.", decision.reason, opens, f"{decision.until:%H:%M:%S}")
    else:
        log.error("Refused: %s", decision.reason)
