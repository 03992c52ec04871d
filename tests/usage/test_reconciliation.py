"""Do the rolling figure and the daily counts agree?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.usage.model import (
    WINDOW,
    Coverage,
    DailyCount,
    Evidence,
    Interval,
    LimitReading,
    ReadingSource,
    Severity,
)
from airflow_provider_apiusage.usage.reconciliation import Reconciliation, WindowTail, reconcile
from airflow_provider_apiusage.usage.window import utc_day
from tests.usage.evidence import AT, ORG, TODAY, YESTERDAY, counted, reading

MINUTE = timedelta(minutes=1)


def evidence(
    used: int | None = 25_000,
    today: int | None = 15_000,
    yesterday: int | None = 20_000,
    *,
    coverage: Coverage = Coverage.ALL,
    earlier: tuple[LimitReading, ...] = (),
    counts: tuple[DailyCount, ...] = (),
    observed_at: datetime = AT,
) -> Evidence:
    """Return evidence at ``AT``; ``None`` leaves a piece out."""
    days = [(TODAY, today), (YESTERDAY, yesterday)]
    counts += tuple(counted(day, n, coverage=coverage, observed_at=observed_at) for day, n in days if n is not None)
    return Evidence(ORG, AT, earlier + (() if used is None else (reading(used),)), counts)


def codes(reconciliation: Reconciliation) -> list[str]:
    """Return the codes of the findings, but for the shift of the window, which is nearly always there."""
    return [finding.code for finding in reconciliation.findings if finding.code != "window-shift"]


def test_the_example_of_salesforce() -> None:
    """Wednesday 15,000 + 10,000 of Tuesday's 20,000 = 25,000 in the last 24 hours."""
    result = reconcile(evidence())

    assert (result.rolling, result.today, result.yesterday) == (25_000, 15_000, 20_000)
    assert result.window_tail == WindowTail(0, 20_000, 10_000)
    assert result.residual == Interval(0, 0)
    assert result.consistent is True
    (shift,) = result.findings
    assert (shift.code, shift.severity) == ("window-shift", Severity.INFO)
    assert "10,000 of the 25,000 calls" in shift.message


def test_the_example_with_a_report_of_soap_calls_only() -> None:
    """If the report leaves calls out, up to all 10,000 of the rest may be REST and Bulk."""
    result = reconcile(evidence(coverage=Coverage.SOAP))

    assert result.window_tail == WindowTail(0, 20_000, 10_000)
    assert result.residual == Interval(0, 10_000)
    assert result.consistent is True
    assert codes(result) == ["soap-only-report"]


def test_more_rolling_calls_than_two_days_of_soap() -> None:
    """Of 50,000 rolling calls at least 15,000 and at most 35,000 are not in the report."""
    result = reconcile(evidence(50_000, coverage=Coverage.SOAP))

    assert result.window_tail.estimate == 20_000
    assert result.residual == Interval(15_000, 35_000)
    assert result.consistent is True
    assert result.findings[0].message.startswith(
        "At least 15,000 and at most 35,000 of the 50,000 rolling calls are not in the report: REST and Bulk"
    )


def test_a_tail_larger_than_yesterday_is_inconsistent() -> None:
    """If every call is counted, no more than all of yesterday can be in the window."""
    result = reconcile(evidence(50_000))

    assert result.window_tail == WindowTail(0, 20_000, 35_000)
    assert result.residual == Interval(15_000, 15_000)
    assert result.consistent is False
    assert codes(result) == ["tail-above-yesterday"]
    assert result.findings[0].severity is Severity.ERROR


@pytest.mark.parametrize("coverage", list(Coverage))
def test_today_larger_than_the_window_is_inconsistent(coverage: Coverage) -> None:
    """Today is inside the window, so it cannot hold more calls; the residual keeps its sign."""
    result = reconcile(evidence(10_000, coverage=coverage))

    assert result.window_tail.estimate == -5_000
    assert result.residual == Interval(-5_000, -5_000)
    assert result.consistent is False
    assert codes(result) == ["today-above-rolling"]


def test_a_tolerance_forgives_so_many_calls_and_no_more() -> None:
    """Missing by the tolerance is consistent, by one call more is not; the residual stays what it is."""
    forgiven = reconcile(evidence(35_100), tolerance=100)

    assert forgiven.consistent is True
    assert forgiven.residual == Interval(100, 100)
    assert codes(forgiven) == ["within-tolerance"]
    assert reconcile(evidence(35_101), tolerance=100).consistent is False
    assert reconcile(evidence(14_900), tolerance=100).consistent is True
    assert reconcile(evidence(14_899), tolerance=100).consistent is False


