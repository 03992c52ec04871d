"""Alerts are edges: opened once, resolved once, told once."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.alerts import (
    AlertRule,
    Mute,
    mute_until,
    no_snapshot_for,
    rises_by,
    rules_from,
    runs_out_before,
    used_above,
)
from airflow_provider_apiusage.usage.alerts_edges import (
    ASSET_EVENT,
    Change,
    Edge,
    Episode,
    OpenAlert,
    evaluate,
    falls_due,
    finished,
    messages_of,
)
from airflow_provider_apiusage.usage.alerts_judging import AlertEvidence, Foretold, Verdict, judge
from airflow_provider_apiusage.usage.model import API_REQUESTS
from tests.support.quota import NOW, ORG, minutes, reading

HOUR = timedelta(hours=1)
STEP = timedelta(minutes=15)
RULES: tuple[AlertRule, ...] = (
    used_above(0.8),
    rises_by(0.2, within=HOUR),
    runs_out_before("18:00", timezone="Europe/Paris"),
    no_snapshot_for(HOUR),
)


@st.composite
def courses(draw: st.DrawFn) -> list[AlertEvidence]:
    """What is known of an org every quarter of an hour: figures that wobble and jump, and are missing at times."""
    used = draw(st.lists(st.none() | st.integers(60_000, 100_000), min_size=2, max_size=24))
    runs_out = draw(st.lists(st.none() | st.integers(-1, 40), min_size=len(used), max_size=len(used)))
    course, readings, taken_at = [], [], None
    for number, (calls, quarters) in enumerate(zip(used, runs_out, strict=True)):
        at = NOW + number * STEP
        if calls is not None:
            readings.append(reading(calls, at))
            taken_at = at
        foretold = None
        if quarters is not None:
            foretold = Foretold(None if quarters < 0 else at + quarters * STEP, at)
        course.append(AlertEvidence(ORG, at, {API_REQUESTS: tuple(readings)}, taken_at, foretold))
    return course


def applied(open_alerts: list[OpenAlert], changes: tuple[Change, ...]) -> list[OpenAlert]:
    """What is open after changes."""
    gone = {change.rule for change in changes if change.edge is Edge.RESOLVED}
    left = [alert for alert in open_alerts if alert.rule not in gone]
    opened = [OpenAlert(c.rule, c.at, c.figures) for c in changes if c.edge is Edge.OPENED]
    return [*left, *opened]


@given(courses())
def test_opened_and_resolved_alternate(course: list[AlertEvidence]) -> None:
    """Of each rule, an alert opens first, never twice in a row, and resolves once; the same evidence changes nothing
    again; each change has a verdict that is sure, and figures that are JSON."""
    open_alerts: list[OpenAlert] = []
    edges: dict[str, list[Edge]] = defaultdict(list)
    by_name = {rule.name: rule for rule in RULES}
    for evidence in course:
        changes = evaluate(RULES, evidence, open_alerts, evidence.at)
        open_alerts = applied(open_alerts, changes)
        assert evaluate(RULES, evidence, open_alerts, evidence.at + HOUR) == ()
        for change in changes:
            edges[change.rule].append(change.edge)
            sure = Verdict.MET if change.edge is Edge.OPENED else Verdict.NOT_MET
            assert judge(by_name[change.rule], evidence).verdict is sure
            assert json.loads(json.dumps(change.figures)) == change.figures
            assert ORG in change.figures["message"]
    for told in edges.values():
        assert told == [Edge.OPENED, Edge.RESOLVED] * (len(told) // 2) + [Edge.OPENED] * (len(told) % 2)
    assert {alert.rule for alert in open_alerts} == {name for name, told in edges.items() if len(told) % 2}


@given(st.lists(st.integers(75_000, 85_000), min_size=1, max_size=40))
def test_a_figure_that_wobbles_around_the_mark_is_told_once(course: list[int]) -> None:
    """Between the two marks nothing changes, however often the upper one is passed."""
    rules, open_alerts, edges = (used_above(0.8),), [], []
    for number, used in enumerate(course):
        at = NOW + number * minutes(5)
        changes = evaluate(rules, AlertEvidence(ORG, at, {API_REQUESTS: (reading(used, at),)}), open_alerts, at)
        open_alerts = applied(open_alerts, changes)
        edges += [change.edge for change in changes]

    assert edges == ([Edge.OPENED] if max(course) >= 80_000 else [])


def test_an_unknown_figure_changes_nothing_but_is_told_by_the_rule_for_it() -> None:
    """While no snapshot comes, what is open stays open and what is not stays shut; the missing snapshot opens."""
    evidence = AlertEvidence(ORG, NOW, {API_REQUESTS: (reading(90_000, NOW - 2 * HOUR),)}, NOW - 2 * HOUR)
    is_open = OpenAlert(RULES[0].name, NOW - 3 * HOUR)

    for before in ([], [is_open]):
        changes = evaluate(RULES, evidence, before, NOW)
        assert [(change.edge, change.rule) for change in changes] == [(Edge.OPENED, "No snapshot for 1 h")]


def test_an_alert_whose_rule_is_gone_resolves() -> None:
    """Nothing would ever close it otherwise."""
    gone = OpenAlert("70% of DailyApiRequests used", NOW - HOUR, {"limit_name": API_REQUESTS, "state": "opened"})

    (change,) = evaluate((used_above(0.8),), AlertEvidence(ORG, NOW), [gone], NOW)

    assert (change.edge, change.rule, change.figures["state"]) == (Edge.RESOLVED, gone.rule, "resolved")
    assert "not evaluated any more" in change.figures["message"]


def test_changes_in_words() -> None:
    """A person reads what is used, of what, against which mark, as of when, and how long it lasted."""
    at = NOW + HOUR
    over = AlertEvidence(
        ORG, NOW, {API_REQUESTS: (reading(30_000, NOW - HOUR), reading(82_500))}, NOW, Foretold(at, NOW)
    )
    under = AlertEvidence(ORG, at, {API_REQUESTS: (reading(82_500), reading(70_000, at))}, at, Foretold(None, at))

    opened = evaluate(RULES, over, [], NOW)
    resolved = evaluate(RULES, under, applied([], opened), at)

    assert [change.figures["message"].removeprefix(f"Org {ORG}: ") for change in opened] == [
        "82,500 of 100,000 DailyApiRequests are used (82.5%), which is 80% or more; read at 07 Oct 14:30 UTC.",
        "82,500 of 100,000 DailyApiRequests are used, up by 52.5% of the limit within 1 h (20% or more); read at "
        "07 Oct 14:30 UTC.",
        "DailyApiRequests are expected to run out at 07 Oct 17:30 Europe/Paris, before 07 Oct 18:00 Europe/Paris.",
    ]
    assert [change.figures["title"] for change in resolved] == [f"Resolved: {rule.name}" for rule in RULES[:3]]
    assert resolved[0].figures["message"] == (
        "Org 00DAA0000000001: 70,000 of 100,000 DailyApiRequests are used (70%), below 75%; read at 07 Oct 15:30 UTC. "
        "It was open for 1 h."
    )
    (none,) = evaluate((no_snapshot_for(HOUR),), AlertEvidence(ORG, NOW), [], NOW)
    (old,) = evaluate((no_snapshot_for(HOUR),), AlertEvidence(ORG, NOW, snapshot_at=NOW - 2 * HOUR), [], NOW)
    assert none.figures["message"].endswith("there is no snapshot at all; run ApiUsageSnapshotOperator.")
    assert old.figures["message"].endswith("the latest snapshot is of 07 Oct 12:30 UTC, 2 h ago.")


def episode(**fields: object) -> Episode:
    """An alert of the first rule that opened just now."""
    made = Episode(1, RULES[0].name, {"state": "opened"}, NOW)
    return replace(made, **fields)  # type: ignore[arg-type]


def by_name(*mutes: Mute) -> dict[str, AlertRule]:
    """The first rule, muted."""
    return {rule.name: rule for rule in rules_from(RULES[:1], mutes)}


def told(messages: object) -> list[tuple[str, str]]:
    return [(message.label, message.edge.value) for message in messages]  # type: ignore[attr-defined]


def test_a_mute_puts_off_people_not_dags() -> None:
    """What opens in it is told when it ends, if it is still open; what resolves in it is told when it ends, if it was
    told to have opened; asset events do not wait."""
    until = NOW + HOUR
    rules = by_name(mute_until(until))

    opened = episode()
    assert not falls_due(opened, rules, NOW)
    assert told(messages_of([opened], ["mail"], rules, NOW)) == [(ASSET_EVENT, "opened")]
    assert falls_due(opened, rules, until)
    due = episode(due_at=until, told={ASSET_EVENT: 1})
    assert told(messages_of([due], ["mail"], rules, until)) == [("mail", "opened")]

    unheard = episode(resolved={"state": "resolved"}, told={ASSET_EVENT: 1})
    assert told(messages_of([unheard], ["mail"], rules, until)) == [(ASSET_EVENT, "resolved")]
    assert finished(replace(unheard, told={ASSET_EVENT: 2}), ["mail"])

    heard = episode(due_at=NOW - HOUR, resolved={"state": "resolved"}, told={ASSET_EVENT: 2, "mail": 1})
    assert messages_of([heard], ["mail"], rules, NOW) == ()
    assert told(messages_of([heard], ["mail"], rules, until)) == [("mail", "resolved")]
    assert not finished(heard, ["mail"])


def test_who_failed_hears_all_of_it_later_and_in_order() -> None:
    """One notifier has heard everything; the other has heard nothing, and hears both, before the next alert."""
    earlier = episode(due_at=NOW, resolved={"state": "resolved"}, told={ASSET_EVENT: 2, "mail": 2})
    again = episode(id=2, opened_at=NOW + HOUR, due_at=NOW + HOUR)

    messages = messages_of([again, earlier], ["mail", "chat"], by_name(), NOW + HOUR)

    assert [(message.episode_id, message.label, message.edge.value) for message in messages] == [
        (1, "chat", "opened"),
        (1, "chat", "resolved"),
        (2, ASSET_EVENT, "opened"),
        (2, "mail", "opened"),
        (2, "chat", "opened"),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "resolve", "nothing"]), st.booleans(), st.frozensets(st.sampled_from("ab"))),
        max_size=30,
    )
)
def test_each_notifier_hears_an_alternation(course: list[tuple[str, bool, frozenset[str]]]) -> None:
    """Whatever opens, resolves, is muted and fails, each notifier hears opened and resolved in turns; when nothing
    fails or is muted any more, all have heard of what is open, and only that is left unfinished."""
    heard: dict[str, list[Edge]] = defaultdict(list)
    episodes: dict[int, Episode] = {}
    muted_rules, loud_rules = by_name(mute_until(NOW + 1000 * HOUR)), by_name()

    def turn(now: datetime, rules: dict[str, AlertRule], failing: frozenset[str]) -> None:
        for key, each in episodes.items():
            if falls_due(each, rules, now):
                episodes[key] = replace(each, due_at=now)
        broken = set(failing)
        for message in messages_of(episodes.values(), "ab", rules, now):
            if message.label in broken:
                continue
            each = episodes[message.episode_id]
            amount = 1 if message.edge is Edge.OPENED else 2
            episodes[each.id] = replace(each, told={**each.told, message.label: amount})
            heard[message.label].append(message.edge)
        for key in [key for key, each in episodes.items() if finished(each, "ab")]:
            del episodes[key]

    number = 0
    for number, (what, quiet, failing) in enumerate(course):
        is_open = [each for each in episodes.values() if each.resolved is None]
        if what == "open" and not is_open:
            episodes[number] = episode(id=number, opened_at=NOW + number * STEP)
        elif what == "resolve" and is_open:
            episodes[is_open[0].id] = replace(is_open[0], resolved={"state": "resolved"})
        turn(NOW + number * STEP, muted_rules if quiet else loud_rules, failing)
    turn(NOW + (number + 1) * STEP, loud_rules, frozenset())

    for label in ("a", "b", ASSET_EVENT):
        edges = heard[label]
        assert edges == [Edge.OPENED, Edge.RESOLVED] * (len(edges) // 2) + [Edge.OPENED] * (len(edges) % 2)
        assert len(edges) % 2 == len(episodes)
    assert all(each.resolved is None for each in episodes.values())
