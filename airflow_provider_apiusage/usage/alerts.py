"""Rules of alerts, as a DAG file writes them: ``used_above(0.8)``, ``rises_by(0.2, within=timedelta(hours=1))``,
``runs_out_before("18:00", timezone="Europe/Paris")``, ``no_snapshot_for(timedelta(hours=1))``.

A rule is a frozen dataclass; the same can be written as plain JSON (:func:`rules_from`). What becomes of it is in
``alerts_judging`` (is a rule met?), ``alerts_edges`` (what opens and resolves, who is told), ``alerts_text``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import time, timedelta
from typing import Any, ClassVar

from airflow_provider_apiusage.usage.alerts_mutes import Mute as Mute
from airflow_provider_apiusage.usage.alerts_mutes import mute_between as mute_between
from airflow_provider_apiusage.usage.alerts_mutes import mute_from_json, time_of_day, zone
from airflow_provider_apiusage.usage.alerts_mutes import mute_on as mute_on
from airflow_provider_apiusage.usage.alerts_mutes import mute_until as mute_until
from airflow_provider_apiusage.usage.arguments import severity as severity_from
from airflow_provider_apiusage.usage.model import API_REQUESTS, Severity

MAX_AGE = timedelta(hours=1)
"""Figures older than this are taken for unknown."""

LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """What all rules have.

    :param name: what the alert is called; of two rules with one name, state could not be kept apart.
    :param limit_name: Salesforce's name of the limit.
    :param severity: for whoever is told.
    :param mutes: when nobody is told.
    """

    kind: ClassVar[str]
    name: str
    limit_name: str = API_REQUESTS
    severity: Severity = Severity.WARNING
    mutes: tuple[Mute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedAbove(AlertRule):
    """At least a share of a limit is used.

    :param share: of the limit, 0.8 for 80 %.
    :param resolve_below: the alert resolves below this share, which is not above ``share``.
    :param max_age: a reading older than this is taken for unknown.
    """

    kind: ClassVar[str] = "used_above"
    share: float
    resolve_below: float
    max_age: timedelta = MAX_AGE


@dataclass(frozen=True, slots=True, kw_only=True)
class RisesBy(AlertRule):
    """What is used has risen by at least a share of the limit within some time.

    :param share: of the limit, 0.2 for 20 points.
    :param within: from the lowest use in so long before the latest reading.
    :param resolve_below: the alert resolves when the rise is below this share, which is not above ``share``.
    :param max_age: a reading older than this is taken for unknown.
    """

    kind: ClassVar[str] = "rises_by"
    share: float
    within: timedelta
    resolve_below: float
    max_age: timedelta = MAX_AGE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOutBefore(AlertRule):
    """The forecast expects ``DailyApiRequests`` to be used up before the next time that a clock shows so late.

    :param before: local time.
    :param timezone: of it.
    :param margin: the alert resolves when that is expected so much later than ``before``, or not within 24 hours.
    :param max_age: a forecast from older readings is taken for unknown.
    """

    kind: ClassVar[str] = "runs_out_before"
    before: time
    timezone: str
    margin: timedelta
    max_age: timedelta = MAX_AGE


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSnapshotFor(AlertRule):
    """No snapshot was kept for some time, or ever.

    :param duration: how long.
    """

    kind: ClassVar[str] = "no_snapshot_for"
    duration: timedelta


def used_above(
    share: float | str,
    limit_name: str = API_REQUESTS,
    *,
    resolve_below: float | str | None = None,
    max_age: timedelta | float = MAX_AGE,
    **common: Any,
) -> UsedAbove:
    """Alert while at least a share of a limit is used: ``used_above(0.8)``, ``used_above("80%")``.

    :param share: of the limit; more than 1 for use beyond a soft limit.
    :param limit_name: Salesforce's name of the limit.
    :param resolve_below: default 5 points less (a tenth less for small shares), so that a figure that wobbles around
        ``share`` is told once.
    :param max_age: ``timedelta`` or seconds; older readings neither open nor resolve the alert.
    :param common: ``name``, ``severity`` (``info``, ``warning``, ``error``) and ``mutes``.
    :raises ValueError: if an argument makes no sense.
    """
    opens = _share("share", share)
    lower = round(opens - min(0.05, opens / 10), 6)
    resolves = lower if resolve_below is None else _share("resolve_below", resolve_below)
    return UsedAbove(
        share=opens,
        resolve_below=_not_above(resolves, opens),
        max_age=_duration("max_age", max_age),
        **_common(f"{in_percent(opens)} of {limit_name} used", limit_name, common),
    )


def rises_by(
    share: float | str,
    within: timedelta | float,
    limit_name: str = API_REQUESTS,
    *,
    resolve_below: float | str | None = None,
    max_age: timedelta | float = MAX_AGE,
    **common: Any,
) -> RisesBy:
    """Alert while what is used has risen by a share of the limit: ``rises_by(0.2, within=timedelta(hours=1))``.

    :param share: of the limit: 0.2 is 20 points.
    :param within: ``timedelta`` or seconds.
    :param limit_name: Salesforce's name of the limit.
    :param resolve_below: default half of ``share``.
    :param max_age: as in :func:`used_above`.
    :param common: as in :func:`used_above`.
    :raises ValueError: if an argument makes no sense.
    """
    opens, time_span = _share("share", share), _duration("within", within)
    resolves = opens / 2 if resolve_below is None else _share("resolve_below", resolve_below)
    return RisesBy(
        share=opens,
        within=time_span,
        resolve_below=_not_above(resolves, opens),
        max_age=_duration("max_age", max_age),
        **_common(f"{limit_name} up by {in_percent(opens)} within {in_time(time_span)}", limit_name, common),
    )


def runs_out_before(
    before: str | time,
    *,
    timezone: str = "UTC",
    margin: timedelta | float = timedelta(hours=1),
    max_age: timedelta | float = MAX_AGE,
    **common: Any,
) -> RunsOutBefore:
    """Alert while the forecast expects the calls to run out: ``runs_out_before("18:00", timezone="Europe/Paris")``.

    :param before: local time; after it has passed, that of the next day counts.
    :param timezone: IANA name.
    :param margin: ``timedelta`` or seconds: so much later it must be before the alert resolves.
    :param max_age: as in :func:`used_above`, of the newest reading that the forecast is made from.
    :param common: as in :func:`used_above`.
    :raises ValueError: if an argument makes no sense.
    """
    clock, where = time_of_day("before", before), zone("timezone", timezone)
    return RunsOutBefore(
        before=clock,
        timezone=where,
        margin=_duration("margin", margin, least=timedelta(0)),
        max_age=_duration("max_age", max_age),
        **_common(f"{API_REQUESTS} run out before {clock:%H:%M} {where}", API_REQUESTS, common),
    )


def no_snapshot_for(duration: timedelta | float, **common: Any) -> NoSnapshotFor:
    """Alert while no snapshot is kept: ``no_snapshot_for(timedelta(hours=1))``. It opens also if there never was one.

    :param duration: ``timedelta`` or seconds; longer than the time between two snapshots.
    :param common: as in :func:`used_above`.
    :raises ValueError: if an argument makes no sense.
    """
    longest = _duration("duration", duration)
    return NoSnapshotFor(duration=longest, **_common(f"No snapshot for {in_time(longest)}", API_REQUESTS, common))


_BY_KIND: Mapping[str, Callable[..., AlertRule]] = {
    "used_above": used_above,
    "rises_by": rises_by,
    "runs_out_before": runs_out_before,
    "no_snapshot_for": no_snapshot_for,
}


def rules_from(
    rules: Iterable[AlertRule | Mapping[str, Any]], mutes: Iterable[Mute | Mapping[str, Any]] = ()
) -> tuple[AlertRule, ...]:
    """Return rules from what a DAG author wrote: dataclasses, or plain JSON such as
    ``{"rule": "used_above", "share": 0.8}``, whose other keys are the arguments of the function of that name.

    :param mutes: for all of them, besides their own.
    :raises ValueError: if there is no rule, one makes no sense, or two have the same name.
    """
    every = tuple(_mute(mute) for mute in mutes)
    made = [_rule(rule) for rule in rules]
    if not made:
        raise ValueError("There is no rule; give at least one, such as used_above(0.8).")
    names = [rule.name for rule in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Two rules have the name {twice[0]!r}; give one of them another: name='...'.")
    return tuple(replace(rule, mutes=(*rule.mutes, *every)) for rule in made)


def in_percent(share: float) -> str:
    """Return a share as a person writes it: ``80%``, ``82.5%``."""
    return f"{round(share * 100, 1):g}%"


def in_time(duration: timedelta) -> str:
    """Return a duration as a person writes it: ``1 h``, ``2 d 3 h``, ``90 s``."""
    seconds = round(duration.total_seconds())
    if 0 < seconds < 120:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def _rule(rule: AlertRule | Mapping[str, Any]) -> AlertRule:
    if isinstance(rule, AlertRule):
        return rule
    if not isinstance(rule, Mapping) or rule.get("rule") not in _BY_KIND:
        raise ValueError(f"{rule!r} is no rule; write one like {{'rule': 'used_above', 'share': 0.8}}.")
    arguments = {name: value for name, value in rule.items() if name != "rule"}
    try:
        return _BY_KIND[rule["rule"]](**arguments)
    except TypeError as unfit:
        raise ValueError(f"The rule {dict(rule)!r} has wrong arguments: {unfit}.") from None


def _mute(mute: Mute | Mapping[str, Any]) -> Mute:
    return mute if isinstance(mute, Mute) else mute_from_json(mute)


def _common(default_name: str, limit_name: str, common: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(common) - {"name", "severity", "mutes"})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no argument of a rule; there are name, severity and mutes.")
    name = common.get("name") or default_name
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise ValueError(f"name={name!r} must be text of at most {LONGEST_NAME} characters.")
    mutes = common.get("mutes") or ()
    return {
        "name": name,
        "limit_name": limit_name,
        "severity": severity_from("severity", common.get("severity")) or Severity.WARNING,
        "mutes": tuple(_mute(mute) for mute in ([mutes] if isinstance(mutes, (Mute, Mapping)) else mutes)),
    }


def _share(field: str, value: float | str) -> float:
    try:
        if isinstance(value, str) and value.strip().endswith("%"):
            share = float(value.strip()[:-1]) / 100
        elif isinstance(value, bool):
            raise ValueError
        else:
            share = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{field}={value!r} is no share; write 0.8 or '80%'.") from None
    if not 0 < share <= 10:
        raise ValueError(f"{field}={value!r} is no share of a limit; write 0.8 or '80%'.")
    return share


def _not_above(resolves: float, opens: float) -> float:
    if resolves > opens:
        raise ValueError(f"resolve_below={resolves:g} is above share={opens:g}: the alert would resolve as it opens.")
    return resolves


def _duration(field: str, value: timedelta | float, least: timedelta = timedelta(seconds=1)) -> timedelta:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value < least:
        raise ValueError(f"{field}={value!r} must be a timedelta or seconds, and at least {least.total_seconds():g} s.")
    return value
