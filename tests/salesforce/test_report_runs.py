"""Running the 7-day report: at once or in the background, whole or day by day, at a known cost."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.daily_usage import DailyUsageSource
from airflow_provider_apiusage.salesforce.errors import (
    ApiUsageError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    Where,
)
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.report_runs import PATIENCE, ReportRunner, of_one_day
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.salesforce.usage_columns import DailyUsage
from airflow_provider_apiusage.sandbox import Fault, SandboxServer
from airflow_provider_apiusage.sandbox.ledger import Caller

WEDNESDAY, TUESDAY = date(2026, 10, 7), date(2026, 10, 6)


class Reader:
    """Reads the sandbox org's report, and knows what that cost and how long it would have waited."""

    def __init__(self, sandbox: SandboxServer) -> None:
        self.sandbox = sandbox
        self.pauses: list[float] = []
        where = Where("sf_test", "sandbox org")
        self.org = OrgClient(
            MeteredSession(where, sleep=self.pauses.append, retries=0),
            instance_url=sandbox.url,
            token=sandbox.connection("access_token")["extra"]["access_token"],
            version="62.0",
            where=where,
        )

    @property
    def calls(self) -> int:
        return self.org.session.calls

    def read(self, run: str = "auto", **settings: Any) -> DailyUsage:
        self.sandbox.org.change(settings)
        source = DailyUsageSource(self.sandbox.org.settings.report_id, run=run)
        return source.read(self.org, open_path=lambda path: (b"", None))


@pytest.fixture
def reader(sandbox: SandboxServer) -> Reader:
    """A reader of the seed's example org."""
    return Reader(sandbox)


def totals(usage: DailyUsage) -> dict[date, int]:
    """Calls by day."""
    days: Counter[date] = Counter()
    for count in usage.counts:
        days[count.day] += count.calls
    return dict(days)


def codes(usage: DailyUsage) -> list[str]:
    return [finding.code for finding in usage.findings]


EXAMPLE = {TUESDAY: 20_000, WEDNESDAY: 15_000}


@pytest.mark.parametrize("shape", ["TABULAR", "SUMMARY", "MATRIX"])
def test_a_run_in_the_background_tells_the_same_as_one_at_once(reader: Reader, shape: str) -> None:
    """One call at once; in the background one to begin and one for each look, after 2, 4, 8 seconds."""
    at_once = reader.read("sync", report_shape=shape)
    assert reader.calls == 1
    background = reader.read("async", report_polls=2)

    assert totals(at_once) == totals(background) == EXAMPLE
    assert reader.calls == 1 + 4
    assert reader.pauses == [2, 4, 8]


@pytest.mark.parametrize("sync", ["timeout", "limit"])
def test_what_cannot_run_at_once_runs_in_the_background(reader: Reader, sync: str) -> None:
    """By itself with ``auto``; with ``sync`` the refusal is the answer."""
    usage = reader.read("auto", report_sync=sync)

    assert totals(usage) == EXAMPLE
    assert reader.calls == 1 + 3
    with pytest.raises((UnavailableError, PermissionDeniedError)):
        reader.read("sync")


def test_a_report_that_may_not_be_seen_is_not_tried_again_in_the_background(reader: Reader) -> None:
    """A missing permission or report is no reason to spend more calls."""
    with pytest.raises(PermissionDeniedError):
        reader.read("auto", report_access="denied")
    assert reader.calls == 1
    for wrong, kind in (("00OAA0000009999", NotFoundError), ("00OAA00000.9999", ConfigurationError)):
        with pytest.raises(kind):
            DailyUsageSource(wrong)._run(reader.org)


def test_a_run_that_does_not_end_is_given_up(reader: Reader) -> None:
    """After ten minutes; the looks grow rare, because each is a call."""
    with pytest.raises(UnavailableError, match="'Running' after"):
        reader.read("async", report_polls=1_000)

    assert sum(reader.pauses) <= PATIENCE
    assert max(reader.pauses) == 30
    assert reader.calls == 1 + len(reader.pauses) < 30


def test_a_run_that_fails_says_so(reader: Reader) -> None:
    """An ``Error`` in the background, or an answer that names no run."""
    reader.sandbox.org.faults.order(
        Fault("status", status=200, path="/instances/", body={"attributes": {"status": "Error"}}, count=1)
    )
    with pytest.raises(UnavailableError, match="failed"):
        reader.read("async")
    reader.sandbox.org.faults.order(Fault("status", status=200, path="/instances", body={"id": None}, count=1))
    with pytest.raises(ApiUsageError, match="names no run"):
        reader.read("async")


def caller(client: str) -> Caller:
    """A client that makes SOAP calls."""
    return Caller(user="005SB0000000002", client=client, family="SOAP")