def test_a_negative_tolerance_is_refused() -> None:
    """A tolerance is a number of calls."""
    with pytest.raises(ValueError, match="at least 0"):
        reconcile(evidence(), tolerance=-1)


def test_no_reading_is_not_zero_calls() -> None:
    """Without a reading the rolling figure, the estimate and the verdict are unknown."""
    result = reconcile(evidence(None))

    assert (result.rolling, result.limit, result.residual, result.consistent) == (None, None, None, None)
    assert result.window_tail == WindowTail(0, 20_000, None)
    assert codes(result) == ["reading-missing"]
    assert "ApiUsageSnapshotOperator" in result.findings[0].message


def test_no_today_is_not_zero_calls() -> None:
    """Counts read before today began say nothing about it, so nothing can be subtracted."""
    evening = AT - 16 * 60 * MINUTE
    result = reconcile(evidence(today=None, yesterday=None, counts=(counted(YESTERDAY, 7, observed_at=evening),)))

    assert (result.today, result.residual, result.consistent) == (None, None, None)
    assert result.window_tail == WindowTail(0, None, None)
    assert codes(result) == ["daily-counts-missing", "day-unfinished"]


def test_no_yesterday_leaves_the_tail_open() -> None:
    """Without a whole count of yesterday nothing bounds the tail from above, and a fit proves nothing."""
    unfinished = counted(YESTERDAY, 9, observed_at=AT - WINDOW)
    result = reconcile(evidence(yesterday=None, counts=(unfinished,)))

    assert result.yesterday is None
    assert result.window_tail == WindowTail(0, None, 10_000)
    assert (result.residual, result.consistent) == (None, None)
    assert codes(result) == ["day-unfinished"]
    soap = reconcile(evidence(yesterday=None, counts=(replace(unfinished, coverage=Coverage.SOAP),)))
    assert (soap.residual, soap.consistent) == (Interval(0, 10_000), None)


def test_missing_days_are_named() -> None:
    """The finding names the days and the setting that supplies them."""
    (finding,) = reconcile(evidence(today=None, yesterday=None)).findings

    assert finding.code == "daily-counts-missing"
    assert "2026-10-07 and 2026-10-06" in finding.message
    assert "daily_report" in finding.message


def test_a_day_without_rows_in_a_report_of_other_days_had_no_calls() -> None:
    """A report that shows Wednesday and not Tuesday says that Tuesday had none."""
    result = reconcile(evidence(15_000, yesterday=None))

    assert (result.yesterday, result.window_tail) == (0, WindowTail(0, 0, 0))
    assert result.consistent is True
    assert codes(result) == ["day-without-rows"]


def test_a_report_does_not_speak_of_days_it_does_not_cover() -> None:
    """Rows of a report read last month, or of one read before today began, say nothing about today."""
    old = counted(YESTERDAY - timedelta(days=30), 5, observed_at=AT - timedelta(days=30))

    assert codes(reconcile(Evidence(ORG, AT, (reading(5),), (old,)))) == ["daily-counts-missing"]


def test_the_nearest_observation_of_a_day_is_used() -> None:
    """Of several readings of today the one nearest to the instant counts; of yesterday one after its end."""
    counts = (
        counted(TODAY, 14_000, observed_at=AT - 30 * MINUTE),
        counted(TODAY, 15_100, observed_at=AT + MINUTE, source="csv"),
        counted(YESTERDAY, 9_000, observed_at=AT - WINDOW),
        counted(YESTERDAY, 20_000, observed_at=AT - 30 * MINUTE),
    )
    result = reconcile(evidence(today=None, yesterday=None, counts=counts))

    assert (result.today, result.yesterday) == (15_100, 20_000)


def test_a_mix_of_coverages_is_a_lower_bound() -> None:
    """If one of the two days counts SOAP calls only, both are taken so."""
    counts = (counted(TODAY, 15_000), counted(YESTERDAY, 20_000, coverage=Coverage.SOAP))
    result = reconcile(evidence(50_000, None, None, counts=counts))

    assert result.coverage is Coverage.SOAP
    assert result.consistent is True
    assert codes(result) == ["coverage-mixed", "soap-only-report"]


