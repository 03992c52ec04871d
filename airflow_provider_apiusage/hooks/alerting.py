"""Alerts between the store and a task: what is known, what opens and resolves, and telling it to notifiers."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apiusage.store.org_connections import OrgConnections
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.alerts import AlertRule, RisesBy, RunsOutBefore, UsedAbove
from airflow_provider_apiusage.usage.alerts_judging import AlertEvidence, Foretold, look_back
from airflow_provider_apiusage.usage.forecast import SPAN, forecast, runs_out_at
from airflow_provider_apiusage.usage.hourly import HOUR

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook


def org_of(hook: ApiUsageHook) -> str:
    """Return the id of the org that the connection was last seen to lead to, and ask the org if it never was.

    So alerts need no login: that no snapshot can be taken, because the org refuses us, is told as well.

    :raises ApiUsageError: if the org has to be asked, and cannot be.
    :raises StoreError: if the store cannot be used.
    """
    seen = [each for each in OrgConnections(hook.store.engine).all() if each.conn_id == hook.conn_id]
    return max(seen, key=lambda each: each.seen_at).org_id if seen else hook.get_org_id()


def gather(engine: Engine, org_id: str, rules: Sequence[AlertRule], now: datetime) -> AlertEvidence:
    """Return what the store knows that bears on the rules. Spends no API call.

    :param now: our clock.
    :raises StoreUnavailableError: if the store cannot be read.
    """
    from airflow_provider_apiusage.store.alerts import AlertStore

    store = UsageStore(engine)
    newest = store.latest_reading(org_id)
    # Readings carry the org's time: the newest one shows how far it is from ours.
    at = now if newest is None else max(now + newest.skew, newest.observed_at)
    spans: dict[str, timedelta] = {}
    for rule in rules:
        if isinstance(rule, (UsedAbove, RisesBy)):
            spans[rule.limit_name] = max(spans.get(rule.limit_name, timedelta(0)), look_back(rule))
    return AlertEvidence(
        org_id=org_id,
        at=at,
        readings={name: store.readings(org_id, name, at - span, at) for name, span in spans.items()},
        snapshot_at=AlertStore(engine).latest_snapshot_at(org_id),
        foretold=_foretold(store, org_id, at) if any(isinstance(rule, RunsOutBefore) for rule in rules) else None,
    )


def _foretold(store: UsageStore, org_id: str, at: datetime) -> Foretold | None:
    """Return when calls run out; what gates hold is not kept back, since the forecast expects loads as they come."""
    evidence = store.evidence(org_id, at, span=SPAN)
    made = None if evidence is None else forecast(evidence)
    if evidence is None or made is None or made.limit is None or made.points[0].used is None:
        return None
    seen = [reading.observed_at for reading in evidence.readings if reading.used is not None]
    seen += [hour.starts_at + HOUR for hour in evidence.hours]
    return Foretold(runs_out_at(made).expected_at, max(seen)) if seen else None


def labels_of(notifiers: Sequence[Any]) -> tuple[str, ...]:
    """Return the name of each notifier, under which the store keeps what it was told: its class, and a number."""
    found: list[str] = []
    for notifier in notifiers:
        kind = notifier if hasattr(notifier, "__qualname__") else type(notifier)
        name = kind.__qualname__
        number = sum(label == name or label.startswith(f"{name} #") for label in found) + 1
        found.append(name if number == 1 else f"{name} #{number}")
    return tuple(found)


def notify(notifier: Any, context: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Tell one notifier one change, and let pass what it raises.

    Calling a ``BaseNotifier`` would swallow that, and rendering its templates changes it: so a copy is rendered, and
    its ``notify`` is called, or ``async_notify`` if it has only that.

    :param notifier: of any kind that Airflow has, or a function of the context.
    :param context: of the task.
    :param figures: of the change; templates and functions find them as ``alert``.
    """
    told = {**context, "alert": dict(figures)}
    if not hasattr(notifier, "render_template_fields"):
        notifier(told)
        return
    from airflow.sdk.bases.notifier import BaseNotifier

    one = copy.copy(notifier)
    told |= {name: getattr(one, name) for name in one.template_fields}
    one.render_template_fields(told)
    if type(one).notify is BaseNotifier.notify and type(one).async_notify is not BaseNotifier.async_notify:
        asyncio.run(one.async_notify(told))
    else:
        one.notify(told)
