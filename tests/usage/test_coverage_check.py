"""The report's days beside the event logs: what it counts is confirmed, contradicted, or left open."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.coverage_check import check_coverage
from airflow_provider_apiusage.usage.hourly import Caller, Completeness, HourlyCount
from airflow_provider_apiusage.usage.model import Coverage, DailyCount, Finding

ORG = "00DAA0000000001"
DAY = datetime(2026, 10, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def report(calls: int, coverage: Coverage = Coverage.SOAP, *, observed_at: datetime | None = None) -> DailyCount:
    """The day as the report told it, after it was over unless said otherwise."""
    return DailyCount(ORG, DAY.date(), None, calls, coverage, "report", observed_at or DAY + timedelta(days=1))


def log(soap: int, rest: int = 0, unknown: int = 0, uncounted: int = 0, blank: int = 0) -> list[HourlyCount]:
    """The day's log: SOAP calls in lower case as well, SOAP calls that may count or not, calls without a family."""
    callers = {
        Caller(user="a", family="SOAP", counted=True): soap - soap // 2,
        Caller(user="b", family="soap", counted=True): soap // 2,
        Caller(user="a", family="REST", counted=True): rest,
        Caller(user="a", family="SOAP", counted=None): unknown,
        Caller(user="a", family="SOAP", counted=False): uncounted,
        Caller(user="a", family=None, counted=True): blank,
    }
    counts = enumerate((caller, calls) for caller, calls in callers.items() if calls)
    return [HourlyCount(ORG, DAY + HOUR * n, caller, calls) for n, (caller, calls) in counts]


def hours(state: Completeness = Completeness.SETTLED, number: int = 24) -> dict[datetime, Completeness]:
    """The first hours of the day in one state, the others unknown."""
    return {DAY + HOUR * n: state if n < number else Completeness.NONE for n in range(24)}


def code(counts: list[DailyCount], logged: list[HourlyCount], states: dict[datetime, Completeness]) -> str:
    """The one finding."""
    (finding,) = check_coverage(counts, logged, states)
    assert str(DAY.date()) in finding.message
    return f"{finding.code} {finding.severity.value}"


@pytest.mark.parametrize(
    ("total", "coverage", "expected"),
    [
        (100, Coverage.SOAP, "coverage-confirmed info"),
        (110, Coverage.SOAP, "coverage-confirmed info"),  # ten may count or not
        (99, Coverage.SOAP, "coverage-unclear warning"),
        (150, Coverage.SOAP, "coverage-unclear warning"),  # more than SOAP, less than all
        (400, Coverage.SOAP, "coverage-is-all warning"),
        (450, Coverage.SOAP, "coverage-is-all warning"),  # batch parts, which logs do not show
        (400, Coverage.ALL, "coverage-confirmed info"),
        (450, Coverage.ALL, "coverage-confirmed info"),
        (105, Coverage.ALL, "coverage-is-soap warning"),
        (399, Coverage.ALL, "coverage-unclear warning"),
        (5, Coverage.ALL, "coverage-unclear warning"),
    ],
)
def test_a_settled_day_tells_what_the_report_counts(total: int, coverage: Coverage, expected: str) -> None:
    """100 SOAP calls count, 10 may, 300 REST calls count, and what does not count is no part of it."""
    assert code([report(total, coverage)], log(100, 300, unknown=10, uncounted=50), hours()) == expected


def test_an_unsettled_day_proves_only_that_a_report_tells_too_little() -> None:
    """Late rows may still come, so more in the report than in the log proves nothing."""
    provisional = hours(Completeness.PROVISIONAL, 20)

    assert code([report(400)], log(100, 300), provisional) == "coverage-unclear info"
    assert code([report(100, Coverage.ALL)], log(100, 300), provisional) == "coverage-is-soap warning"
    assert code([report(99)], log(100, 300), provisional) == "coverage-unclear warning"
    assert code([report(150)], log(100, 300), provisional) == "coverage-unclear info"  # not confirmed: SOAP may come


def test_where_all_calls_are_soap_nothing_can_be_told_apart() -> None:
    """Both settings fit; and calls beyond the log's fit neither, as there is no composite request to explain them."""
    assert code([report(100)], log(100), hours()) == "coverage-unclear info"
    assert code([report(100, Coverage.ALL)], log(100), hours()) == "coverage-unclear info"
    assert code([report(101)], log(100), hours()) == "coverage-unclear warning"
    assert code([report(101, Coverage.ALL)], log(100), hours()) == "coverage-unclear warning"