@pytest.mark.parametrize(
    ("used", "gap", "consistent"),
    [
        pytest.param(50_000, -20, None, id="too-many-and-counted-before"),
        pytest.param(50_000, 20, False, id="too-many-and-counted-after"),
        pytest.param(10_000, 20, None, id="too-few-and-counted-after"),
        pytest.param(10_000, -20, False, id="too-few-and-counted-before"),
        pytest.param(25_000, -20, True, id="fits"),
    ],
)
def test_counts_read_at_another_time_decide_only_what_they_can(used: int, gap: int, consistent: bool | None) -> None:
    """A miss that calls between the two readings explain is undecided; one that they worsen is not."""
    result = reconcile(evidence(used, observed_at=AT + gap * MINUTE))

    assert result.consistent is consistent
    assert codes(result)[0] == "daily-counts-read-at-another-time"


def test_an_old_reading_is_another_window() -> None:
    """A reading of six minutes ago is not the rolling figure; one of five minutes ago is."""
    old = reconcile(evidence(None, earlier=(reading(25_000, AT - 6 * MINUTE),)))

    assert old.rolling is None
    assert codes(old) == ["reading-too-old"]
    assert "2026-10-07T14:24:00Z" in old.findings[0].message
    assert reconcile(evidence(None, earlier=(reading(25_000, AT - 5 * MINUTE),))).rolling == 25_000


def test_a_later_reading_and_a_single_app_are_left_aside() -> None:
    """Neither the future nor an app's own quota is the rolling figure."""
    known = evidence()
    others = (replace(reading(1), scope="Nightly ELT"), reading(2, AT + MINUTE))

    assert reconcile(replace(known, readings=known.readings + others)).rolling == 25_000


def test_a_refused_call_is_no_rolling_figure() -> None:
    """An exhausted allowance says that the limit was reached, not how many calls were made."""
    exhausted = reading(100_000, source=ReadingSource.EXHAUSTED)
    result = reconcile(evidence(None, earlier=(exhausted,)))

    assert (result.rolling, result.limit) == (None, 100_000)
    assert codes(result) == ["reading-missing"]
    assert "refused a call" in result.findings[0].message


def test_use_beyond_a_soft_limit_is_told() -> None:
    """More used than allowed is kept as it is and explained."""
    result = reconcile(evidence(110_018, 100_000, 90_000))

    assert codes(result) == ["over-the-limit"]
    assert "10,018 over" in result.findings[0].message


def test_a_changed_limit_and_a_skewed_clock_are_told() -> None:
    """The last two limits are compared, and a clock more than two minutes off is named."""
    earlier = reading(24_000, AT - 60 * MINUTE, limit=90_000)
    skewed = replace(reading(25_000), received_at=AT + 3 * MINUTE)
    result = reconcile(replace(evidence(), readings=(earlier, skewed)))

    assert codes(result) == ["clock-skew", "limit-raised"]
    assert "0:03:00 behind" in result.findings[0].message
    assert "from 90,000" in result.findings[-1].message


def test_earlier_readings_narrow_the_tail() -> None:
    """A reading half an hour ago still held what the tail holds now, so the tail is no larger than that."""
    earlier = (reading(9_000, AT - 30 * MINUTE),)
    counts = (counted(TODAY, 100, observed_at=AT), counted(YESTERDAY, 20_000, observed_at=AT))
    result = reconcile(evidence(8_100, None, None, earlier=earlier, counts=counts))

    assert result.window_tail.estimate == 8_000
    assert result.window_tail.high == 9_000
    assert result.consistent is True


def test_earlier_readings_can_contradict_the_counts() -> None:
    """A reading near the day's end that exceeds all that was counted is named with the count."""
    earlier = (reading(48_000, datetime(2026, 10, 6, 23, 59, tzinfo=UTC)),)
    before = counted(YESTERDAY - timedelta(days=1), 10, observed_at=AT)
    result = reconcile(evidence(earlier=earlier, counts=(before,)))

    assert result.consistent is False
    assert codes(result) == ["evidence-conflict"]
    assert "limits reading of 2026-10-06T23:59:00Z (48,000 used)" in result.findings[0].message
    assert "20,000 calls on 2026-10-06" in result.findings[0].message


