"""What reports are made from."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.reporting.bridge import Part, lines, steps
from airflow_provider_apiusage.reporting.compose import compose
from airflow_provider_apiusage.reporting.content import CHART_POINTS, curve_of_readings, findings, limits, usable
from airflow_provider_apiusage.reporting.document import Facts, Status
from airflow_provider_apiusage.reporting.outlook import back
from airflow_provider_apiusage.reporting.words import UNKNOWN, bounds, clean, number
from airflow_provider_apiusage.usage.model import Coverage, Evidence, Finding, Interval, ReadingSource, Severity
from tests.reporting.contents import busy, example, nothing, of_evidence, over
from tests.usage.evidence import AT, ORG, TODAY, YESTERDAY, counted, reading

COUNTS = st.none() | st.integers(0, 100_000)


def test_the_article_is_reproduced_line_by_line() -> None:
    """The figures and the sum stand there as Salesforce's page has them."""
    assert lines(example()) == (
        "API requests, last 24 hours: 25,000",
        "Wednesday: 15,000",
        "Tuesday: 20,000",
        "Wednesday so far 15,000 + some calls from Tuesday 10,000 (of 20,000) = 25,000 (API requests, last 24 hours)",
    )


@given(rolling=COUNTS, today=COUNTS, yesterday=COUNTS, coverage=st.sampled_from(Coverage))
def test_the_steps_add_up(rolling: int | None, today: int | None, yesterday: int | None, coverage: Coverage) -> None:
    """Whatever is known, the steps of the bridge add up to the rolling figure, or one of them is unknown."""
    counts = [
        counted(day, calls, coverage=coverage)
        for day, calls in ((TODAY, today), (YESTERDAY, yesterday))
        if calls is not None
    ]
    content = of_evidence(Evidence(ORG, AT, (reading(rolling),), tuple(counts)), ahead=False)
    *parts, whole = steps(content)

    assert whole.part is Part.ROLLING
    assert whole.calls == content.reconciliation.rolling == rolling
    known = [part.calls for part in parts if part.calls is not None]
    if len(known) == len(parts) and rolling is not None:
        assert sum(known) == rolling


@given(low=st.integers(0, 10**9), more=st.none() | st.integers(0, 10**9))
def test_bounds_say_what_they_are(low: int, more: int | None) -> None:
    """Words for bounds can be read back, and only what says nothing is unknown."""
    high = None if more is None else low + more
    words = bounds(Interval(low, high)).replace(",", "")

    if high is None:
        assert words == (f"at least {low}" if low else UNKNOWN)
    else:
        assert words == (f"{low}" if low == high else f"{low} to {high}")


def test_unknown_is_a_word() -> None:
    """No unknown is a number, and a zero that is known is one."""
    assert number(None) == bounds(None) == bounds(Interval(0)) == UNKNOWN
    assert number(0) == bounds(Interval(0, 0)) == "0"


@given(st.text())
def test_a_clean_name_is_one_line_that_is_seen(text: str) -> None:
    """A name is one line without control characters, and cleaning it twice is cleaning it once."""
    name = clean(text)

    assert name.isprintable() or all(c.isprintable() or c in "\u200c\u200d" or ord(c) > 0x7F for c in name)
    assert "\n" not in name
    assert len(name) <= 80
    assert clean(name) == name
    name.encode()


@pytest.mark.parametrize(
    ("dirty", "shown"),
    [
        ("two\r\nlines", "two lines"),
        ("bell\a", "bell�"),
        ("\u202eturned", "�turned"),
        ("half \ud800", "half �"),
        (" a \t b ", "a b"),
        ("x" * 81, "x" * 79 + "…"),
    ],
)
def test_what_is_not_seen_is_shown(dirty: str, shown: str) -> None:
    """Characters that hide, turn or break a line do not reach a report."""
    assert clean(dirty) == shown


def test_findings_are_told_once_the_most_severe_first() -> None:
    """Errors come before warnings before infos, and a finding of two sources stands there once."""
    found = [Finding("a", Severity.INFO, "x"), Finding("b", Severity.ERROR, "y"), Finding("a", Severity.INFO, "x")]
    content = replace(example(), reconciliation=replace(example().reconciliation, findings=tuple(found)), forecast=None)

    assert [finding.code for finding in findings(content)] == ["b", "a"]


@given(st.lists(st.tuples(st.integers(0, 700_000), st.integers(0, 10**6)), max_size=2_000))
def test_a_chart_keeps_the_highest_and_the_last_reading(raw: list[tuple[int, int]]) -> None:
    """However many readings there are, a chart has room for them, invents none, and has the highest and the last."""
    points = sorted((AT + timedelta(seconds=seconds), used) for seconds, used in raw)
    drawn = [(at, used) for at, used in curve_of_readings(points) if used is not None]

    assert set(drawn) <= set(points)
    assert drawn == sorted(drawn)
    assert len(drawn) <= CHART_POINTS + 1
    if points:
        assert drawn[-1] == points[-1]
        assert max(used for _, used in drawn) == max(used for _, used in points)


def test_a_chart_draws_no_line_over_a_gap() -> None:
    """Between readings a day apart, where a quarter of an hour is usual, the line is broken."""
    step = timedelta(minutes=15)
    points = [(AT + step * n, 5) for n in (*range(8), *range(104, 112))]
    drawn = curve_of_readings(points)

    assert [used for _, used in drawn].count(None) == 1
    assert all(before[0] < after[0] for before, after in pairwise(drawn))


def test_a_refused_call_is_no_reading_of_usage() -> None:
    """That the allowance was used up says nothing of how many calls were used."""
    known = (reading(7), reading(100, source=ReadingSource.EXHAUSTED), reading(None))

    assert usable(known, AT, AT) == [(AT, 7)]


def test_the_limit_is_shown_as_it_changed() -> None:
    """A limit that was raised is a step, and the present one holds for the day to come."""
    day = timedelta(days=1)
    evidence = Evidence(
        ORG, AT, (reading(1, AT - 2 * day, limit=50), reading(1, AT - day, limit=80), reading(1, limit=80))
    )

    assert limits(of_evidence(evidence, ahead=False), AT - 7 * day) == [
        (AT - 2 * day, 50),
        (AT - day, 80),
        (AT + day, 80),
    ]


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_is_back_between_its_bounds(share: float) -> None:
    """No point before the earliest instant can have given back the share, and from the latest on each has."""
    ahead = busy().forecast
    assert ahead is not None
    when = back(ahead, share)
    assert when.earliest_at is not None

    for point in ahead.points:
        if point.at <= when.earliest_at and point.at > ahead.at:
            assert point.expired.high is not None
            assert point.expired.high < ahead.used.low * share
        if when.latest_at is not None and point.at >= when.latest_at:
            assert ahead.used.high is not None
            assert point.expired.low >= ahead.used.high * share


def test_the_verdict_is_that_of_the_reconciliation() -> None:
    """A report says agree, contradict or undecided, as the reconciliation found."""
    verdicts = [compose(content).status for content in (example(), over(), nothing())]

    assert verdicts == [Status.AGREE, Status.CONTRADICT, Status.UNDECIDED]


def test_figures_at_a_glance_are_those_of_the_reconciliation() -> None:
    """Used, what remains or is over, and the share."""
    (facts,) = (block for block in compose(over()).sections[0].blocks if isinstance(block, Facts))

    assert [(fact.name, fact.value) for fact in facts.facts[:2]] == [
        ("Used in 24 hours", "70,000"),
        ("Over the limit", "8,000"),
    ]
    assert facts.share == pytest.approx(70_000 / 62_000)
