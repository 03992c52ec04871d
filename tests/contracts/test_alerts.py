"""Alerts in the store: opened and told once, whoever evaluates, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from airflow_provider_apiusage.store.alerts import TELLING_TAKES, AlertStore, Evaluated
from airflow_provider_apiusage.store.schema import alert
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.alerts import AlertRule, mute_until, rules_from
from airflow_provider_apiusage.usage.alerts_edges import ASSET_EVENT
from airflow_provider_apiusage.usage.model import Snapshot
from airflow_provider_apiusage.usage.retention import KEEP
from tests.support.alerting import LOWER, RULES, UPPER, evaluate_at_once, used
from tests.support.processes import Racers
from tests.support.quota import NOW, ORG, minutes

SCOPE = "dag.alerts"
LABELS = ("mail", "chat")
ROUNDS = 20


class Task:
    """A task that evaluates rules, and tells what it is given to all but those who fail.

    :param store: of the alerts.
    """

    def __init__(self, store: AlertStore, scope: str = SCOPE) -> None:
        self.store, self.scope = store, scope

    def run(
        self, calls: int, at: datetime, failing: Iterable[str] = (), rules: tuple[AlertRule, ...] = RULES
    ) -> list[tuple[str, str, str]]:
        """Evaluate so many calls, and return who was told what of which rule."""
        found = self.store.evaluate(self.scope, rules, used(calls, at), at, LABELS)
        return self.tell(found, at, failing)

    def tell(self, found: Evaluated, at: datetime, failing: Iterable[str] = ()) -> list[tuple[str, str, str]]:
        done = [message for message in found.messages if message.label not in failing]
        self.store.told(ORG, found.messages, done, at, LABELS)
        return [(message.label, message.edge.value, message.figures["rule"]) for message in done]


@pytest.fixture
def alerts(engine: Engine) -> AlertStore:
    """An empty store of alerts."""
    return AlertStore(engine)


def names(alerts: AlertStore) -> list[str]:
    return [each.rule for each in alerts.open_alerts(ORG)]


def everybody(edge: str, rule: str) -> list[tuple[str, str, str]]:
    return [(label, edge, rule) for label in (ASSET_EVENT, *LABELS)]


def test_an_alert_is_told_when_it_opens_and_when_it_resolves(engine: Engine, alerts: AlertStore) -> None:
    """In between nothing is told, also by a task that opens the store anew; afterwards it may open again."""
    task = Task(alerts)
    course = [(70_000, []), (85_000, everybody("opened", LOWER)), (86_000, []), (77_000, [])]
    for number, (calls, told) in enumerate(course):
        assert task.run(calls, NOW + number * minutes(15)) == told
    assert names(alerts) == [LOWER]

    restarted = Task(AlertStore(engine))
    assert restarted.run(79_000, NOW + minutes(60)) == []
    assert restarted.run(60_000, NOW + minutes(75)) == everybody("resolved", LOWER)
    assert names(alerts) == []
    assert restarted.run(95_000, NOW + minutes(90)) == [*everybody("opened", LOWER), *everybody("opened", UPPER)]
    assert restarted.run(95_000, NOW + minutes(105)) == []


def test_who_failed_is_told_next_time_and_nobody_else(alerts: AlertStore) -> None:
    """An alert that resolved meanwhile is told whole, in its order; one who has heard it hears nothing twice."""
    task = Task(alerts)

    assert task.run(85_000, NOW, failing=["chat", ASSET_EVENT]) == [("mail", "opened", LOWER)]
    assert task.run(85_000, NOW + minutes(15), failing=["chat"]) == [(ASSET_EVENT, "opened", LOWER)]
    assert task.run(60_000, NOW + minutes(30)) == [
        (ASSET_EVENT, "resolved", LOWER),
        ("mail", "resolved", LOWER),
        ("chat", "opened", LOWER),
        ("chat", "resolved", LOWER),
    ]
    assert task.run(60_000, NOW + minutes(45)) == []


def test_who_is_muted_is_told_when_that_is_over(alerts: AlertStore) -> None:
    """An alert that opened in a mute is told at its end; one that also resolved in it is told to DAGs only."""
    task = Task(alerts)
    quiet = rules_from(RULES, [mute_until(NOW + minutes(60))])

    assert task.run(85_000, NOW, rules=quiet) == [(ASSET_EVENT, "opened", LOWER)]
    assert task.run(60_000, NOW + minutes(15), rules=quiet) == [(ASSET_EVENT, "resolved", LOWER)]
    assert task.run(85_000, NOW + minutes(30), rules=quiet) == [(ASSET_EVENT, "opened", LOWER)]
    assert task.run(85_000, NOW + minutes(60), rules=quiet) == [(label, "opened", LOWER) for label in LABELS]
    assert names(alerts) == [LOWER]


def test_a_task_that_dies_while_it_tells_is_stood_in_for(alerts: AlertStore) -> None:
    """What it has taken over is nobody else's for ten minutes, and then the next one's."""
    dead = alerts.evaluate(SCOPE, RULES, used(85_000), NOW, LABELS)
    assert len(dead.messages) == 3

    task = Task(alerts)
    assert task.run(85_000, NOW + TELLING_TAKES - timedelta(seconds=1)) == []
    assert task.run(85_000, NOW + TELLING_TAKES) == everybody("opened", LOWER)


def test_older_evidence_changes_nothing(alerts: AlertStore) -> None:
    """A task that looked first and evaluates last does not undo what a later look has found."""
    Task(alerts).run(85_000, NOW)

    stale = alerts.evaluate(SCOPE, RULES, used(60_000, NOW - minutes(1)), NOW + minutes(1), LABELS)

    assert (stale.changes, stale.messages) == ((), ())
    assert [each.rule for each in stale.open] == names(alerts) == [LOWER]


def test_tasks_do_not_share_alerts(alerts: AlertStore) -> None:
    """Two tasks with the same rule have notifiers of their own, and each is told; a rule that is gone is closed."""
    assert Task(alerts).run(85_000, NOW) == Task(alerts, "other.alerts").run(85_000, NOW) != []
    assert names(alerts) == [LOWER, LOWER]

    assert Task(alerts).run(85_000, NOW + minutes(15), rules=RULES[1:]) == everybody("resolved", LOWER)
    assert names(alerts) == [LOWER]


def test_a_notifier_that_was_taken_out_leaves_nothing_behind(engine: Engine, alerts: AlertStore) -> None:
    """An alert that only it has not heard of is finished without it."""
    task = Task(alerts)
    task.run(85_000, NOW)
    task.run(60_000, NOW + minutes(15), failing=["chat"])

    assert alerts.evaluate(SCOPE, RULES, used(60_000, NOW + minutes(30)), NOW + minutes(30), ["mail"]).messages == ()
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).where(alert.c.finished_at.is_(None))).scalar_one() == 0


def test_of_two_at_once_one_opens_and_one_tells(engine: Engine, store_url: str) -> None:
    """In each of 20 orgs, two processes evaluate the same figures at the same moment: one alert, told by one."""
    org_ids = [f"00D{number:012d}" for number in range(ROUNDS)]

    with Racers(2) as two:
        outcomes = zip(*two.race(evaluate_at_once, [(store_url, org_ids), (store_url, org_ids)]), strict=True)

    assert all(sorted(each) == [(0, 0), (1, 2)] for each in outcomes)
    assert all(len(AlertStore(engine).open_alerts(org_id)) == 1 for org_id in org_ids)


def test_the_database_keeps_a_second_open_alert_out(engine: Engine, alerts: AlertStore) -> None:
    """Also past our own lock, a rule has one open alert."""
    Task(alerts).run(85_000, NOW)
    row = {"org_id": ORG, "scope": SCOPE, "rule": LOWER, "limit_name": "", "opened_at": NOW, "opened": {}, "told": {}}

    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(alert).values(**row))


@pytest.mark.parametrize(("after", "kept"), [(KEEP, 1), (KEEP + timedelta(seconds=1), 0)])
def test_what_resolved_long_ago_is_dropped(engine: Engine, alerts: AlertStore, after: timedelta, kept: int) -> None:
    """An alert is kept for as long as anything is, and then goes by itself; what is open stays."""
    task = Task(alerts)
    task.run(85_000, NOW)
    task.run(60_000, NOW + minutes(15))
    Task(alerts, "other.alerts").run(85_000, NOW)

    task.run(60_000, NOW + minutes(15) + after)

    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(alert)).scalar_one() == kept + 1


def test_the_latest_snapshot_is_told(alerts: AlertStore, engine: Engine) -> None:
    """Of several, the latest by the org's clock; of none, nothing."""
    assert alerts.latest_snapshot_at(ORG) is None
    for number, at in enumerate((NOW, NOW - minutes(15))):
        UsageStore(engine).add(Snapshot(ORG, at, (), taken_by=str(number)))

    assert alerts.latest_snapshot_at(ORG) == NOW
