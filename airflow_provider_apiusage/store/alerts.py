"""Alerts: which are open, whom they were told, and how far the rules of a task have been evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update

from airflow_provider_apiusage.store.engine import looking, writing
from airflow_provider_apiusage.store.schema import alert, alert_watch, snapshot
from airflow_provider_apiusage.store.usage_store import insert_unless_there, lock_org
from airflow_provider_apiusage.usage.alerts import AlertRule
from airflow_provider_apiusage.usage.alerts_edges import (
    Change,
    Edge,
    Episode,
    Message,
    OpenAlert,
    evaluate,
    falls_due,
    finished,
    messages_of,
)
from airflow_provider_apiusage.usage.alerts_judging import AlertEvidence
from airflow_provider_apiusage.usage.retention import KEEP

TELLING_TAKES = timedelta(minutes=10)
"""How long one task may take to tell what it has taken over; another one tells it after that."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came of one evaluation.

    :param changes: what opened and resolved just now.
    :param messages: what the caller is to tell; nobody else tells it for :data:`TELLING_TAKES`.
    :param open: what is open now, oldest first.
    """

    changes: tuple[Change, ...]
    messages: tuple[Message, ...]
    open: tuple[OpenAlert, ...]


class AlertStore:
    """The alerts of all orgs in one store.

    A **scope** keeps the alerts of one task apart from those of others: each has rules and notifiers of its own.

    :param engine: prepared and migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def evaluate(
        self,
        scope: str,
        rules: Sequence[AlertRule],
        evidence: AlertEvidence,
        now: datetime,
        labels: Sequence[str] = (),
    ) -> Evaluated:
        """Evaluate rules, keep what opens and resolves, and take over what is to be told; in one transaction.

        Two that do it at once open an alert once, and one of them tells it. Who comes with older evidence than was
        evaluated already changes nothing.

        :param scope: whose rules they are.
        :param rules: with names of their own.
        :param evidence: what is known.
        :param now: our clock.
        :param labels: of the notifiers.
        :raises StoreUnavailableError: if the store cannot be written.
        """
        org_id, by_name = evidence.org_id, {rule.name: rule for rule in rules}
        with self._locked(org_id) as connection:
            unfinished = _unfinished(connection, org_id, scope)
            if _is_news(connection, org_id, scope, evidence.at):
                is_open = [OpenAlert(row.rule, row.opened_at, row.opened) for row in unfinished if not row.resolved_at]
                changes = evaluate(rules, evidence, is_open, now)
            else:
                changes = ()
            _keep(connection, org_id, scope, changes)
            rows = _unfinished(connection, org_id, scope) if changes else unfinished
            due = {row.id for row in rows if falls_due(_episode(row), by_name, now)}
            if due:
                _mark(connection, due, due_at=now)
                rows = _unfinished(connection, org_id, scope)
            free = [_episode(row) for row in rows if row.claimed_until is None or row.claimed_until <= now]
            messages = messages_of(free, labels, by_name, now)
            _mark(connection, {message.episode_id for message in messages}, claimed_until=now + TELLING_TAKES)
            # Where a notifier was taken out of the task, nobody is left to be told.
            _mark(connection, {each.id for each in free if finished(each, labels)}, finished_at=now)
            connection.execute(delete(alert).where(alert.c.org_id == org_id, alert.c.resolved_at < now - KEEP))
            open_now = tuple(OpenAlert(row.rule, row.opened_at, row.opened) for row in rows if not row.resolved_at)
        return Evaluated(changes, messages, open_now)

    def told(
        self, org_id: str, messages: Iterable[Message], done: Iterable[Message], now: datetime, labels: Sequence[str]
    ) -> None:
        """Keep what was told, and let go of the rest, so that the next evaluation tells it.

        :param messages: all that :meth:`evaluate` gave.
        :param done: those of them that were told.
        :param now: our clock.
        :param labels: of the notifiers.
        :raises StoreUnavailableError: if the store cannot be written.
        """
        amounts: dict[int, dict[str, int]] = {}
        for message in done:
            episode = amounts.setdefault(message.episode_id, {})
            episode[message.label] = max(episode.get(message.label, 0), 1 if message.edge is Edge.OPENED else 2)
        ids = sorted({message.episode_id for message in messages})
        if not ids:
            return
        with self._locked(org_id) as connection:
            for row in connection.execute(select(alert).where(alert.c.id.in_(ids))).all():
                told = {**row.told, **amounts.get(row.id, {})}
                values: dict[str, Any] = {"told": told, "claimed_until": None}
                if finished(_episode(row, told), labels):
                    values["finished_at"] = now
                connection.execute(update(alert).where(alert.c.id == row.id).values(**values))

    def open_alerts(self, org_id: str) -> tuple[OpenAlert, ...]:
        """Return what is open in an org, of all scopes, oldest first."""
        query = select(alert.c.rule, alert.c.opened_at, alert.c.opened).where(
            alert.c.org_id == org_id, alert.c.resolved_at.is_(None)
        )
        with looking(self._engine) as connection:
            return tuple(OpenAlert(*row) for row in connection.execute(query.order_by(alert.c.opened_at, alert.c.id)))

    def latest_snapshot_at(self, org_id: str) -> datetime | None:
        """Return the org's instant of its latest snapshot, or ``None`` if there never was one."""
        query = select(func.max(snapshot.c.observed_at)).where(snapshot.c.org_id == org_id)
        with looking(self._engine) as connection:
            found: datetime | None = connection.execute(query).scalar_one()
            return found

    @contextmanager
    def _locked(self, org_id: str) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            lock_org(connection, org_id)
            yield connection


