"""What opens and what resolves, and who is to be told of it: alerts are edges, not levels; pure, no clock.

An **episode** is one alert from the edge at which it opens to the one at which it resolves. Whom it is told is kept
beside it, for each notifier by its label: so one that fails hears it next time, and the others do not hear it twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_provider_apiusage.usage.alerts import AlertRule
from airflow_provider_apiusage.usage.alerts_judging import AlertEvidence, Judged, Verdict, judge
from airflow_provider_apiusage.usage.alerts_mutes import muted
from airflow_provider_apiusage.usage.alerts_text import message_of, title_of

ASSET_EVENT = "asset event"
"""The label under which asset events are told; they are for DAGs, which sleep at no time, so no mute keeps them."""

OPENING, RESOLVING = 1, 2
"""How much of an episode a label has been told; 0 is nothing."""


class Edge(StrEnum):
    """What has become of an alert."""

    OPENED = "opened"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that is open.

    :param rule: the name of the rule.
    :param opened_at: when it opened (our clock).
    :param figures: as its change had them.
    """

    rule: str
    opened_at: datetime
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """An edge.

    :param edge: which.
    :param rule: the name of the rule.
    :param limit_name: Salesforce's name of the limit.
    :param at: when (our clock).
    :param figures: what a notifier may show, JSON-safe; ``docs/alerts.md`` lists them.
    """

    edge: Edge
    rule: str
    limit_name: str
    at: datetime
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Episode:
    """An alert as the store keeps it.

    :param id: of its row.
    :param rule: the name of the rule.
    :param opened: the figures of its opening.
    :param opened_at: when it opened (our clock).
    :param resolved: the figures of its end; ``None`` while it is open.
    :param due_at: when people were to be told first; ``None`` if it was muted all the time.
    :param told: by label, how much has been told.
    """

    id: int
    rule: str
    opened: Mapping[str, Any]
    opened_at: datetime
    resolved: Mapping[str, Any] | None = None
    due_at: datetime | None = None
    told: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell one notifier.

    :param episode_id: of which alert.
    :param label: whom.
    :param edge: what of it.
    :param figures: with which figures.
    """

    episode_id: int
    label: str
    edge: Edge
    figures: Mapping[str, Any]


def evaluate(
    rules: Sequence[AlertRule], evidence: AlertEvidence, open_alerts: Collection[OpenAlert], now: datetime
) -> tuple[Change, ...]:
    """Say which alerts open and which resolve.

    A rule opens its alert when it is met, and resolves it when it is clearly not met any more; between the two, and
    while the figures are not known, nothing changes. An alert whose rule is gone resolves.

    :param rules: with names of their own.
    :param evidence: what is known.
    :param open_alerts: of these rules, and of earlier ones.
    :param now: our clock.
    """
    left = {alert.rule: alert for alert in open_alerts}
    changes = []
    for rule in rules:
        judged, alert = judge(rule, evidence), left.pop(rule.name, None)
        if alert is None and judged.verdict is Verdict.MET:
            changes.append(_change(Edge.OPENED, rule, evidence, judged, now, None))
        elif alert is not None and judged.verdict is Verdict.NOT_MET:
            changes.append(_change(Edge.RESOLVED, rule, evidence, judged, now, alert))
    for alert in left.values():
        changes.append(_withdrawn(alert, now))
    return tuple(changes)


def falls_due(episode: Episode, rules: Mapping[str, AlertRule], now: datetime) -> bool:
    """Tell whether people are to be told of an open alert from now on, because no mute covers it."""
    return episode.due_at is None and episode.resolved is None and not _muted(episode, rules, now)


def messages_of(
    episodes: Iterable[Episode], labels: Sequence[str], rules: Mapping[str, AlertRule], now: datetime
) -> tuple[Message, ...]:
    """Say what is to be told now, in the order in which it happened.

    An alert that opened while it was muted is told when the mute ends, if it is still open, and never otherwise. One
    that was told, or should have been, is told to have resolved as soon as no mute covers that.

    :param episodes: those that are not finished.
    :param labels: of the notifiers.
    :param rules: by name.
    :param now: our clock.
    """
    found = []
    for episode in sorted(episodes, key=lambda each: (each.opened_at, each.id)):
        quiet = episode.due_at is None or _muted(episode, rules, now)
        for label in (ASSET_EVENT, *labels):
            if quiet and label != ASSET_EVENT:
                continue
            told = episode.told.get(label, 0)
            if told < OPENING:
                found.append(Message(episode.id, label, Edge.OPENED, episode.opened))
            if episode.resolved is not None and told < RESOLVING:
                found.append(Message(episode.id, label, Edge.RESOLVED, episode.resolved))
    return tuple(found)


def finished(episode: Episode, labels: Iterable[str]) -> bool:
    """Tell whether all that is to be told of an episode has been told."""
    if episode.resolved is None:
        return False
    asked = (ASSET_EVENT, *labels) if episode.due_at is not None else (ASSET_EVENT,)
    return all(episode.told.get(label, 0) == RESOLVING for label in asked)


def _muted(episode: Episode, rules: Mapping[str, AlertRule], now: datetime) -> bool:
    rule = rules.get(episode.rule)
    return rule is not None and muted(rule.mutes, now)


def _change(
    edge: Edge, rule: AlertRule, evidence: AlertEvidence, judged: Judged, now: datetime, alert: OpenAlert | None
) -> Change:
    figures = {
        "state": edge.value,
        "rule": rule.name,
        "kind": rule.kind,
        "severity": rule.severity.value,
        "org_id": evidence.org_id,
        "limit_name": rule.limit_name,
        "value": judged.value,
        "threshold": judged.threshold,
        "since": (now if alert is None else alert.opened_at).isoformat(),
        "until": now.isoformat() if edge is Edge.RESOLVED else None,
        "at": evidence.at.isoformat(),
        **judged.figures,
    }
    told = {"title": title_of(rule, edge.value), "message": message_of(rule, figures)}
    return Change(edge, rule.name, rule.limit_name, now, {**figures, **told})


def _withdrawn(alert: OpenAlert, now: datetime) -> Change:
    figures = {
        **alert.figures,
        "state": Edge.RESOLVED.value,
        "rule": alert.rule,
        "until": now.isoformat(),
        "value": None,
        "title": f"Resolved: {alert.rule}",
        "message": f"The rule {alert.rule!r} is not evaluated any more, so its alert is closed.",
    }
    return Change(Edge.RESOLVED, alert.rule, str(alert.figures.get("limit_name", "")), now, figures)