@pytest.mark.parametrize(
    ("total", "coverage", "expected"),
    [
        (100, Coverage.SOAP, "coverage-confirmed info"),
        (150, Coverage.SOAP, "coverage-unclear info"),  # all fifty may be SOAP
        (151, Coverage.SOAP, "coverage-is-all warning"),  # but not more than these
        (151, Coverage.ALL, "coverage-confirmed info"),
        (149, Coverage.ALL, "coverage-is-soap warning"),
    ],
)
def test_calls_without_a_family_may_be_soap(total: int, coverage: Coverage, expected: str) -> None:
    """100 SOAP calls, and 50 of which the log does not name the family: unknown is not "no SOAP"."""
    assert code([report(total, coverage)], log(100, blank=50), hours()) == expected


def test_days_that_only_one_of_them_knows_are_left_out() -> None:
    """No finding about what cannot be compared."""
    assert check_coverage([], log(100), hours()) == ()
    assert check_coverage([report(100)], [], hours(number=0)) == ()


@pytest.mark.parametrize(
    ("total", "coverage", "expected"),
    [
        (50, Coverage.SOAP, "coverage-unclear info"),  # the rest may have come later
        (111, Coverage.SOAP, "coverage-is-all warning"),
        (50, Coverage.ALL, "coverage-unclear info"),
        (111, Coverage.ALL, "coverage-confirmed info"),
    ],
)
def test_a_day_read_before_it_was_over_is_bounded_from_above_only(
    total: int, coverage: Coverage, expected: str
) -> None:
    """Too few calls prove nothing; more than all SOAP calls of the whole day do."""
    early = report(total, coverage, observed_at=DAY + HOUR * 20)

    assert code([early], log(100, 300, unknown=10), hours()) == expected
    assert code([early], log(100, 300, unknown=10), hours(Completeness.PROVISIONAL, 20)) == "coverage-unclear info"


def test_the_latest_observation_of_a_day_tells() -> None:
    """An earlier one, of a part of the day, is not added to it."""
    early = report(50, observed_at=DAY + HOUR * 20)

    assert code([early, report(60), report(40)], log(100, 300), hours()) == "coverage-confirmed info"


def test_the_figures_are_those_that_were_compared() -> None:
    """Fewest and most calls of each kind; without an end where more may come."""
    counts = log(100, 300, unknown=10, blank=5)
    (settled,) = check_coverage([report(100)], counts, hours())
    (provisional,) = check_coverage([report(100)], counts, hours(Completeness.PROVISIONAL))

    assert settled.figures == {
        "day": "2026-10-06", "report": 100, "whole_day": True, "soap": [100, 115], "all": [405, 415], "unknown": 10,
        "completeness": "settled",
    }  # fmt: skip
    assert provisional.figures == {
        **settled.figures, "soap": [100, None], "all": [405, None], "completeness": "provisional"
    }  # fmt: skip


@given(
    soap=st.integers(0, 50), rest=st.integers(0, 50), unknown=st.integers(0, 5), counting=st.integers(0, 5),
    blank=st.integers(0, 20), blank_soap=st.integers(0, 20), parts=st.integers(0, 20), late=st.integers(0, 50),
    coverage=st.sampled_from(Coverage), seen=st.none() | st.floats(0, 1),
)  # fmt: skip
def test_a_report_that_is_what_it_is_said_to_be_is_never_contradicted(
    soap: int, rest: int, unknown: int, counting: int, blank: int, blank_soap: int, parts: int, late: int,
    coverage: Coverage, seen: float | None,
) -> None:  # fmt: skip
    """Whatever the traffic, whatever the log cannot say or shows late, and when the day was read: no warning."""
    counting, blank_soap, shown = min(counting, unknown), min(blank_soap, blank), min(late, soap)
    parts = parts if rest or blank > blank_soap else 0  # of composite requests, which are never SOAP
    total = soap + counting + (blank + rest + parts if coverage is Coverage.ALL else blank_soap)
    told = report(total, coverage)
    if seen is not None:
        told = report(int(total * seen), coverage, observed_at=DAY + HOUR * 20)

    for logged, states in (
        (log(soap, rest, unknown, blank=blank), hours()),
        (log(shown, rest // 2, unknown, blank=blank // 2), hours(Completeness.PROVISIONAL)),
    ):
        for finding in check_coverage([told], logged, states):
            assert isinstance(finding, Finding)
            wrong = "coverage-is-all" if coverage is Coverage.SOAP else "coverage-is-soap"
            assert finding.severity.value == "info", finding
            assert finding.code != wrong
            assert finding.figures["day"] == date(2026, 10, 6).isoformat()
