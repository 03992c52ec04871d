"""Alerts in words: a title of a few words, and one sentence with the figures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_apiusage.usage.alerts import AlertRule, RisesBy, RunsOutBefore, UsedAbove, in_percent, in_time


def title_of(rule: AlertRule, state: str) -> str:
    """Return the title of a change.

    :param state: ``"opened"`` or ``"resolved"``.
    """
    return rule.name if state == "opened" else f"Resolved: {rule.name}"


def message_of(rule: AlertRule, figures: Mapping[str, Any]) -> str:
    """Return one sentence about a change.

    :param rule: of the alert.
    :param figures: of the change.
    """
    opened = figures["state"] == "opened"
    said = _said(rule, figures, opened=opened)
    if not opened:
        lasted = datetime.fromisoformat(figures["until"]) - datetime.fromisoformat(figures["since"])
        said = f"{said} It was open for {in_time(lasted)}."
    return f"Org {figures['org_id']}: {said}"


def _said(rule: AlertRule, figures: Mapping[str, Any], *, opened: bool) -> str:
    if isinstance(rule, UsedAbove):
        mark = f"which is {in_percent(rule.share)} or more" if opened else f"below {in_percent(rule.resolve_below)}"
        return f"{_use(figures)} ({in_percent(figures['value'])}), {mark}; read at {_utc(figures['observed_at'])}."
    if isinstance(rule, RisesBy):
        mark = f"{in_percent(rule.share)} or more" if opened else f"less than {in_percent(rule.resolve_below)}"
        return (
            f"{_use(figures)}, up by {in_percent(figures['value'])} of the limit within {in_time(rule.within)} "
            f"({mark}); read at {_utc(figures['observed_at'])}."
        )
    if isinstance(rule, RunsOutBefore):
        deadline = _local(figures["threshold"], rule.timezone)
        if figures["value"] is None:
            return f"{rule.limit_name} are not expected to run out within 24 hours."
        when = _local(figures["value"], rule.timezone)
        return f"{rule.limit_name} are expected to run out at {when}, {'before' if opened else 'after'} {deadline}."
    if figures["snapshot_at"] is None:
        return "there is no snapshot at all; run ApiUsageSnapshotOperator."
    age = in_time(timedelta(seconds=figures["value"]))
    return f"the latest snapshot is of {_utc(figures['snapshot_at'])}, {age} ago."


def _use(figures: Mapping[str, Any]) -> str:
    used, limit = figures["used"], figures["limit"]
    if used is None or limit is None:
        return f"all {figures['limit_name']} are used"
    return f"{used:,} of {limit:,} {figures['limit_name']} are used"


def _utc(instant: str) -> str:
    return _local(instant, "UTC")


def _local(instant: str, timezone: str) -> str:
    return f"{datetime.fromisoformat(instant).astimezone(ZoneInfo(timezone)):%d %b %H:%M} {timezone}"
