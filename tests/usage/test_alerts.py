"""Rules and mutes of alerts, and what figures say of a rule."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.alerts import (
    AlertRule,
    in_time,
    mute_between,
    mute_on,
    mute_until,
    no_snapshot_for,
    rises_by,
    rules_from,
    runs_out_before,
    used_above,
)
from airflow_provider_apiusage.usage.alerts_judging import AlertEvidence, Foretold, Verdict, deadline_after, judge
from airflow_provider_apiusage.usage.model import API_REQUESTS, LimitReading, ReadingSource, Severity
from tests.support.quota import BATCHES, NOW, ORG, minutes, reading

HOUR = timedelta(hours=1)
PARIS = ZoneInfo("Europe/Paris")


def known(*readings: LimitReading, at: datetime = NOW, name: str = API_REQUESTS) -> AlertEvidence:
    """What is known of an org that has these readings of one limit."""
    return AlertEvidence(ORG, at, {name: readings}, snapshot_at=at)


def verdict(rule: AlertRule, evidence: AlertEvidence) -> Verdict:
    return judge(rule, evidence).verdict


@pytest.mark.parametrize(
    ("used", "says"),
    [(79_999, Verdict.BETWEEN), (80_000, Verdict.MET), (75_000, Verdict.BETWEEN), (74_999, Verdict.NOT_MET)],
)
def test_used_above_has_a_mark_to_open_and_a_lower_one_to_resolve(used: int, says: Verdict) -> None:
    """At exactly 80 % it is met; it is clearly not met below 75 % only."""
    assert verdict(used_above(0.8), known(reading(used))) is says


def test_unknown_figures_say_nothing() -> None:
    """No reading, one without figures, one that is too old, and a limit of nothing are unknown, which is not zero."""
    old = reading(99_000, NOW - HOUR - timedelta(seconds=1))
    for evidence in (known(), known(reading(None)), known(old), known(reading(0, limit=0)), AlertEvidence(ORG, NOW)):
        assert verdict(used_above(0.8), evidence) is Verdict.UNKNOWN
        assert verdict(rises_by(0.2, HOUR), evidence) is Verdict.UNKNOWN
    assert verdict(runs_out_before("18:00"), AlertEvidence(ORG, NOW)) is Verdict.UNKNOWN
    assert verdict(used_above(0.8, max_age=2 * HOUR), known(old)) is Verdict.MET


def test_an_org_that_says_that_nothing_is_left_is_used_up() -> None:
    """The refusal of an exhausted org tells no limit, and is 100 % all the same."""
    refusal = reading(None, limit=None, remaining=0, source=ReadingSource.EXHAUSTED)

    judged = judge(used_above(1.0), known(refusal))

    assert (judged.verdict, judged.value) == (Verdict.MET, 1.0)


def test_a_rule_looks_at_its_own_limit_for_the_whole_org() -> None:
    """Readings of another limit, of an app alone, or of the future are not looked at."""
    app = reading(99_000, scope="Ant Migration Tool")
    later = reading(99_000, NOW + minutes(1))

    assert verdict(used_above(0.8, BATCHES), known(reading(99_000))) is Verdict.UNKNOWN
    assert verdict(used_above(0.8, BATCHES), known(reading(99_000, name=BATCHES), name=BATCHES)) is Verdict.MET
    assert verdict(used_above(0.8), known(reading(10_000, NOW - minutes(5)), app, later)) is Verdict.NOT_MET


@pytest.mark.parametrize(
    ("before", "says", "value"),
    [
        pytest.param([(60, 30_000)], Verdict.MET, 0.2, id="an hour ago exactly"),
        pytest.param([(45, 28_000), (30, 31_000)], Verdict.MET, 0.22, id="within the hour, though nothing older"),
        pytest.param([(60, 48_000), (30, 30_000)], Verdict.MET, 0.2, id="after a fall"),
        pytest.param([(90, 20_000)], Verdict.MET, 0.2, id="half an hour before and after it: 30,000 an hour ago"),
        pytest.param([(120, 10_000)], Verdict.MET, 0.2, id="twice as long ago: half of it"),
        pytest.param([(121, 10_000)], Verdict.UNKNOWN, None, id="too long ago"),
        pytest.param([(60, 41_000)], Verdict.NOT_MET, 0.09, id="less than half"),
        pytest.param([(60, 35_000)], Verdict.BETWEEN, 0.15, id="more than half"),
        pytest.param([(30, 49_000)], Verdict.UNKNOWN, 0.01, id="little, but the first half of the hour is not known"),
        pytest.param([], Verdict.UNKNOWN, None, id="the latest alone"),
        pytest.param([(60, 90_000)], Verdict.NOT_MET, 0.0, id="a fall"),
    ],
)
def test_rises_by_compares_with_the_lowest_use(
    before: list[tuple[int, int]], says: Verdict, value: float | None
) -> None:
    """50,000 are used now; what was used before says by how many points that is more than within the hour."""
    readings = [reading(used, NOW - minutes(ago)) for ago, used in before]

    judged = judge(rises_by(0.2, within=HOUR), known(*readings, reading(50_000)))

    assert judged.verdict is says
    assert judged.value == (None if value is None else pytest.approx(value))


@given(
    st.lists(st.tuples(st.integers(0, 180), st.integers(0, 120_000)), min_size=1, max_size=12, unique_by=lambda p: p[0])
)
def test_no_rise_is_seen_that_the_readings_do_not_hold(points: list[tuple[int, int]]) -> None:
    """A rise is never more than from the lowest reading of two spans to the latest, never negative, and the order of
    readings does not matter."""
    readings = [reading(used, NOW - minutes(ago)) for ago, used in points]
    evidence = known(*readings)

    judged = judge(rises_by(0.2, within=HOUR), evidence)

    assert judged == judge(rises_by(0.2, within=HOUR), known(*reversed(readings)))
    if judged.value is not None:
        latest = min(points)
        lowest = min(used for ago, used in points if ago <= latest[0] + 120)
        assert 0 <= judged.value <= (latest[1] - lowest) / 100_000 + 1e-6


@pytest.mark.parametrize(
    ("runs_out_at", "says"),
    [
        (NOW, Verdict.MET),
        (NOW.replace(hour=15, minute=45), Verdict.MET),
        (NOW.replace(hour=16, minute=0), Verdict.BETWEEN),
        (NOW.replace(hour=16, minute=59), Verdict.BETWEEN),
        (NOW.replace(hour=17, minute=0), Verdict.NOT_MET),
        (None, Verdict.NOT_MET),
    ],
)
def test_runs_out_before_is_told_in_the_zone_of_the_rule(runs_out_at: datetime | None, says: Verdict) -> None:
    """18:00 in Paris is 16:00 UTC in October; an hour later it is clearly over."""
    rule = runs_out_before("18:00", timezone="Europe/Paris")

    assert verdict(rule, AlertEvidence(ORG, NOW, foretold=Foretold(runs_out_at, NOW))) is says
    assert verdict(rule, AlertEvidence(ORG, NOW, foretold=Foretold(runs_out_at, NOW - 2 * HOUR))) is Verdict.UNKNOWN


@given(
    st.integers(0, 2 * 365 * 24 * 60),
    st.times(),
    st.sampled_from(["UTC", "Europe/Paris", "Australia/Lord_Howe"]),
)
def test_the_deadline_is_the_next_time_that_the_clock_shows_it(minute: int, before: time, zone: str) -> None:
    """It comes after the instant, within a day and the hour by which clocks are put back."""
    instant = NOW + minutes(minute)

    deadline = deadline_after(runs_out_before(before, timezone=zone), instant)

    assert timedelta(0) < deadline - instant <= timedelta(hours=25)
    wall = deadline.astimezone(ZoneInfo(zone)).time()
    skipped = abs(datetime.combine(NOW, wall) - datetime.combine(NOW, before)) % timedelta(hours=24)
    assert skipped in (timedelta(0), timedelta(minutes=30), HOUR)


def test_no_snapshot_for_an_hour() -> None:
    """It is met from an hour on, and where there never was one."""
    rule = no_snapshot_for(HOUR)

    ages = [HOUR - timedelta(seconds=1), HOUR, timedelta(minutes=-1)]
    assert [verdict(rule, AlertEvidence(ORG, NOW, snapshot_at=NOW - age)) for age in ages] == [
        Verdict.NOT_MET, Verdict.MET, Verdict.NOT_MET,
    ]  # fmt: skip
    assert verdict(rule, AlertEvidence(ORG, NOW)) is Verdict.MET


def test_rules_as_json_are_those_of_the_functions() -> None:
    """Plain JSON says the same as Python does, mutes and severity included."""
    plain = [
        {"rule": "used_above", "share": "80%", "limit_name": BATCHES, "severity": "error"},
        {"rule": "rises_by", "share": 0.2, "within": 3600},
        {"rule": "runs_out_before", "before": "18:00", "timezone": "Europe/Paris", "name": "before we go home"},
        {"rule": "no_snapshot_for", "duration": 3600, "mutes": [{"weekdays": ["sat", "sun"]}]},
    ]

    made = rules_from(plain, [{"start": "22:00", "end": "06:00"}, {"until": "2026-12-24T08:00:00+01:00"}])

    every = (mute_between("22:00", "06:00"), mute_until(datetime(2026, 12, 24, 7, tzinfo=UTC)))
    assert made == rules_from(
        [
            used_above(0.8, BATCHES, severity=Severity.ERROR),
            rises_by(0.2, within=HOUR),
            runs_out_before(time(18), timezone="Europe/Paris", name="before we go home"),
            no_snapshot_for(HOUR, mutes=mute_on(["Saturday", "Sunday"])),
        ],
        every,
    )
    assert made[0].mutes == every
    assert [rule.name for rule in made] == [
        "80% of DailyBulkApiBatches used",
        "DailyApiRequests up by 20% within 1 h",
        "before we go home",
        "No snapshot for 1 h",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: used_above(80), "write 0.8 or '80%'"),
        (lambda: used_above(0), "write 0.8 or '80%'"),
        (lambda: used_above("much"), "write 0.8 or '80%'"),
        (lambda: used_above(0.8, resolve_below=0.9), "would resolve as it opens"),
        (lambda: used_above(0.8, nmae="x"), "'nmae' is no argument"),
        (lambda: used_above(0.8, severity="loud"), "is no severity"),
        (lambda: used_above(0.8, name="x" * 201), "at most 200 characters"),
        (lambda: rises_by(0.2, within=0), "at least 1 s"),
        (lambda: runs_out_before("6 pm"), "is no time of day"),
        (lambda: runs_out_before("18:00", timezone="Paris"), "is no time zone"),
        (lambda: no_snapshot_for("1h"), "must be a timedelta or seconds"),
        (lambda: mute_between("22:00", "22:00"), "is empty"),
        (lambda: mute_on([]), "at least one weekday"),
        (lambda: mute_on(["someday"]), "is no weekday"),
        (lambda: mute_until("soon"), "is no ISO instant"),
        (lambda: mute_until(""), "needs an instant"),
        (lambda: rules_from([]), "There is no rule"),
        (lambda: rules_from([used_above(0.8), used_above("80%")]), "Two rules have the name"),
        (lambda: rules_from([{"rule": "used_over", "share": 0.8}]), "is no rule"),
        (lambda: rules_from([{"rule": "used_above", "shares": 0.8}]), "has wrong arguments|is no argument"),
        (lambda: rules_from([used_above(0.8)], [{"from": "22:00"}]), "A mute is"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make: Any, message: str) -> None:
    """A mistake in a DAG fails where it is written, and says how to write it."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("mute", "local", "covered"),
    [
        (mute_between("22:00", "06:00", timezone="Europe/Paris"), "2026-10-07T21:59", False),
        (mute_between("22:00", "06:00", timezone="Europe/Paris"), "2026-10-07T22:00", True),
        (mute_between("22:00", "06:00", timezone="Europe/Paris"), "2026-10-08T05:59", True),
        (mute_between("22:00", "06:00", timezone="Europe/Paris"), "2026-10-08T06:00", False),
        (mute_between("22:00", "06:00", weekdays=["fri"], timezone="Europe/Paris"), "2026-10-10T05:00", True),
        (mute_between("22:00", "06:00", weekdays=["fri"], timezone="Europe/Paris"), "2026-10-09T05:00", False),
        (mute_between("12:00", "13:00", weekdays=["wed"], timezone="Europe/Paris"), "2026-10-07T12:00", True),
        (mute_between("12:00", "13:00", weekdays=["wed"], timezone="Europe/Paris"), "2026-10-08T12:00", False),
        (mute_on("sun", timezone="Europe/Paris"), "2026-10-11T00:00", True),
        (mute_on("sun", timezone="Europe/Paris"), "2026-10-12T00:00", False),
        (mute_until("2026-10-07T12:00+02:00"), "2026-10-07T11:59", True),
        (mute_until("2026-10-07T12:00+02:00"), "2026-10-07T12:00", False),
        (mute_between("02:15", "02:45", timezone="Europe/Paris"), "2026-10-25T02:30", True),
    ],
)  # fmt: skip
def test_a_mute_covers_its_time_on_the_wall(mute: Any, local: str, covered: bool) -> None:
    """Its beginning is muted and its end is not; the night of a Friday ends on Saturday; clocks may be put back."""
    assert mute.covers(datetime.fromisoformat(local).replace(tzinfo=PARIS, fold=1)) is covered


def test_durations_in_words() -> None:
    """A person reads them at a glance."""
    spans = [timedelta(0), timedelta(seconds=90), timedelta(minutes=90), timedelta(days=2, hours=3)]

    assert [in_time(span) for span in spans] == ["0 s", "90 s", "1 h 30 min", "2 d 3 h"]