def _unfinished(connection: Connection, org_id: str, scope: str) -> Sequence[Row[Any]]:
    query = select(alert).where(alert.c.org_id == org_id, alert.c.scope == scope, alert.c.finished_at.is_(None))
    return connection.execute(query.order_by(alert.c.opened_at, alert.c.id)).all()


def _is_news(connection: Connection, org_id: str, scope: str, at: datetime) -> bool:
    """Keep the instant of the evidence, and tell whether none later was evaluated before."""
    this = alert_watch.c.org_id == org_id, alert_watch.c.scope == scope
    row = {"org_id": org_id, "scope": scope, "evidence_at": at}
    seen: datetime | None = connection.execute(select(alert_watch.c.evidence_at).where(*this)).scalar_one_or_none()
    if seen is None:
        insert_unless_there(connection, alert_watch, [row])
    elif seen < at:
        connection.execute(update(alert_watch).where(*this).values(evidence_at=at))
    return seen is None or seen <= at


def _keep(connection: Connection, org_id: str, scope: str, changes: Iterable[Change]) -> None:
    for change in changes:
        figures = dict(change.figures)
        if change.edge is Edge.OPENED:
            values = {
                "org_id": org_id,
                "scope": scope,
                "rule": change.rule,
                "limit_name": change.limit_name,
                "opened_at": change.at,
                "opened": figures,
                "told": {},
            }
            connection.execute(insert(alert).values(**values))
            continue
        this = alert.c.org_id == org_id, alert.c.scope == scope, alert.c.rule == change.rule
        connection.execute(
            update(alert).where(*this, alert.c.resolved_at.is_(None)).values(resolved_at=change.at, resolved=figures)
        )


def _mark(connection: Connection, ids: Iterable[int], **values: Any) -> None:
    some = sorted(ids)
    if some:
        connection.execute(update(alert).where(alert.c.id.in_(some)).values(**values))


def _episode(row: Row[Any], told: Mapping[str, int] | None = None) -> Episode:
    return Episode(
        id=row.id,
        rule=row.rule,
        opened=row.opened,
        opened_at=row.opened_at,
        resolved=row.resolved,
        due_at=row.due_at,
        told=row.told if told is None else told,
    )