def many_users(sandbox: SandboxServer, users: int = 6) -> dict[date, int]:
    """Let several clients call on several days; return what the org counted by day."""
    org = sandbox.org
    for n in range(users):
        for back in range(4):
            org.ledger.record(org.now() - timedelta(days=back), caller(f"client-{n}"), 10 + n)
    days: Counter[date] = Counter()
    for period in org.ledger.daily():
        if period.caller.counted and period.caller.family == "SOAP":
            days[period.start.date()] += period.count
    return dict(days)


@pytest.mark.parametrize("shape", ["TABULAR", "SUMMARY", "MATRIX"])
@pytest.mark.parametrize("date_range", [False, True])
@pytest.mark.parametrize("run", ["sync", "async"])
def test_a_truncated_report_is_run_day_by_day(reader: Reader, shape: str, date_range: bool, run: str) -> None:
    """Nine runs tell every day whole, by a filter or by the report's own date range."""
    truth = many_users(reader.sandbox)
    usage = reader.read(run, report_shape=shape, report_row_cap=12, report_date_range=date_range, report_polls=0)

    assert totals(usage) == truth
    assert codes(usage) == ["report-day-by-day"]
    assert reader.calls == (9 if run == "sync" else 18)


def test_a_day_that_is_truncated_by_itself_has_no_count(reader: Reader) -> None:
    """A partial sum is no count; the other days are kept, and the finding names the day."""
    truth = many_users(reader.sandbox)
    org = reader.sandbox.org
    for n in range(9):
        org.ledger.record(org.now() - timedelta(days=1), caller(f"more-{n}"))
    usage = reader.read(report_shape="TABULAR", report_row_cap=12)

    assert totals(usage) == {day: calls for day, calls in truth.items() if day != TUESDAY}
    (lost,) = [finding for finding in usage.findings if finding.code == "report-day-truncated"]
    assert (lost.severity.value, lost.figures) == ("error", {"day": "2026-10-06"})


@pytest.mark.parametrize(("filters", "calls", "why"), [("refused", 2, "not run it"), ("ignored", 2, "truncated")])
def test_an_org_that_does_not_filter_gets_the_report_refused(
    reader: Reader, filters: str, calls: int, why: str
) -> None:
    """No count is made up from a part of the rows."""
    many_users(reader.sandbox)
    usage = reader.read(report_shape="TABULAR", report_row_cap=12, report_filters=filters)

    assert usage.counts == ()
    assert "error" in {finding.severity.value for finding in usage.findings}
    assert any(why in finding.message or why in finding.code for finding in usage.findings)
    assert reader.calls >= calls


def test_a_filter_that_is_not_heeded_is_noticed_by_the_days_that_come(reader: Reader) -> None:
    """Also where the answer is whole, so that nothing else would show it."""
    reader.sandbox.org.change({"report_shape": "TABULAR"})
    source = DailyUsageSource(reader.sandbox.org.settings.report_id)
    many_users(reader.sandbox)
    reader.sandbox.org.change({"report_row_cap": 12, "report_filters": "ignored"})
    runner = ReportRunner(reader.org, source.daily_report)
    whole = runner.run()
    reader.sandbox.org.change({"report_row_cap": 2_000})
    usage = source._day_by_day(runner, whole, "APIU_DAY", reader.org)

    assert usage.counts == ()
    assert "told other days" in usage.findings[0].message


@given(
    filters=st.lists(st.fixed_dictionaries({"column": st.sampled_from(["A", "B"]), "value": st.text(max_size=3)})),
    logic=st.sampled_from([None, "", "1 OR 2"]),
    range_on=st.sampled_from([None, "DAY", "OTHER"]),
)
def test_a_report_keeps_its_own_filters(filters: list[dict[str, str]], logic: str | None, range_on: str | None) -> None:
    """The day is added to them, and to the logic that combines them; or the date range is narrowed."""
    metadata = {
        "reportFilters": filters,
        "reportBooleanFilter": logic,
        "standardDateFilter": range_on and {"column": range_on, "durationValue": "LAST_7_DAYS"},
    }
    change = of_one_day(metadata, "DAY", TUESDAY)

    if range_on == "DAY":
        assert set(change) == {"standardDateFilter"}
        assert change["standardDateFilter"]["startDate"] == change["standardDateFilter"]["endDate"] == "2026-10-06"
        return
    added = {"column": "DAY", "operator": "equals", "value": "2026-10-06"}
    assert change["reportFilters"] == [*filters, added]
    expected = f"({logic}) AND {len(filters) + 1}" if logic else None
    assert change.get("reportBooleanFilter") == expected