def test_calls_released_on_the_hour_are_no_contradiction() -> None:
    """A reading that counts calls up to an hour after their 24 hours is explained, not blamed."""
    late = reading(1_000, datetime(2026, 10, 7, 0, 40, tzinfo=UTC))
    counts = (
        counted(TODAY, 0, observed_at=AT),
        counted(YESTERDAY, 1_000, observed_at=AT),
        counted(YESTERDAY, 990, observed_at=datetime(2026, 10, 6, 0, 20, tzinfo=UTC)),
    )
    result = reconcile(evidence(0, None, None, earlier=(late,), counts=counts))

    assert codes(result)[0] == "calls-released-late"
    assert result.consistent is True


def test_lateness_of_five_minutes_is_no_contradiction() -> None:
    """A tail beyond what earlier readings allow is no contradiction if late figures explain it."""
    earlier = (reading(9_950, AT - 10 * MINUTE),)
    counts = (counted(TODAY, 0, observed_at=AT), counted(YESTERDAY, 20_000, observed_at=AT))
    result = reconcile(evidence(10_000, None, None, earlier=earlier, counts=counts))

    assert result.window_tail == WindowTail(0, 9_950, 10_000)
    assert result.residual == Interval(50, 50)
    assert result.consistent is True
    assert codes(result) == ["within-staleness"]


def test_at_midnight_the_window_is_yesterday() -> None:
    """A snapshot at 00:00:00 has used exactly what the day before counted."""
    midnight = datetime(2026, 10, 7, tzinfo=UTC)
    counts = (counted(TODAY, 0, observed_at=midnight), counted(YESTERDAY, 20_000, observed_at=midnight))
    result = reconcile(Evidence(ORG, midnight, (reading(20_000, midnight),), counts))

    assert result.window_tail.estimate == 20_000
    assert result.consistent is True


def test_the_dictionary_is_small_and_json_safe() -> None:
    """An operator can return it as it is; every unknown is null."""
    assert json.loads(json.dumps(reconcile(evidence(50_000, coverage=Coverage.SOAP)).as_dict())) == {
        "org_id": ORG,
        "at": "2026-10-07T14:30:00Z",
        "rolling": 50_000,
        "limit": 100_000,
        "today": 15_000,
        "yesterday": 20_000,
        "window_tail": {"low": 0, "high": 20_000, "estimate": 20_000},
        "residual": {"low": 15_000, "high": 35_000},
        "coverage": "soap",
        "window": {"low": 15_000, "high": None},
        "unlogged": {"low": None, "high": None},
        "consistent": True,
        "findings": [
            {
                "code": "soap-only-report",
                "severity": "info",
                "message": "At least 15,000 and at most 35,000 of the 50,000 rolling calls are not in the "
                "report: REST and Bulk calls, which it is documented to leave out. If your report counts every "
                'call, say `coverage="all"`.',
            },
            {
                "code": "window-shift",
                "severity": "info",
                "message": "The rolling figure counts 24 hours and today's count starts at 00:00 UTC, so they differ "
                "by what is left of yesterday in the window: 20,000 of the 50,000 calls. Nothing to do.",
            },
        ],
    }
    unknown = reconcile(Evidence(ORG, AT, ())).as_dict()
    assert unknown["residual"] == {"low": None, "high": None}
    assert (unknown["rolling"], unknown["coverage"], unknown["consistent"]) == (None, None, None)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_true_history_is_never_inconsistent(data: st.DataObject) -> None:
    """Whatever was called when, exact figures agree, and bounds and residual hold the truth."""
    made = data.draw(st.lists(st.tuples(st.integers(-2880, 0), st.booleans()), max_size=40))
    calls = [(AT + offset * MINUTE, soap) for offset, soap in made]
    coverage = data.draw(st.sampled_from(list(Coverage)))

    def used(at: datetime) -> int:
        return sum(at - WINDOW < call <= at for call, _ in calls)

    shown = [call for call, soap in calls if soap or coverage is Coverage.ALL]
    days = {day: sum(utc_day(call) == day for call in shown) for day in (TODAY, YESTERDAY)}
    offsets = data.draw(st.lists(st.integers(-1440, -1), max_size=6))
    result = reconcile(
        Evidence(
            ORG,
            AT,
            tuple(reading(used(at), at) for at in sorted([AT, *(AT + offset * MINUTE for offset in offsets)])),
            tuple(counted(day, n, coverage=coverage) for day, n in days.items()),
        )
    )

    tail = sum(call > AT - WINDOW and utc_day(call) == YESTERDAY for call in shown)
    assert result.consistent is True
    assert tail in Interval(result.window_tail.low, result.window_tail.high)
    assert result.residual is not None
    assert used(AT) - days[TODAY] - tail in result.residual
